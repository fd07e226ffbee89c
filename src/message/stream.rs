//! What only streams have, the bodies of `GET /sse`: their begin, keep-alives and end (docs/protocol.md, Server-Sent
//! Events).

use super::{event::Event, form::Form, id::MessageId};
use crate::{json::quote, websocket::Close};

/// The first blocks of a stream: how many milliseconds to wait before a new connection, and `id`, the position of the
/// client before its first message. A stream of lines has none.
pub fn opening(form: Form, retry: u64, id: MessageId) -> Vec<u8> {
    match form {
        Form::Lines => Vec::new(),
        // A field that is followed by no `data` sets the value and causes no event.
        _ => format!("retry: {retry}\nid: {id}\n\n").into_bytes(),
    }
}

/// What a stream sends while there are no messages, so that nobody in between takes the connection for dead: a comment, or
/// an empty line.
pub fn keep_alive(form: Form) -> &'static [u8] {
    match form {
        Form::Lines => b"\n",
        _ => b":\n\n",
    }
}

/// The last block of a stream, in place of a close frame: the event `disconnect`, a name that no other event can have. A
/// stream that ends because relay stops has none.
pub fn last(form: Form, close: Close) -> Vec<u8> {
    let mut out = Vec::new();
    if close != Close::GOING_AWAY {
        let args = format!("{{\"code\":{},\"reason\":{}}}", close.code, quote(close.reason));
        Event::new("disconnect", &args).encode(form, "/", &mut out);
    }
    out
}

