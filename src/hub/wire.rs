//! What relays and the old servers say to each other over Redis, as bytes (contract section 10).
//!
//! A message is the old server's JSON object, its keys in its order; a relay adds `id`, `seq` and `node` at the end, where
//! it knows its own by one comparison, and `hmac` behind them if siblings sign.

use std::{borrow::Cow, collections::BTreeMap, io::Write};

use data_encoding::BASE64;
use serde_json::value::RawValue;

use super::{Data, MessageId, broadcast::string};
use crate::sign::{hmac_hex, same_secret};

/// An object whose values are still text; of two values with a name the last one counts, as in JavaScript.
pub type Object<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// How what a relay publishes ends, and how it tells who published something.
pub struct Seal {
    /// `,"node":"…"}`.
    own: Box<str>,
    secret: Option<Box<[u8]>>,
}

/// Something that was published.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened<'a> {
    /// By this relay.
    Own,
    /// By another, or a backend; and whether it was signed with the siblings' secret.
    Foreign(&'a str, bool),
    /// It is no text.
    Nonsense,
}

impl Seal {
    /// The seal of the relay of that name.
    pub fn new(node: &str, secret: Option<&[u8]>) -> Seal {
        Seal { own: format!(",\"node\":\"{node}\"").into(), secret: secret.map(Into::into) }
    }

    /// Whether siblings sign.
    pub fn signs(&self) -> bool {
        self.secret.is_some()
    }

    /// Ends an object whose last brace is missing.
    pub fn close(&self, payload: &mut Vec<u8>, seq: u64) {
        write!(payload, ",\"seq\":{seq}{}", self.own).expect("writing to memory succeeds");
        if let Some(secret) = &self.secret {
            let hmac = hmac_hex(secret, payload);
            write!(payload, "{HMAC}{hmac}\"").expect("writing to memory succeeds");
        }
        payload.push(b'}');
    }

    /// Who published something.
    pub fn open<'a>(&self, payload: &'a [u8]) -> Opened<'a> {
        let Ok(text) = core::str::from_utf8(payload) else { return Opened::Nonsense };
        let (mut body, mut authentic) = (text.trim_ascii_end().strip_suffix('}').unwrap_or(text), false);
        if let Some(before) = body.len().checked_sub(HMAC.len() + 65)
            && let Some((signed, tail)) = body.split_at_checked(before)
            && let Some(hmac) = tail.strip_prefix(HMAC).and_then(|tail| tail.strip_suffix('"'))
        {
            let right = |secret: &[u8]| same_secret(hmac_hex(secret, signed.as_bytes()).as_bytes(), hmac.as_bytes());
            authentic = self.secret.as_deref().is_some_and(right);
            body = signed;
        }
        match body.ends_with(&*self.own) {
            true => Opened::Own,
            false => Opened::Foreign(text, authentic),
        }
    }
}

/// A message as the old server wrote it, up to its last brace: `filename` and `ip` are of backends only.
pub fn message(source: &str, rooms: &str, data: Data<'_>, backend: Option<(&str, &str)>, id: MessageId) -> Vec<u8> {
    let mut out = b"{\"source\":".to_vec();
    string(&mut out, source);
    out.extend_from_slice(b",\"data\":");
    data.write_json(&mut out);
    out.extend_from_slice(b",\"room_id\":");
    string(&mut out, rooms);
    if let Some((filename, _)) = backend {
        out.extend_from_slice(b",\"filename\":");
        string(&mut out, filename);
    }
    out.extend_from_slice(b",\"from_sys\":true");
    if let Some((_, ip)) = backend {
        out.extend_from_slice(b",\"ip\":");
        string(&mut out, ip);
    }
    if matches!(data, Data::Binary(_) | Data::Mixed { .. }) {
        out.extend_from_slice(b",\"binary\":true");
    }
    write!(out, ",\"id\":\"{id}\"").expect("writing to memory succeeds");
    out
}

