//! What relays and the old servers say to each other over Redis, as bytes (contract section 10).
//!
//! A message is the old server's JSON object, its keys in its order; a relay adds `id`, `seq` and `node` at the end, where
//! it knows its own by one comparison, and `hmac` behind them if siblings sign.

use std::{borrow::Cow, collections::BTreeMap, io::Write};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::value::RawValue;

use super::{
    Data, MessageId,
    broadcast::{base64, string},
};
use crate::{
    sign::{hmac_hex, same_secret},
    socketio::placeholder,
};

/// An object whose values are still text; of two values with a name the last one counts, as in JavaScript.
pub type Object<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// How what a relay publishes ends, and how it tells who published something.
pub struct Seal {
    /// `,"node":"…"}`.
    own: Box<str>,
    secret: Option<Box<[u8]>>,
    /// Seconds by which the time of what is signed may be off.
    window: u64,
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
    pub fn new(node: &str, secret: Option<&[u8]>, window: u64) -> Seal {
        Seal { own: format!(",\"node\":\"{node}\"").into(), secret: secret.map(Into::into), window }
    }

    /// Whether siblings sign.
    pub fn signs(&self) -> bool {
        self.secret.is_some()
    }

    /// Ends an object whose last brace is missing. What is signed is good for one place and for a while.
    pub fn close(&self, payload: &mut Vec<u8>, seq: u64, place: &str, unix: u64) {
        if self.signs() {
            write!(payload, ",\"ts\":{unix}").expect("writing to memory succeeds");
        }
        write!(payload, ",\"seq\":{seq}{}", self.own).expect("writing to memory succeeds");
        if let Some(secret) = &self.secret {
            let hmac = signature(secret, place, payload);
            write!(payload, "{HMAC}{hmac}\"").expect("writing to memory succeeds");
        }
        payload.push(b'}');
    }

    /// Who published something there.
    pub fn open<'a>(&self, payload: &'a [u8], place: &str, unix: u64) -> Opened<'a> {
        let Ok(text) = core::str::from_utf8(payload) else { return Opened::Nonsense };
        let (mut body, mut authentic) = (text.trim_ascii_end().strip_suffix('}').unwrap_or(text), false);
        if let Some(before) = body.len().checked_sub(HMAC.len() + 65)
            && let Some((signed, tail)) = body.split_at_checked(before)
            && let Some(hmac) = tail.strip_prefix(HMAC).and_then(|tail| tail.strip_suffix('"'))
        {
            let right =
                |secret: &[u8]| same_secret(signature(secret, place, signed.as_bytes()).as_bytes(), hmac.as_bytes());
            authentic = self.secret.as_deref().is_some_and(right) && self.is_fresh(signed, unix);
            body = signed;
        }
        match body.ends_with(&*self.own) {
            true => Opened::Own,
            false => Opened::Foreign(text, authentic),
        }
    }

    /// Whether what is signed was signed lately. Its time is the last of its fields of that name: relays write it there.
    fn is_fresh(&self, signed: &str, unix: u64) -> bool {
        let digits = signed.rsplit_once(",\"ts\":").and_then(|(_, rest)| rest.split(',').next());
        digits.and_then(|digits| digits.parse::<u64>().ok()).is_some_and(|ts| ts.abs_diff(unix) <= self.window)
    }
}

fn signature(secret: &[u8], place: &str, payload: &[u8]) -> String {
    hmac_hex(secret, &[place.as_bytes(), b"\n", payload].concat())
}