/// Milliseconds to wait before a new connection, from `least` to `most`. `seed` is any number that differs between clients:
/// those that were disconnected together should not come back together.
pub fn retry(least: u64, most: u64, seed: u64) -> u64 {
    let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    least + ((mixed * (most - least + 1)) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Author, Data, Message};

    /// What an EventSource makes of a body (WHATWG HTML, Interpreting an event stream): the last event id, the name and the
    /// data of each event.
    fn events(body: &[u8]) -> Vec<(String, String, String)> {
        let text = core::str::from_utf8(body).unwrap().replace("\r\n", "\n").replace('\r', "\n");
        let (mut id, mut name, mut data, mut events) = (String::new(), String::new(), String::new(), Vec::new());
        assert!(text.ends_with("\n\n"), "the last block is complete: {text:?}");
        for line in text.strip_suffix('\n').unwrap().split('\n') {
            if line.is_empty() {
                let name = core::mem::take(&mut name);
                if let Some(data) = core::mem::take(&mut data).strip_suffix('\n') {
                    let name = if name.is_empty() { "message" } else { &name };
                    events.push((id.clone(), name.to_owned(), data.to_owned()));
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => id = value.to_owned(),
                "event" => name = value.to_owned(),
                "data" => data += &format!("{value}\n"),
                "retry" => assert!(value.bytes().all(|byte| byte.is_ascii_digit())),
                "" => {}
                other => panic!("an unknown field {other:?} in {text:?}"),
            }
        }
        events
    }

    fn message(data: Data<'_>) -> Message<'_> {
        let id = MessageId::first(0, 0);
        Message { source: "de\"mo", room: "r\n", data, id, filename: "", author: Author::Backend, namespace: "/" }
    }

    fn encoded(data: Data<'_>, form: Form) -> Vec<u8> {
        let mut out = Vec::new();
        message(data).encode(form, &mut out);
        out
    }

    /// The data that an EventSource gets.
    fn received(data: Data<'_>, form: Form) -> String {
        let events = events(&encoded(data, form));
        let [(id, name, data)] = &events[..] else { panic!("{events:?}") };
        assert_eq!((&**id, &**name), ("00000000000000000", "message"));
        data.clone()
    }

    #[test]
    fn bytes() {
        assert_eq!(
            encoded(Data::Text("a\"ä"), Form::Sse),
            "id: 00000000000000000\ndata: {\"source\":\"de\\\"mo\",\"data\":\"a\\\"ä\",\"room_id\":\"r\\n\",\
             \"id\":\"00000000000000000\",\"ts\":0}\n\n"
                .as_bytes()
        );
        assert_eq!(encoded(Data::Text("a\r\nb"), Form::SseText), b"id: 00000000000000000\ndata: a\ndata: b\n\n");
        assert_eq!(
            encoded(Data::Text("a"), Form::Lines),
            b"{\"event\":\"newMsg\",\"source\":\"de\\\"mo\",\"data\":\"a\",\"room_id\":\"r\\n\",\"id\":\"00000000000000000\",\"ts\":0}\n"
        );
        let id = MessageId::first(0, 0);
        assert_eq!(opening(Form::Sse, 2500, id), b"retry: 2500\nid: 00000000000000000\n\n");
        assert!(opening(Form::Lines, 2500, id).is_empty());
        assert!(events(&opening(Form::Sse, 2500, id)).is_empty(), "it causes no event");
    }

    #[test]
    fn text_arrives_with_line_feeds() {
        let large = "0123456789abcde\r".repeat(4096);
        for (sent, got) in [
            ("", ""),
            ("a", "a"),
            (" a: b ", " a: b "),
            ("data: x", "data: x"),
            (":", ":"),
            ("\u{feff}a\0", "\u{feff}a\0"),
            ("\n", "\n"),
            ("\r\n", "\n"),
            ("\r\r\n\n", "\n\n\n"),
            ("a\rb\nc\r\nd\n", "a\nb\nc\nd\n"),
            ("a\n\nevent: x\n\nb", "a\n\nevent: x\n\nb"),
            ("\u{85}\u{2028}\u{b}", "\u{85}\u{2028}\u{b}"),
            (&large, &large.replace('\r', "\n")),
        ] {
            assert_eq!(received(Data::Text(sent), Form::SseText), got, "{sent:?}");
            let json = quote(sent);
            assert_eq!(received(Data::Json(&json), Form::SseText), got, "{sent:?}");
        }
        assert_eq!(received(Data::Json("[1,\r\n 2]"), Form::SseText), "[1,\n 2]");
    }

    /// Clients of JSON get the value itself, also if its JSON was written on several lines.
    #[test]
    fn json_is_one_line() {
        let large = format!("\"{}\"", "x\\n".repeat(32_768));
        for json in ["\"\"", "null", "{\r\n \"a\":\n\"\\r\\n\"\r}", "\"\\ud800\"", &large] {
            let value: serde_json::Value = match json {
                // A lone surrogate is no text of Rust, but it is forwarded.
                "\"\\ud800\"" => serde_json::Value::Null,
                json => serde_json::from_str(json).unwrap(),
            };
            for form in [Form::Sse, Form::Lines] {
                let text = match form {
                    Form::Sse => received(Data::Json(json), form),
                    _ => String::from_utf8(encoded(Data::Json(json), form))
                        .unwrap()
                        .strip_suffix('\n')
                        .unwrap()
                        .to_owned(),
                };
                assert!(!text.contains(['\r', '\n']), "{text:?}");
                match json {
                    "\"\\ud800\"" => assert!(text.contains("\"data\":\"\\ud800\",")),
                    _ => assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["data"], value),
                }
            }
        }
    }

    #[test]
    fn binary_data_is_base64() {
        let attachments = [b"\0\xff".to_vec()];
        let mixed = Data::Mixed { json: "{\n\"a\":{\"_placeholder\":true,\"num\":0}}", attachments: &attachments };
        for (data, json) in [
            (Data::Binary(b"\0\xffx"), "{\"_base64\":\"AP94\"}"),
            (Data::Binary(b""), "{\"_base64\":\"\"}"),
            (mixed, "{ \"a\":{\"_base64\":\"AP8=\"}}"),
        ] {
            assert!(received(data, Form::Sse).contains(&format!(",\"data\":{json},")));
            assert_eq!(received(data, Form::SseText), json);
            assert!(String::from_utf8(encoded(data, Form::Lines)).unwrap().contains(&format!(",\"data\":{json},")));
        }
    }

    #[test]
    fn other_events_have_a_name() {
        let event = |name, args, form| {
            let mut out = Vec::new();
            Event { ack: Some(7), ..Event::new(name, args) }.encode(form, "/n", &mut out);
            out
        };
        let one = |args| events(&event("a: b", args, Form::Sse)).pop().unwrap();
        assert_eq!(one("{\"x\":\r\n1.0}"), (String::new(), "a: b".into(), "{\"x\":  1.0}".into()));
        assert_eq!(one("1, [2]").2, "[1, [2]]");
        assert_eq!(one("").2, "null");
        assert_eq!(event(" e", "1", Form::SseText), b"event:  e\ndata: 1\n\n");
        assert_eq!(event("e", "1,\n2", Form::Lines), b"{\"event\":\"e\",\"args\":[1, 2],\"ack\":7}\n");
        for name in ["", "a\nb", "a\r", "\n"] {
            let is_for = |form| Event::new(name, "1").is_for(form);
            assert!(!is_for(Form::Sse) && !is_for(Form::SseText) && is_for(Form::Lines), "{name:?}");
        }
        assert!(!Event::new("pong", "").is_for(Form::Lines) && Event::new("pong", "").is_for(Form::Sse));
    }

    #[test]
    fn the_end_says_why() {
        let slow = events(&last(Form::Sse, Close::SLOW));
        assert_eq!(slow, [(String::new(), "disconnect".into(), "{\"code\":1013,\"reason\":\"slow consumer\"}".into())]);
        let operator = String::from_utf8(last(Form::Lines, Close::OPERATOR)).unwrap();
        assert_eq!(
            operator,
            "{\"event\":\"disconnect\",\"data\":{\"code\":1008,\"reason\":\"disconnected by the operator\"}}\n"
        );
        assert!(last(Form::SseText, Close::GOING_AWAY).is_empty());
    }

    #[test]
    fn clients_do_not_come_back_together() {
        let all: Vec<u64> = (0..1000).map(|seed| retry(2000, 3000, seed << 20)).collect();
        assert!(all.iter().all(|wait| (2000..=3000).contains(wait)));
        let mut tenths = [0; 10];
        all.iter().for_each(|wait| tenths[((wait - 2000) / 101) as usize] += 1);
        assert!(tenths.iter().all(|count| *count > 50), "{tenths:?}");
        assert_eq!((retry(5, 5, u64::MAX), retry(0, 9, u64::MAX) <= 9), (5, true));
    }
}
