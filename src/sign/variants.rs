//! Other forms of a signed value: what a program may have signed in place of what it sent.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use encoding_rs::GBK;
use form_urlencoded::byte_serialize;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, value::RawValue};

use crate::json::{
    quote, string,
    style::{ASCII, STYLES, restyle},
    to_text,
};

/// Another form of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// How the form came about, for messages.
    pub how: Cow<'static, str>,
    /// The bytes that may have been signed.
    pub bytes: Vec<u8>,
}

/// The forms of any text, without the text itself. A form may be there twice, with different causes.
pub fn of_text(text: &str) -> Vec<Variant> {
    let mut found = Variants { text: text.as_bytes(), list: Vec::new() };
    if text.contains(['%', '+']) {
        let spaces = text.replace('+', " ");
        found.add("URL-decoded", percent_decode_str(&spaces).collect());
        found.add("URL-decoded, + kept", percent_decode_str(text).collect());
        found.text("with spaces in place of +", spaces);
    }
    let form: String = byte_serialize(text.as_bytes()).collect();
    found.text("URL-encoded as in a form", form.clone());
    found.text("URL-encoded in lower case", lower_escapes(&form));
    for (how, set) in [
        ("URL-encoded, spaces as %20", UNRESERVED),
        ("encoded by JavaScript's encodeURIComponent", COMPONENT),
        ("encoded by JavaScript's encodeURI", WHOLE_URI),
    ] {
        let encoded = utf8_percent_encode(text, set).to_string();
        found.text(how, encoded.clone());
        found.text("URL-encoded in lower case, spaces as %20", lower_escapes(&encoded));
    }
    found.text("with + in place of spaces", text.replace(' ', "+"));
    found.text("with a line feed at its end", format!("{text}\n"));
    found.text("with CR LF at its end", format!("{text}\r\n"));
    found.text("without white space at its ends", text.trim().to_owned());
    found.text("with LF in place of CR LF", text.replace("\r\n", "\n"));
    found.text("with CR LF in place of LF", text.replace("\r\n", "\n").replace('\n', "\r\n"));
    found.text("with a byte order mark", format!("\u{feff}{text}"));
    found.text("as HTML", text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;"));
    found.text("in lower case", text.to_lowercase());
    if !text.is_ascii() {
        let (gbk, _, unmappable) = GBK.encode(text);
        if !unmappable {
            found.add("in GBK in place of UTF-8", gbk.into_owned());
        }
        found.add("with ? in place of characters beyond ASCII", ascii(text));
        let twice: String = text.bytes().map(char::from).collect();
        found.text("in UTF-8 twice", twice);
        if let Some(latin) = text.chars().map(|c| u8::try_from(c).ok()).collect() {
            found.add("in ISO 8859-1 in place of UTF-8", latin);
        }
    }
    found.list
}

/// The forms of a list of rooms.
pub fn of_rooms(rooms: &str) -> Vec<Variant> {
    let mut found = Variants { text: rooms.as_bytes(), list: Vec::new() };
    let items: Vec<&str> = rooms.split(',').take(MAX_ITEMS).collect();
    found.text("without a comma at the end", rooms.trim_end_matches(',').to_owned());
    if items.len() > 1 {
        let mut sorted = items.clone();
        sorted.sort_unstable();
        found.text("in another order", sorted.join(","));
        sorted.reverse();
        found.text("in another order", sorted.join(","));
        found.text("in another order", items.iter().rev().copied().collect::<Vec<_>>().join(","));
        found.text("with spaces after the commas", items.join(", "));
        found.text("without commas", items.concat());
        found.text("the first room alone", items[0].to_owned());
        found.text("the last room alone", items.last().copied().unwrap_or_default().to_owned());
        found.text("with trimmed rooms", items.iter().map(|room| room.trim()).collect::<Vec<_>>().join(","));
        found.text("PHP's text of an array", "Array".into());
    }
    found.text("with a comma at the end", format!("{rooms},"));
    found.text("as a JSON array", format!("[{}]", items.iter().map(|item| quote(item)).collect::<Vec<_>>().join(",")));
    found.list
}

/// The forms of the data of a message.
pub fn of_data(text: &str) -> Vec<Variant> {
    let mut found = Variants { text: text.as_bytes(), list: Vec::new() };
    found.text("nothing", String::new());
    let quoted = quote(text);
    if let Ok(raw) = serde_json::from_str::<&RawValue>(text) {
        for style in STYLES.iter().chain([&ASCII]) {
            found.text(style.name, restyle(raw.get(), *style));
        }
        found.text("the value of the JSON string", string(text).unwrap_or(text.into()).into_owned());
        // Deep JSON cannot be sorted. A value has its keys in alphabetical order.
        if let Ok(value) = serde_json::from_str::<Value>(text) {
            let sorted = to_text(&value);
            for style in STYLES.iter().chain([&ASCII]) {
                found.text("with its keys in alphabetical order", restyle(&sorted, *style));
            }
            let pretty = serde_json::to_string_pretty(&value).unwrap_or_default();
            found.text("with indentation", pretty.clone());
            found.text("with indentation", pretty.replace("  ", "    "));
            let texts: &[&str] = match value {
                Value::Object(_) => &["[object Object]", "Array", "{}"],
                Value::Array(_) => &["Array", "[]"],
                Value::Bool(true) => &["1", "True"],
                Value::Bool(false) => &["0", "False"],
                _ => &[],
            };
            for text in texts {
                found.text("converted to text in place of JSON", (*text).to_owned());
            }
        }
    }
    for style in STYLES.iter().chain([&ASCII]) {
        found.text("the JSON string with its quotation marks", restyle(&quoted, *style));
        if let Some(inner) = restyle(&quoted, *style).get(1..).and_then(|text| text.strip_suffix('"')) {
            found.text("with the escapes of JSON", inner.to_owned());
        }
    }
    found.text("without backslashes", text.replace("\\/", "/"));
    found.list
}

/// The forms of a time in seconds.
pub fn of_time(ts: &str) -> Vec<Variant> {
    let mut found = Variants { text: ts.as_bytes(), list: Vec::new() };
    let whole = ts.split('.').next().unwrap_or_default();
    found.text("in whole seconds", whole.to_owned());
    found.text("in milliseconds", format!("{whole}000"));
    if let Some(seconds) = whole.get(..10) {
        found.text("in seconds", seconds.to_owned());
    }
    found.text("nothing", String::new());
    found.list
}

/// The forms of a key. They say nothing about the key itself.
pub fn of_key(key: &[u8]) -> Vec<Variant> {
    let mut found = Variants { text: key, list: Vec::new() };
    let joined = |before: &[u8], after: &[u8]| [before, key, after].concat();
    found.add("with a line feed at its end", joined(b"", b"\n"));
    found.add("with CR LF at its end", joined(b"", b"\r\n"));
    found.add("with a space at its end", joined(b"", b" "));
    found.add("with a line feed before it", joined(b"\n", b""));
    found.add("in double quotation marks", joined(b"\"", b"\""));
    found.add("in single quotation marks", joined(b"'", b"'"));
    found.add("with a byte order mark", joined("\u{feff}".as_bytes(), b""));
    found.add("without white space at its ends", key.trim_ascii().into());
    found.add("in lower case", key.to_ascii_lowercase());
    found.add("in upper case", key.to_ascii_uppercase());
    if let Ok(bytes) = base16ct::mixed::decode_vec(key) {
        found.add("decoded as hexadecimal digits", bytes);
    }
    if let Ok(bytes) = BASE64.decode(key) {
        found.add("decoded as base64", bytes);
    }
    found.add("encoded as base64", BASE64.encode(key).into_bytes());
    found.add("in hexadecimal digits", base16ct::lower::encode_string(key).into_bytes());
    found.add("URL-encoded", byte_serialize(key).collect::<String>().into_bytes());
    found.add("URL-decoded", percent_decode(key).collect());
    // The shell replaces $NAME within double quotation marks.
    if let Some(cut) = key.iter().position(|byte| *byte == b'$') {
        found.add("cut at its $, as shells do within double quotation marks", key[..cut].into());
    }
    if let Some(cut) = key.iter().position(|byte| *byte == b'#') {
        found.add("cut at its #, as in a comment", key[..cut].into());
    }
    found.add("empty", Vec::new());
    found.list
}

struct Variants<'a> {
    text: &'a [u8],
    list: Vec<Variant>,
}

