//! Whether pages may connect: `Origin` on its way to relay, and the headers of CORS on their way back.

use super::{advice::Advice, finding::Finding, seen::Seen};
use crate::cli::client::Answer;

const CHECK: &str = "origin";

/// Judges what relay has seen of a request with `origin`, and the answer to a poll with it.
pub fn judge(origin: &str, seen: Option<&Seen>, poll: &Answer) -> Vec<Finding> {
    let changed = seen.filter(|seen| !seen.origin.eq_ignore_ascii_case(origin));
    if let Some(seen) = changed {
        let why = match seen.origin.as_str() {
            "" => "the proxy removes the header Origin: relay cannot tell which pages connect".to_owned(),
            other => format!("the proxy changes the header Origin from {origin} to {other}"),
        };
        return vec![Finding::failure(CHECK, why).advise(Advice::OriginHeader)];
    }
    if seen.is_some_and(|seen| !seen.origin_allowed) || (poll.status == 403 && poll.is_of_relay()) {
        let text = format!("relay refuses pages of {origin}: `origins` does not list it (--origin names another)");
        return vec![Finding::failure(CHECK, text).advise(Advice::Origin(origin.to_owned()))];
    }
    if poll.status != 200 {
        return vec![Finding::skipped("cors", "polling does not work, see above")];
    }
    let allowed: Vec<&str> =
        poll.all("access-control-allow-origin").flat_map(|value| value.split(',')).map(str::trim).collect();
    let cors = match allowed.as_slice() {
        [one] if one.eq_ignore_ascii_case(origin) => Finding::ok("cors", format!("pages of {origin} may read answers")),
        [] => Finding::failure("cors", "the proxy removes Access-Control-Allow-Origin: pages of other sites cannot poll")
            .advise(Advice::Cors),
        [other] => Finding::failure(
            "cors",
            format!("the proxy replaces Access-Control-Allow-Origin by {other:?}: pages that poll with cookies cannot read answers"),
        )
        .advise(Advice::Cors),
        _ => Finding::failure(
            "cors",
            "the proxy adds a second Access-Control-Allow-Origin: browsers refuse answers with two",
        )
        .advise(Advice::Cors),
    };
    let origin = Finding::ok(CHECK, format!("relay sees the origin {origin}, and admits its pages"));
    Some(origin).filter(|_| seen.is_some()).into_iter().chain([cors]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_on_their_way() {
        const PAGE: &str = "https://shop.example.org";
        let judge = |origin: &str, origin_allowed: bool, status: u16, allowed: &[&str]| {
            let seen = Seen {
                http: "1.1".into(),
                plain: true,
                address: "local".into(),
                forwarded: "none".into(),
                origin: origin.into(),
                origin_allowed,
            };
            let headers =
                allowed.iter().map(|value| ("access-control-allow-origin".to_owned(), (*value).to_owned())).collect();
            let body = r#"{"code":4,"message":"Forbidden"}"#.into();
            let found = super::judge(PAGE, Some(&seen), &Answer { status, headers, body });
            found.into_iter().map(|finding| finding.text).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(judge(PAGE, true, 200, &[PAGE]).lines().count(), 2);
        for (origin, allowed, status, headers, text) in [
            ("", true, 200, &[PAGE][..], "removes the header Origin"),
            ("http://127.0.0.1:4000", true, 200, &[PAGE], "changes the header Origin from https://shop"),
            (PAGE, false, 403, &[], "`origins` does not list it"),
            (PAGE, true, 403, &[], "`origins` does not list it"),
            (PAGE, true, 200, &[], "removes Access-Control-Allow-Origin"),
            (PAGE, true, 200, &["*"], "replaces Access-Control-Allow-Origin by \"*\""),
            (PAGE, true, 200, &[PAGE, "*"], "adds a second"),
            (PAGE, true, 200, &["https://shop.example.org, *"], "adds a second"),
        ] {
            let found = judge(origin, allowed, status, headers);
            assert!(found.contains(text), "{origin} {headers:?}: {found}");
        }
    }
}