/// A message as the old server wrote it, up to its last brace: `filename` and `ip` are of backends only.
pub fn message(source: &str, rooms: &str, data: Data<'_>, backend: Option<(&str, &str)>, id: MessageId) -> Vec<u8> {
    let mut out = b"{\"source\":".to_vec();
    string(&mut out, source);
    out.extend_from_slice(b",\"data\":");
    match data {
        Data::Mixed { json, attachments } => pack(&mut out, json, attachments),
        data => data.write_json(&mut out),
    }
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

/// Appends JSON with its bytes in it, as `{"_base64":"…"}`. What a client wrote that looks like that is written in another
/// way, which means the same.
pub fn pack(out: &mut Vec<u8>, json: &str, attachments: &[Vec<u8>]) {
    if attachments.is_empty() {
        return out.extend_from_slice(json.as_bytes());
    }
    let (mut escaped, mut rest) = (String::new(), json);
    while let Some(at) = find_bytes(rest) {
        escaped.push_str(&rest[..at]);
        escaped.push_str("{\"\\u005f");
        rest = &rest[at + "{\"_".len()..];
        let (name, behind) = rest.split_at("base64\":\"".len());
        // The value is a string: on behind it.
        let end = string_end(behind);
        escaped.push_str(name);
        escaped.push_str(&behind[..end]);
        rest = &behind[end..];
    }
    escaped.push_str(rest);
    placeholder::replace(&escaped, out, |number, out| {
        base64(out, attachments.get(number).map_or(&[], Vec::as_slice));
    });
}

/// Where a string that is open ends, with its quote.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// JSON with placeholders in place of `{"_base64":"…"}` as relays write it, and the bytes: what was sent as bytes becomes
/// bytes again, and the rest stays as it is to the letter. More than `most` of them stay what they are. Nothing if a client
/// would stumble over what else looks like a placeholder.
pub fn unpack(json: &str, most: usize) -> Option<(String, Vec<Vec<u8>>)> {
    let (mut out, mut attachments, mut rest) = (String::new(), Vec::new(), json);
    while let Some(at) = find_bytes(rest).filter(|_| attachments.len() < most) {
        let (before, from) = rest.split_at(at);
        let text = &from[BYTES.len()..];
        // No further than the digits go, or much that is none would be looked through again and again.
        let digits = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte)).count();
        let decoded = text[digits..].strip_prefix("\"}").and_then(|after| {
            let bytes = BASE64.decode(&text[..digits]).ok()?;
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
    placeholder::are_right(&format!("[{out}]"), attachments.len()).then_some((out, attachments))
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
        seal.close(&mut payload, 7, "here", 1000);
        String::from_utf8(payload).unwrap()
    }

    #[test]
    fn what_a_backend_s_message_looks_like() {
        let id = MessageId::parse("1km9g41o7vkabc123").unwrap();
        let mut out = message("demo", "r1,r2", Data::Text("hi \"ü\""), Some(("", "192.0.2.7")), id);
        Seal::new("abc123", None, 300).close(&mut out, 12, "here", 1000);
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
        let (one, two) = (Seal::new("aaaaaa", None, 300), Seal::new("bbbbbb", None, 300));
        let open = |seal: &Seal, text: &str| match seal.open(text.as_bytes(), "here", 1000) {
            Opened::Foreign(same, authentic) if same == text => Some(authentic),
            Opened::Own => None,
            other => panic!("{other:?}"),
        };
        let text = sealed(&one, "{\"a\":1");
        assert_eq!(text, r#"{"a":1,"seq":7,"node":"aaaaaa"}"#);
        assert_eq!((open(&one, &text), open(&two, &text)), (None, Some(false)));
        assert_eq!((open(&one, "{}"), open(&one, "")), (Some(false), Some(false)));
        assert_eq!(one.open(b"\xff}", "here", 1000), Opened::Nonsense);

        let (mine, yours) = (Seal::new("aaaaaa", Some(b"k"), 300), Seal::new("bbbbbb", Some(b"k"), 300));
        let text = sealed(&mine, "{\"a\":1");
        assert!(text.starts_with(r#"{"a":1,"ts":1000,"seq":7,"node":"aaaaaa","hmac":""#), "{text}");
        assert_eq!((open(&mine, &text), open(&yours, &text)), (None, Some(true)));
        assert_eq!(open(&Seal::new("bbbbbb", Some(b"x"), 300), &text), Some(false));
        assert_eq!(open(&two, &text), Some(false));
        assert_eq!(open(&yours, &text.replace("\"a\":1", "\"a\":2")), Some(false));
        assert_eq!(open(&yours, &"é".repeat(60)), Some(false));
        // Good for one place, and for a while.
        for (place, unix, right) in [
            ("here", 1300, true),
            ("here", 700, true),
            ("here", 1301, false),
            ("here", 699, false),
            ("there", 1000, false),
        ] {
            assert_eq!(yours.open(text.as_bytes(), place, unix), Opened::Foreign(&text, right), "{place} {unix}");
        }
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
            unpack(r#"{"a" : 1.0,"b":[{"_base64":"AP8="},"{\"_base64\":\"AP8=\"}"],"c":{"_base64":"%"}}"#, 9).unwrap();
        let expected =
            r#"{"a" : 1.0,"b":[{"_placeholder":true,"num":0},"{\"_base64\":\"AP8=\"}"],"c":{"_base64":"%"}}"#;
        assert_eq!((json.as_str(), bytes), (expected, vec![vec![0, 255]]));
        assert_eq!(unpack("1, [2]", 9), Some(("1, [2]".into(), vec![])));
        assert_eq!(unpack(r#"{"x":{"_base64":"AA=="},"y":{"_placeholder":true,"num":0}}"#, 9), None);
        let many = format!("[{}1]", r#"{"_base64":"AA=="},"#.repeat(5));
        assert_eq!(unpack(&many, 3).unwrap().1.len(), 3);
    }

    #[test]
    fn what_only_looks_like_bytes_becomes_none() {
        let json = r#"[{"_base64":"AAAA"},{"_placeholder":true,"num":0},"{\"_base64\":\"\"}",{"_base64":"a\"b"}]"#;
        let mut packed = Vec::new();
        pack(&mut packed, json, &[vec![7]]);
        let packed = String::from_utf8(packed).unwrap();
        let (again, bytes) = unpack(&packed, 9).unwrap();
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!((value(&again), bytes), (value(json), vec![vec![7]]));
        assert_eq!(packed.matches("{\"_base64\":\"Bw==\"}").count(), 1, "{packed}");
    }

    /// A megabyte of what looks like bytes and is none is looked through once.
    #[test]
    fn looking_for_bytes_is_linear() {
        let many = |count: usize| format!("[{}1]", r#"{"_base64":"","a":1},"#.repeat(count));
        let begin = std::time::Instant::now();
        assert_eq!(unpack(&many(50_000), 10).unwrap().1.len(), 0);
        let mut out = Vec::new();
        pack(&mut out, &many(50_000), &[vec![]]);
        // It took 20 s.
        assert!(begin.elapsed().as_secs() < 5, "{:?}", begin.elapsed());
    }
}