/// Whether `text` is nested more deeply than what clients' parsers take (Python's gives up at 1000; serde_json at 128).
pub fn is_too_deep(text: &str) -> bool {
    // Nearly all have so few brackets that it does not matter how they stand.
    if text.bytes().map(|byte| u32::from(byte | 0x20 == b'{')).sum::<u32>() <= DEEPEST {
        return false;
    }
    let (mut depth, mut quoted, mut escaped) = (0u32, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                if depth > DEEPEST {
                    return true;
                }
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// What JavaScript makes of a value where it needs text: what the old server signed. Nothing there is `undefined`.
pub fn js_text(raw: Option<&str>) -> Cow<'_, str> {
    let Some(raw) = raw else { return "undefined".into() };
    match raw.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(raw).map_or("".into(), Cow::Owned),
        Some(b'{') => "[object Object]".into(),
        Some(b'[') => {
            let list: Vec<&RawValue> = serde_json::from_str(raw).unwrap_or_default();
            let text = |item: &RawValue| match item.get() {
                "null" => String::new(),
                other => js_text(Some(other)).into_owned(),
            };
            list.into_iter().map(text).collect::<Vec<_>>().join(",").into()
        }
        Some(b'-' | b'0'..=b'9') => js_number(raw),
        _ => raw.into(),
    }
}

/// A number as JavaScript shows it (ECMA-262, Number::toString): shortest digits, an exponent from 1e21 and below 1e-6.
fn js_number(raw: &str) -> Cow<'_, str> {
    let Ok(number) = raw.parse::<f64>() else { return raw.into() };
    let size = number.abs();
    if size == 0.0 {
        return "0".into();
    }
    if size.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    if (1e-6..1e21).contains(&size) {
        return number.to_string().into();
    }
    let text = format!("{number:e}");
    match text.contains("e-") {
        true => text.into(),
        false => text.replace('e', "e+").into(),
    }
}

/// JSON with placeholders in place of `{"_base64":"…"}` as relays write it, and the bytes: what was sent as bytes becomes
/// bytes again, and the rest stays as it is to the letter. More than `most` of them stay what they are.
pub fn unpack(json: &str, most: usize) -> (String, Vec<Vec<u8>>) {
    let (mut out, mut attachments, mut rest) = (String::new(), Vec::new(), json);
    while let Some(at) = find_bytes(rest).filter(|_| attachments.len() < most) {
        let (before, from) = rest.split_at(at);
        let text = &from[BYTES.len()..];
        let decoded = text.split_once("\"}").and_then(|(text, after)| {
            let bytes = BASE64.decode(text.as_bytes()).ok()?;
            Some((bytes, after))
        });
        out.push_str(before);
        match decoded {
            Some((bytes, after)) => {
                out.push_str(&format!("{{\"_placeholder\":true,\"num\":{}}}", attachments.len()));
                attachments.push(bytes);
                rest = after;
            }
            None => {
                out.push('{');
                rest = &from[1..];
            }
        }
    }
    out.push_str(rest);
    (out, attachments)
}

/// Where the next bytes stand, outside of strings.
fn find_bytes(json: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in json.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' if !quoted && json[at..].starts_with(BYTES) => return Some(at),
            _ => {}
        }
    }
    None
}

