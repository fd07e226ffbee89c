//! Whether a WebSocket can be opened, and what came instead.

use super::{advice::Advice, finding::Finding, seen::Seen, stranger, target::Target};
use crate::cli::{client::Answer, handshake::Handshake};

/// Judges the answer to a handshake at `path`, which had `echo=1` if it was that of plain WebSockets.
pub fn judge(check: &'static str, path: &str, handshake: &Handshake, answer: &Answer, target: &Target) -> Finding {
    let full = format!("{}{path}", target.prefix);
    if handshake.accepts(answer) {
        return Finding::ok(check, format!("a WebSocket opens at {full}"));
    }
    if answer.status == 101 {
        return Finding::failure(
            check,
            format!("{full} answers 101, but not to this handshake: something changes its headers, or keeps answers in a cache"),
        )
        .advise(Advice::Upgrade);
    }
    if let Some(seen) = Seen::parse(answer) {
        return without_upgrade(check, &full, &seen.http);
    }
    let (json, is_of_relay) = (answer.json(), answer.is_of_relay());
    let message = |name: &str| json.get(name).and_then(|text| text.as_str()).unwrap_or_default().to_owned();
    match answer.status {
        // A relay that has no `echo=1`, and Socket.IO.
        426 if is_of_relay && message("msg").contains("must ask for an upgrade") => without_upgrade(check, &full, ""),
        400 if is_of_relay && message("message").contains("needs an Upgrade header") => {
            without_upgrade(check, &full, "")
        }
        401 if is_of_relay => {
            Finding::ok(check, format!("the request for a WebSocket at {full} reaches relay, which wants a login"))
        }
        400 | 426 if is_of_relay => {
            Finding::failure(check, format!("the handshake at {full} was changed on its way: {}", answer.describe()))
                .advise(Advice::Upgrade)
        }
        _ => stranger::judge(check, path, answer, target),
    }
}

/// The request reaches relay, but it is none for an upgrade any more.
fn without_upgrade(check: &'static str, full: &str, http: &str) -> Finding {
    let why = match http {
        "1.0" => "the proxy speaks HTTP/1.0 to relay, which has no upgrade: no WebSocket can be opened".to_owned(),
        _ => format!("the headers Upgrade and Connection do not reach relay at {full}: no WebSocket can be opened"),
    };
    Finding::failure(check, why).advise(Advice::Upgrade)
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Level, *};

    #[test]
    fn what_came_instead_of_an_upgrade() {
        let target = Target::parse("https://shop.example.org").unwrap();
        let judge = |status: u16, body: &str| {
            let answer = Answer { status, headers: Vec::new(), body: body.into() };
            super::judge("websocket", "/ws", &Handshake::new(), &answer, &target)
        };
        let echo = |http: &str| {
            format!(
                "{{\"code\":1,\"msg\":\"\",\"data\":{{\"http\":\"{http}\",\"plain\":true,\"address\":\"local\",\"forwarded\":\"none\",\"origin\":\"\",\"origin_allowed\":true}}}}"
            )
        };
        for (status, body, level, text) in [
            (101, String::new(), Level::Failure, "not to this handshake"),
            (200, echo("1.0"), Level::Failure, "HTTP/1.0"),
            (200, echo("1.1"), Level::Failure, "Upgrade and Connection do not reach relay at /ws"),
            (
                400,
                r#"{"code":3,"message":"transport=websocket needs an Upgrade header"}"#.into(),
                Level::Failure,
                "do not reach relay",
            ),
            (
                426,
                r#"{"code":0,"msg":"this is a WebSocket endpoint: the request must ask for an upgrade","data":""}"#
                    .into(),
                Level::Failure,
                "do not reach relay",
            ),
            (
                400,
                r#"{"code":0,"msg":"Sec-WebSocket-Key must be 16 bytes in base64","data":""}"#.into(),
                Level::Failure,
                "was changed on its way",
            ),
            (401, r#"{"code":0,"msg":"source can not be null!","data":""}"#.into(), Level::Ok, "wants a login"),
            (400, "<title>400 Bad Request</title>".into(), Level::Failure, "something else than relay"),
            (404, String::new(), Level::Failure, "does not forward /ws"),
            (426, "Upgrade Required".into(), Level::Failure, "something else"),
            (200, "<title>Shop</title>".into(), Level::Failure, "\"Shop\""),
        ] {
            let finding = judge(status, &body);
            assert!(finding.level == level && finding.text.contains(text), "{status} {body}: {finding:?}");
        }
    }
}
