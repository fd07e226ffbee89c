//! JSON text as the libraries of other languages write it: an explanation of a wrong signature tries these forms.

use super::string::string_end;

/// How a library writes JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// The language and function, for messages.
    pub name: &'static str,
    /// Whether a space follows each comma and each colon.
    pub spaces: bool,
    /// Whether `/` is `\/`.
    pub slashes: bool,
    /// Whether characters above U+007F are escaped.
    pub ascii: bool,
}

/// The styles of widespread libraries. The first one has neither spaces nor escapes.
pub const STYLES: [Style; 5] = [
    Style { name: "JavaScript's JSON.stringify", spaces: false, slashes: false, ascii: false },
    Style { name: "PHP's json_encode", spaces: false, slashes: true, ascii: true },
    Style { name: "PHP's json_encode with JSON_UNESCAPED_UNICODE", spaces: false, slashes: true, ascii: false },
    Style { name: "Python's json.dumps", spaces: true, slashes: false, ascii: true },
    Style { name: "Python's json.dumps with ensure_ascii=False", spaces: true, slashes: false, ascii: false },
];

/// PHP with `JSON_UNESCAPED_SLASHES`, and most libraries that write ASCII only.
pub const ASCII: Style =
    Style { name: "a library that escapes all but ASCII", spaces: false, slashes: false, ascii: true };

/// Writes valid JSON in another style. The order of keys and the digits of numbers stay as they are.
pub fn restyle(json: &str, style: Style) -> String {
    let mut out = String::with_capacity(json.len() + 16);
    let mut rest = json;
    while let Some(c) = rest.chars().next() {
        match c {
            '"' => {
                let end = string_end(rest.as_bytes(), 0);
                match serde_json::from_str::<String>(&rest[..end]) {
                    Ok(text) => write_text(&mut out, &text, style),
                    // Half a surrogate pair: most libraries write its escape as it was, and not U+FFFD.
                    Err(_) => out.push_str(&rest[..end]),
                }
                rest = &rest[end..];
                continue;
            }
            ' ' | '\t' | '\n' | '\r' => {}
            ',' | ':' => {
                out.push(c);
                if style.spaces {
                    out.push(' ');
                }
            }
            c => out.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    out
}

fn write_text(out: &mut String, text: &str, style: Style) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '/' if style.slashes => out.push_str("\\/"),
            c if c < ' ' || (style.ascii && !c.is_ascii()) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries() {
        let json = " { \"b\" : [1, -2.50e3,\ttrue ],\n\"\\u4e2d/\" :\"\\/\\\"\\u0001😀\\n\" } ";
        let written = STYLES.map(|style| restyle(json, style));
        assert_eq!(written[0], r#"{"b":[1,-2.50e3,true],"中/":"/\"\u0001😀\n"}"#);
        assert_eq!(written[1], r#"{"b":[1,-2.50e3,true],"\u4e2d\/":"\/\"\u0001\ud83d\ude00\n"}"#);
        assert_eq!(written[2], r#"{"b":[1,-2.50e3,true],"中\/":"\/\"\u0001😀\n"}"#);
        assert_eq!(written[3], r#"{"b": [1, -2.50e3, true], "\u4e2d/": "/\"\u0001\ud83d\ude00\n"}"#);
        assert_eq!(written[4], r#"{"b": [1, -2.50e3, true], "中/": "/\"\u0001😀\n"}"#);
        assert_eq!(restyle("[\"\\ud800\"]", ASCII), "[\"\\ud800\"]", "a lone surrogate");
    }

    /// It is called with valid JSON, but must not panic with anything.
    #[test]
    fn cut_at_every_byte() {
        let json = "{\"a\\\"中\": [1, \"\\u4e2d\"]}";
        for end in (0..=json.len()).filter(|end| json.is_char_boundary(*end)) {
            for style in STYLES {
                restyle(&json[..end], style);
                restyle(&json[end..], style);
            }
        }
    }
}