const HMAC: &str = ",\"hmac\":\"";
const BYTES: &str = "{\"_base64\":\"";
const DEEPEST: u32 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(seal: &Seal, body: &str) -> String {
        let mut payload = body.as_bytes().to_vec();
        seal.close(&mut payload, 7);
        String::from_utf8(payload).unwrap()
    }

    #[test]
    fn what_a_backend_s_message_looks_like() {
        let id = MessageId::parse("1km9g41o7vkabc123").unwrap();
        let mut out = message("demo", "r1,r2", Data::Text("hi \"ü\""), Some(("", "192.0.2.7")), id);
        Seal::new("abc123", None).close(&mut out, 12);
        // Up to ip: as the old server wrote it, byte for byte.
        let old =
            r#"{"source":"demo","data":"hi \"ü\"","room_id":"r1,r2","filename":"","from_sys":true,"ip":"192.0.2.7""#;
        let expected = format!(r#"{old},"id":"1km9g41o7vkabc123","seq":12,"node":"abc123"}}"#);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn what_a_client_s_message_looks_like() {
        let id = MessageId::parse("1km9g41o7vkabc123").unwrap();
        let out = message("demo", "r1", Data::Json("{\"b\":1.0,\"a\":2}"), None, id);
        let old = r#"{"source":"demo","data":{"b":1.0,"a":2},"room_id":"r1","from_sys":true"#;
        assert_eq!(String::from_utf8(out).unwrap(), format!(r#"{old},"id":"1km9g41o7vkabc123""#));
        let out = message("demo", "r1", Data::Binary(b"\0\xff"), None, id);
        let expected = r#"{"source":"demo","data":{"_base64":"AP8="},"room_id":"r1","from_sys":true,"binary":true"#;
        assert_eq!(String::from_utf8(out).unwrap(), format!(r#"{expected},"id":"1km9g41o7vkabc123""#));
    }

    #[test]
    fn seals() {
        let (one, two) = (Seal::new("aaaaaa", None), Seal::new("bbbbbb", None));
        let text = sealed(&one, "{\"a\":1");
        assert_eq!(text, r#"{"a":1,"seq":7,"node":"aaaaaa"}"#);
        assert_eq!(one.open(text.as_bytes()), Opened::Own);
        assert_eq!(two.open(text.as_bytes()), Opened::Foreign(&text, false));
        assert_eq!(one.open(b"{}"), Opened::Foreign("{}", false));
        assert_eq!(one.open(b""), Opened::Foreign("", false));
        assert_eq!(one.open(b"\xff}"), Opened::Nonsense);

        let (mine, yours) = (Seal::new("aaaaaa", Some(b"k")), Seal::new("bbbbbb", Some(b"k")));
        let text = sealed(&mine, "{\"a\":1");
        assert_eq!(mine.open(text.as_bytes()), Opened::Own);
        assert_eq!(yours.open(text.as_bytes()), Opened::Foreign(&text, true));
        assert_eq!(Seal::new("bbbbbb", Some(b"x")).open(text.as_bytes()), Opened::Foreign(&text, false));
        assert_eq!(two.open(text.as_bytes()), Opened::Foreign(&text, false));
        let changed = text.replace("\"a\":1", "\"a\":2");
        assert_eq!(yours.open(changed.as_bytes()), Opened::Foreign(&changed, false));
        assert_eq!(yours.open("é".repeat(60).as_bytes()), Opened::Foreign(&"é".repeat(60), false));
    }

    #[test]
    fn depth() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(!is_too_deep(&nested(128)) && is_too_deep(&nested(129)));
        assert!(!is_too_deep(&format!("\"{}\"", "[".repeat(500))));
        assert!(!is_too_deep(&format!("\"\\\"{}\"", "[".repeat(500))));
        assert!(!is_too_deep(&"[],".repeat(500)));
    }

    /// Each line was tried in Node: `'' + JSON.parse(text)`.
    #[test]
    fn text_as_in_javascript() {
        for (raw, text) in [
            ("\"a\\u00e4\"", "aä"),
            ("1.0", "1"),
            ("-0", "0"),
            ("1e3", "1000"),
            ("123456789012345680000", "123456789012345680000"),
            ("1e21", "1e+21"),
            ("1.5e-7", "1.5e-7"),
            ("0.000001", "0.000001"),
            ("12345678901234567890", "12345678901234567000"),
            ("0.1", "0.1"),
            ("1e999", "Infinity"),
            ("true", "true"),
            ("null", "null"),
            ("{\"a\":1}", "[object Object]"),
            ("[1,[2,null],\"x\",{}]", "1,2,,x,[object Object]"),
            ("[]", ""),
        ] {
            assert_eq!(js_text(Some(raw)), text, "{raw}");
        }
        assert_eq!(js_text(None), "undefined");
    }

    #[test]
    fn bytes_become_bytes_again() {
        let (json, bytes) =
            unpack(r#"{"a" : 1.0,"b":[{"_base64":"AP8="},"{\"_base64\":\"AP8=\"}"],"c":{"_base64":"%"}}"#, 9);
        let expected =
            r#"{"a" : 1.0,"b":[{"_placeholder":true,"num":0},"{\"_base64\":\"AP8=\"}"],"c":{"_base64":"%"}}"#;
        assert_eq!((json.as_str(), bytes), (expected, vec![vec![0, 255]]));
        assert_eq!(unpack("[1, 2]", 9), ("[1, 2]".into(), vec![]));
        assert_eq!(unpack(r#"{"_base64":""#, 9).0, r#"{"_base64":""#);
    }
}