impl Variants<'_> {
    fn add(&mut self, how: &'static str, bytes: Vec<u8>) {
        if bytes != self.text {
            self.list.push(Variant { how: how.into(), bytes });
        }
    }

    fn text(&mut self, how: &'static str, text: String) {
        self.add(how, text.into_bytes());
    }
}

/// A text with lower-case digits in its escapes, as some libraries of .NET and Java write them.
fn lower_escapes(encoded: &str) -> String {
    let mut out = String::with_capacity(encoded.len());
    let mut digits = 0;
    for c in encoded.chars() {
        match c {
            '%' => digits = 2,
            _ if digits > 0 => {
                digits -= 1;
                out.push(c.to_ascii_lowercase());
                continue;
            }
            _ => {}
        }
        out.push(c);
    }
    out
}

/// A text as .NET's `Encoding.ASCII` writes it: with `?` for each unit of UTF-16 beyond ASCII.
fn ascii(text: &str) -> Vec<u8> {
    text.encode_utf16().map(|unit| u8::try_from(unit).ok().filter(u8::is_ascii).unwrap_or(b'?')).collect()
}

/// RFC 3986 section 2.3.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// ECMA-262, encodeURIComponent.
const COMPONENT: &AsciiSet = &UNRESERVED.remove(b'!').remove(b'*').remove(b'\'').remove(b'(').remove(b')');
/// ECMA-262, encodeURI.
const WHOLE_URI: &AsciiSet = &COMPONENT
    .remove(b';')
    .remove(b'/')
    .remove(b'?')
    .remove(b':')
    .remove(b'@')
    .remove(b'&')
    .remove(b'=')
    .remove(b'+')
    .remove(b'$')
    .remove(b',')
    .remove(b'#');
