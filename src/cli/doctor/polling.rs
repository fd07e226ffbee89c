//! Whether all requests of a client that polls reach the same process.

use super::{
    advice::Advice,
    finding::Finding,
    stranger,
    target::{Route, Target},
};
use crate::cli::client::{Answer, NoAnswer, Request};

const CHECK: &str = "polling";
/// Requests after the first one: with two processes, all of them reach the right one in one of 32 cases.
const MORE: usize = 5;

/// Begins a session as Socket.IO does, and sends further requests on connections of their own. `path` is that of Socket.IO.
pub fn check(route: &Route, path: &str) -> Result<Finding, NoAnswer> {
    let first = route.ask(Request::get(&format!("{path}?EIO=4&transport=polling")))?;
    let Some(sid) = sid(&first) else { return Ok(judge(path, &first, &[], &route.target)) };
    // As a browser does: some proxies keep a client at one process by a cookie.
    let cookies: Vec<&str> = first.all("set-cookie").filter_map(|cookie| cookie.split(';').next()).collect();
    let session = format!("{path}?EIO=4&transport=polling&sid={sid}");
    let post = |packet: &'static str| {
        let request = Request::post(&session, packet.as_bytes()).with("Content-Type", "text/plain;charset=UTF-8");
        route.ask(request.with("Cookie", &cookies.join("; ")))
    };
    let answers = (0..MORE).map(|_| post("3")).collect::<Result<Vec<_>, _>>()?;
    // The session ends.
    let _ = post("1");
    Ok(judge(path, &first, &answers, &route.target))
}

/// The id of the session that an answer begins.
fn sid(answer: &Answer) -> Option<String> {
    let packet = answer.body.strip_prefix(b"0").filter(|_| answer.status == 200)?;
    let open: serde_json::Value = serde_json::from_slice(packet).ok()?;
    let sid = open.get("sid")?.as_str()?;
    let is_safe = sid.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    is_safe.then(|| sid.to_owned())
}

/// Judges the answer to the handshake, and those to the requests of the session.
fn judge(path: &str, first: &Answer, more: &[Answer], target: &Target) -> Finding {
    if sid(first).is_none() {
        return stranger::judge(CHECK, path, first, target);
    }
    let is_unknown = |answer: &&Answer| {
        answer.status == 400 && answer.json().get("message").is_some_and(|text| text == "Session ID unknown")
    };
    let unknown = more.iter().filter(is_unknown).count();
    if unknown > 0 {
        return Finding::failure(
            CHECK,
            format!(
                "requests of one client reach different processes: {unknown} of {} did not know the session of the first one",
                more.len()
            ),
        )
        .advise(Advice::Sticky);
    }
    match more.iter().find(|answer| answer.status != 200) {
        Some(answer) => {
            Finding::failure(CHECK, format!("the POST of a client that polls is refused with {}", answer.describe()))
        }
        None => {
            Finding::ok(CHECK, format!("the requests of a client that polls reach one process ({} of {0})", more.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Level, *};

    #[test]
    fn sessions_that_are_not_known() {
        let target = Target::parse("https://shop.example.org").unwrap();
        let answer = |status: u16, body: &str| Answer { status, headers: Vec::new(), body: body.into() };
        let first = answer(200, r#"0{"sid":"AAAA-_","upgrades":["websocket"]}"#);
        let (known, unknown) = (answer(200, "ok"), answer(400, r#"{"code":1,"message":"Session ID unknown"}"#));
        let judge = |first: &Answer, more: &[&Answer]| {
            let more: Vec<Answer> = more.iter().copied().cloned().collect();
            super::judge("/socket.io/", first, &more, &target)
        };
        assert_eq!(judge(&first, &[&known, &known]).level, Level::Ok);
        let found = judge(&first, &[&known, &unknown, &unknown]);
        assert!(found.text.contains("2 of 3 did not know") && found.advice == Some(Advice::Sticky), "{found:?}");
        assert!(judge(&first, &[&answer(403, "")]).text.contains("status 403"));
        assert!(judge(&answer(404, ""), &[]).text.contains("does not forward /socket.io/"));
        for body in [r#"0{"sid":"a\r\nb"}"#, r#"0{"sid":7}"#, "0", "<html>"] {
            assert!(judge(&answer(200, body), &[]).text.contains("something else than relay"), "{body}");
        }
    }
}
