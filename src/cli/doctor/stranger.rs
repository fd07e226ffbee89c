//! Answers of something else than relay.

use super::{advice::Advice, finding::Finding, target::Target};
use crate::cli::client::Answer;

/// What an answer means that relay has not made, or that says that it does not have the path. `path` is without a query.
pub fn judge(check: &'static str, path: &str, answer: &Answer, target: &Target) -> Finding {
    let forward = || Advice::Forward(target.prefix.clone(), path.to_owned());
    let full = format!("{}{path}", target.prefix);
    let said = answer.describe();
    let location = answer.header("location");
    match answer.status {
        300..400 if location.starts_with("https://") && !target.secure => Finding::failure(
            check,
            format!("{full} is redirected to {location}: clients must use https:// and wss://, a WebSocket follows no redirect"),
        ),
        300..400 => Finding::failure(
            check,
            format!("{full} is redirected to {location:?}, but a WebSocket follows no redirect: use that address, or forward {full}"),
        )
        .advise(forward()),
        404 if answer.is_of_relay() => {
            let why = match target.prefix.is_empty() {
                true => "its configuration has another path".to_owned(),
                false => format!("the proxy must remove {} from the path, or relay's configuration has another path", target.prefix),
            };
            Finding::failure(check, format!("relay does not know the path that it gets for {full}: {why}")).advise(forward())
        }
        404 => Finding::failure(check, format!("the proxy does not forward {full} to relay, it answers with {said}"))
            .advise(forward()),
        400 if said.contains("HTTPS port") => {
            Finding::failure(check, format!("this port is for TLS: use https:// ({said})"))
        }
        401 | 403 | 407 | 405 if !answer.is_of_relay() => {
            Finding::failure(check, format!("the proxy refuses {full} with {said}: clients must reach it without a password"))
                .advise(forward())
        }
        413 => Finding::failure(check, format!("the proxy refuses a request to {full} as too large, with {said}")),
        502..=504 if !answer.is_of_relay() => Finding::failure(
            check,
            format!("the proxy does not reach relay: {said}. Is relay running, and does the proxy have its address?"),
        )
        .advise(forward()),
        _ if answer.is_of_relay() => Finding::failure(check, format!("relay refuses {full} with {said}")),
        _ => Finding::failure(check, format!("something else than relay answers at {full} with {said}")).advise(forward()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_instead() {
        let target = Target::parse("http://shop.example.org/relay").unwrap();
        let text = |status: u16, location: &str, body: &str| {
            let headers = vec![("location".to_owned(), location.to_owned())];
            judge("reach", "/ws", &Answer { status, headers, body: body.into() }, &target).text
        };
        for (status, location, body, part) in [
            (301, "https://shop.example.org/relay/ws", "", "must use https:// and wss://"),
            (302, "/login", "", "follows no redirect: use that address"),
            (404, "", "{\"code\":0,\"msg\":\"not found\"}", "must remove /relay from the path"),
            (404, "", "<title>404 Not Found</title>", "does not forward /relay/ws to relay"),
            (400, "", "<title>400 The plain HTTP request was sent to HTTPS port</title>", "use https://"),
            (401, "", "", "without a password"),
            (502, "", "<title>502 Bad Gateway</title>", "does not reach relay"),
            (
                503,
                "",
                "{\"code\":0,\"msg\":\"relay is stopping, come back\"}",
                "relay refuses /relay/ws with status 503",
            ),
            (
                200,
                "",
                "<title>Shop</title>",
                "something else than relay answers at /relay/ws with status 200: \"Shop\"",
            ),
        ] {
            let found = text(status, location, body);
            assert!(found.contains(part), "{status} {body}: {found}");
        }
    }
}