/// Rooms of a list that are looked at.
const MAX_ITEMS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn how(list: &[Variant], bytes: impl AsRef<[u8]>) -> String {
        let found = list.iter().find(|variant| variant.bytes == bytes.as_ref());
        found.map_or_else(|| "no form".into(), |variant| variant.how.to_string())
    }

    #[test]
    fn forms_of_a_text() {
        let list = of_text("a,b c/é");
        assert_eq!(how(&list, "a%2Cb+c%2F%C3%A9"), "URL-encoded as in a form");
        assert_eq!(how(&list, "a%2cb+c%2f%c3%a9"), "URL-encoded in lower case");
        assert_eq!(how(&list, "a%2Cb%20c%2F%C3%A9"), "URL-encoded, spaces as %20");
        assert_eq!(how(&list, "a,b%20c/%C3%A9"), "encoded by JavaScript's encodeURI");
        assert_eq!(how(&list, "a,b c/?"), "with ? in place of characters beyond ASCII");
        assert_eq!(how(&list, b"a,b c/\xe9"), "in ISO 8859-1 in place of UTF-8");
        assert_eq!(how(&list, "a,b c/Ã©"), "in UTF-8 twice");
        assert_eq!(how(&of_text("中"), b"\xd6\xd0"), "in GBK in place of UTF-8");
        assert_eq!(how(&of_text("a%2Cb+c"), "a,b c"), "URL-decoded");
        assert_eq!(how(&of_text("a "), "a"), "without white space at its ends");
        assert!(of_text("").iter().all(|variant| !variant.bytes.is_empty()), "the text itself is no variant");
    }

    #[test]
    fn forms_of_data() {
        let half = of_data("\"a\\ud83d\"");
        assert_eq!(how(&half, "a\u{fffd}"), "the value of the JSON string", "half a surrogate pair");
        let list = of_data(r#"{"b": "中/", "a": 1}"#);
        assert_eq!(how(&list, r#"{"b":"中/","a":1}"#), "JavaScript's JSON.stringify");
        assert_eq!(how(&list, r#"{"b":"\u4e2d\/","a":1}"#), "PHP's json_encode");
        assert_eq!(how(&list, r#"{"b": "\u4e2d/", "a": 1}"#), "Python's json.dumps");
        assert_eq!(how(&list, r#"{"a":1,"b":"中/"}"#), "with its keys in alphabetical order");
        assert_eq!(how(&list, "Array"), "converted to text in place of JSON");
        assert_eq!(how(&of_data("a\"中"), r#""a\"\u4e2d""#), "the JSON string with its quotation marks");
        assert_eq!(how(&of_data("\"a\""), "a"), "the value of the JSON string");
    }

    #[test]
    fn forms_of_keys_and_times() {
        let list = of_key(b"ab$c#d");
        assert_eq!(how(&list, "ab$c#d\n"), "with a line feed at its end");
        assert_eq!(how(&list, "ab"), "cut at its $, as shells do within double quotation marks");
        assert_eq!(how(&list, "ab$c"), "cut at its #, as in a comment");
        assert_eq!(how(&of_key(b"00ff"), b"\0\xff"), "decoded as hexadecimal digits");
        assert_eq!(how(&of_time("1700000000.25"), "1700000000"), "in whole seconds");
        assert_eq!(how(&of_time("1700000000123"), "1700000000"), "in seconds");
        assert_eq!(how(&of_time("1700000000"), "1700000000000"), "in milliseconds");
    }

    #[test]
    fn forms_of_rooms() {
        let list = of_rooms("b,a");
        assert_eq!(how(&list, "a,b"), "in another order");
        assert_eq!(how(&list, "b, a"), "with spaces after the commas");
        assert_eq!(how(&list, "b"), "the first room alone");
        assert_eq!(how(&list, r#"["b","a"]"#), "as a JSON array");
        assert_eq!(how(&of_rooms("a,"), "a"), "without a comma at the end");
    }

    /// The forms of a hostile text are at most this many times as long, and few.
    #[test]
    fn forms_are_bounded() {
        for text in ["中".repeat(1000), ",".repeat(3000), "[".repeat(3000), "\u{1}".repeat(3000)] {
            for list in [of_text(&text), of_rooms(&text), of_data(&text)] {
                assert!(list.len() < 64, "{}", list.len());
                assert!(list.iter().all(|variant| variant.bytes.len() <= 12 * text.len()));
            }
        }
    }
}
