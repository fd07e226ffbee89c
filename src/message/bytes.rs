//! Binary data inside JSON. Plain WebSocket frames, hooks and Redis encode it as `{"_base64":"…"}`. Socket.IO uses
//! placeholders (`{"_placeholder":true,"num":N}`) and attachments.

use std::borrow::Cow;

use crate::{json::string_end, socketio::placeholder};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

/// Appends bytes as `{"_base64":"…"}`, in standard base64 with padding (RFC 4648, section 4).
pub fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b"{\"_base64\":\"");
    write_base64_digits(out, bytes);
    out.extend_from_slice(b"\"}");
}

/// Appends bytes in standard base64 with padding.
pub fn write_base64_digits(out: &mut Vec<u8>, bytes: &[u8]) {
    let begin = out.len();
    out.resize(begin + bytes.len().div_ceil(3) * 4, 0);
    BASE64.encode_slice(bytes, &mut out[begin..]).expect("base64 has four digits for three bytes");
}

/// Appends JSON with `{"_base64":"…"}` in place of its placeholders. Objects in `json` that already begin with
/// `{"_base64":"` are written with an escape (`"\u005fbase64"`), so that [`unpack`] ignores them; their JSON value is
/// the same.
pub fn pack(out: &mut Vec<u8>, json: &str, attachments: &[Vec<u8>]) {
    if attachments.is_empty() {
        return out.extend_from_slice(json.as_bytes());
    }
    let (mut escaped, mut rest) = (String::new(), json);
    while let Some(at) = find_bytes(rest) {
        escaped.push_str(&rest[..at]);
        escaped.push_str("{\"\\u005f");
        rest = &rest[at + "{\"_".len()..];
        // Continue after the value, which is a string.
        let (done, behind) = rest.split_at(string_end(rest.as_bytes(), "base64\":".len()));
        escaped.push_str(done);
        rest = behind;
    }
    escaped.push_str(rest);
    placeholder::replace(&escaped, out, |number, out| {
        write_base64(out, attachments.get(number).map_or(&[], Vec::as_slice));
    });
}

