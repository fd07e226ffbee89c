//! Parsing of single values, while the rest stays text.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Deserializer, value::RawValue};

/// A JSON object whose values are not parsed. If a name occurs twice, the last value counts, as in JavaScript.
pub type Object<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// All fields of a JSON object in their order, repeated ones included, with values that are not parsed. `None` if `text`
/// is not a JSON object.
pub fn all_fields(text: &str) -> Option<Vec<(String, &RawValue)>> {
    let mut rest = skip_space(text).strip_prefix('{')?;
    let mut fields = Vec::new();
    loop {
        rest = skip_space(rest);
        if let (Some(end), true) = (rest.strip_prefix('}'), fields.is_empty()) {
            rest = end;
            break;
        }
        let mut names = Deserializer::from_str(rest).into_iter::<String>();
        let name = names.next()?.ok()?;
        rest = skip_space(&rest[names.byte_offset()..]).strip_prefix(':')?;
        let mut values = Deserializer::from_str(rest).into_iter::<&RawValue>();
        fields.push((name, values.next()?.ok()?));
        rest = skip_space(&rest[values.byte_offset()..]);
        if let Some(end) = rest.strip_prefix('}') {
            rest = end;
            break;
        }
        rest = rest.strip_prefix(',')?;
    }
    skip_space(rest).is_empty().then_some(fields)
}

fn skip_space(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\n', '\r'])
}

/// The value of a string or the text of a number. Empty for any other value.
pub fn scalar(raw: &RawValue) -> Cow<'_, str> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(text).unwrap_or_default().into(),
        Some(b'-' | b'0'..=b'9') => text.into(),
        _ => "".into(),
    }
}

/// The list of rooms in a JSON value: a string or number, or an array of those, which are joined with commas.
pub fn comma_list(raw: &RawValue) -> String {
    match raw.get().starts_with('[').then(|| serde_json::from_str::<Vec<&RawValue>>(raw.get())) {
        Some(Ok(list)) => list.into_iter().map(scalar).collect::<Vec<_>>().join(","),
        _ => scalar(raw).into_owned(),
    }
}

/// The text between the brackets of a JSON array; empty for an empty array.
pub fn array_items(array: &str) -> &str {
    let items = array.trim().strip_prefix('[').and_then(|array| array.strip_suffix(']')).unwrap_or_default();
    if items.trim().is_empty() { "" } else { items }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_fields_of_an_object() {
        let fields = |text: &str| {
            let found = all_fields(text)?;
            Some(found.into_iter().map(|(name, value)| format!("{name}={}", value.get())).collect::<Vec<_>>().join(" "))
        };
        for (text, found) in [
            ("{}", ""),
            (" {\n} ", ""),
            (r#"{"a":1}"#, "a=1"),
            (r#" { "a" : [1, {"b":2}] , "a" :null,"\u0062":"}" } "#, r#"a=[1, {"b":2}] a=null b="}""#),
        ] {
            assert_eq!(fields(text).as_deref(), Some(found), "{text}");
        }
        for wrong in [
            "",
            "[]",
            "null",
            "{",
            "{\"a\":1",
            "{\"a\":1,}",
            "{,}",
            "{\"a\"}",
            "{a:1}",
            "{\"a\":1}x",
            "{\"a\":1}{}",
            "\u{a0}{}",
        ] {
            assert_eq!(fields(wrong), None, "{wrong}");
            assert!(serde_json::from_str::<Object<'_>>(wrong).is_err(), "{wrong}");
        }
    }
}
