//! Parsing of single values, while the rest stays text.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::value::RawValue;

/// A JSON object whose values are not parsed. If a name occurs twice, the last value counts, as in JavaScript.
pub type Object<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

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