/// Undoes [`pack`]: returns the JSON with placeholders in place of `{"_base64":"…"}`, and the attachments. The rest is
/// verbatim. At most `max` objects are replaced. `None` if something else in the JSON looks like a placeholder, because
/// Socket.IO clients could not read that.
pub fn unpack(json: &str, max: usize) -> Option<(String, Vec<Vec<u8>>)> {
    let (mut out, mut attachments, mut rest) = (String::new(), Vec::new(), json);
    while let Some(at) = find_bytes(rest).filter(|_| attachments.len() < max) {
        let (before, from) = rest.split_at(at);
        let text = &from[BYTES.len()..];
        // Only the base64 digits are scanned, so that the time stays linear for input with many false starts.
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
    placeholder::are_valid(&format!("[{out}]"), attachments.len()).then_some((out, attachments))
}

/// The position of the next `{"_base64":"` outside of strings.
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

/// Returns the arguments of a backend's event with placeholders in place of `{"_base64":"…"}`, and the attachments, at
/// most [`MAX_ATTACHMENTS`]. Arguments are returned verbatim if they have no binary data, are invalid, or already have
/// placeholders.
pub fn unpack_arguments(args: &str) -> (Cow<'_, str>, Vec<Vec<u8>>) {
    // Only a key with this name matters, which may be escaped: without either, parsing would find none.
    if !args.contains("_base64") && !args.contains("\\u00") {
        return (args.into(), Vec::new());
    }
    // Objects that look like placeholders must not be mixed with real ones.
    if placeholder::count_marked(&format!("[{args}]")) != Some(0) {
        return (args.into(), Vec::new());
    }
    let (mut out, mut attachments) = (String::new(), Vec::new());
    let (mut begin, mut at) = (0, 0);
    while at < args.len() && attachments.len() < MAX_ATTACHMENTS {
        match args.as_bytes()[at] {
            b'"' => at = string_end(args.as_bytes(), at),
            b'{' => match bytes_object(&args[at..]) {
                Some((bytes, length)) => {
                    out.push_str(&args[begin..at]);
                    out.push_str(&format!("{{\"_placeholder\":true,\"num\":{}}}", attachments.len()));
                    attachments.push(bytes);
                    at += length;
                    begin = at;
                }
                None => at += 1,
            },
            _ => at += 1,
        }
    }
    if attachments.is_empty() {
        return (args.into(), attachments);
    }
    out.push_str(&args[begin..]);
    (out.into(), attachments)
}

/// The bytes and the length of the object at the start of `text`, which is valid JSON. `None` unless `_base64` is its only
/// name, with a string of base64 as the value.
fn bytes_object(text: &str) -> Option<(Vec<u8>, usize)> {
    let string = |text: &'_ str| -> Option<usize> { text.starts_with('"').then(|| string_end(text.as_bytes(), 0)) };
    let rest = text.strip_prefix('{')?.trim_ascii_start();
    let (name, rest) = rest.split_at(string(rest)?);
    if !placeholder::is_text(name, "_base64") {
        return None;
    }
    let rest = rest.trim_ascii_start().strip_prefix(':')?.trim_ascii_start();
    let (value, rest) = rest.split_at(string(rest)?);
    let rest = rest.trim_ascii_start().strip_prefix('}')?;
    let digits: Cow<'_, str> = serde_json::from_str(value).ok()?;
    Some((BASE64.decode(&*digits).ok()?, text.len() - rest.len()))
}

/// Most attachments of one packet (docs/protocol.md, Socket.IO and Engine.IO, Packets).
pub const MAX_ATTACHMENTS: usize = 100;

/// The beginning of binary data in JSON, as [`write_base64`] writes it.
const BYTES: &str = "{\"_base64\":\"";

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::growth::{assert_linear, processor_time};

    #[test]
    fn bytes_of_backends() {
        assert_eq!(unpack_arguments("1, {\"b\": 1.0, \"a\":2}"), ("1, {\"b\": 1.0, \"a\":2}".into(), vec![]));
        let (args, bytes) =
            unpack_arguments("[{\"_base64\":\"AP8=\"}],{\"_base64\":\"%\"},{\"_base64\":\"AA==\",\"x\":1}");
        let expected = "[{\"_placeholder\":true,\"num\":0}],{\"_base64\":\"%\"},{\"_base64\":\"AA==\",\"x\":1}";
        let parse = |text: &str| serde_json::from_str::<Value>(&format!("[{text}]")).unwrap();
        assert_eq!((parse(&args), bytes), (parse(expected), vec![vec![0, 255]]));
    }

    /// The key decides, not the text: it may be escaped, and the word may be elsewhere.
    #[test]
    fn bytes_are_found_by_their_key() {
        let (args, bytes) = unpack_arguments(r#"{"\u005fbase64":"AP8="}"#);
        assert_eq!((&*args, bytes), (r#"{"_placeholder":true,"num":0}"#, vec![vec![0, 255]]));
        for verbatim in [
            r#"{"b":"_base64", "a":1.0}"#,
            r#"{"b":"\"_base64\":\"AP8=\"", "a":1.0}"#,
            r#"{"b":"\u00e9", "a":1.0}"#,
            r#"{"_base64":["AP8="], "a":1.0}"#,
        ] {
            assert_eq!(unpack_arguments(verbatim), (verbatim.into(), vec![]), "{verbatim}");
        }
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

    /// Many false starts are scanned once.
    #[test]
    fn looking_for_bytes_is_linear() {
        assert_linear(1000, |count| {
            let (many, mut out) = (format!("[{}1]", r#"{"_base64":"","a":1},"#.repeat(count)), Vec::new());
            let begin = processor_time();
            assert_eq!(unpack(&many, 10).unwrap().1.len(), 0);
            pack(&mut out, &many, &[vec![]]);
            processor_time() - begin
        });
    }
}
