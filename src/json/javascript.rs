//! Conversion of JSON values to text as in JavaScript: signatures of node-socket-im cover the result.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::string::string;

/// The text of a JSON value in JavaScript, as `String(value)` makes it. `None` is `undefined`.
pub fn js_text(raw: Option<&str>) -> Cow<'_, str> {
    let Some(raw) = raw else { return "undefined".into() };
    match raw.as_bytes().first() {
        Some(b'"') => string(raw).unwrap_or_default(),
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

/// The text of a number in JavaScript (ECMA-262, Number::toString): the shortest digits, with an exponent from 1e21 on
/// and below 1e-6.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected texts come from Node: `'' + JSON.parse(text)`.
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
}
