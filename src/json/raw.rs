//! Parsing of single values, while the rest stays text.

use core::{fmt, ops::Deref};
use std::{borrow::Cow, collections::BTreeMap};

use serde_core::de::{Deserialize, Deserializer as Source, Error, MapAccess, Visitor};
use serde_json::{Deserializer, value::RawValue};

use super::string::string;

/// A JSON object whose values are not parsed. If a name occurs twice, the last value counts, as in JavaScript.
#[derive(Clone, Debug, Default)]
pub struct Object<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

impl<'a> Deref for Object<'a> {
    type Target = BTreeMap<Cow<'a, str>, &'a RawValue>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<S: Source<'de>>(source: S) -> Result<Self, S::Error> {
        source.deserialize_map(ObjectVisitor).map(Object)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = BTreeMap<Cow<'de, str>, &'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            fields.insert(string(name.get()).ok_or_else(|| M::Error::custom("a name must be a string"))?, value);
        }
        Ok(fields)
    }
}

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
        let mut names = Deserializer::from_str(rest).into_iter::<&RawValue>();
        let name = string(names.next()?.ok()?.get())?;
        rest = skip_space(&rest[names.byte_offset()..]).strip_prefix(':')?;
        let mut values = Deserializer::from_str(rest).into_iter::<&RawValue>();
        fields.push((name.into_owned(), values.next()?.ok()?));
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
        Some(b'"') => string(text).unwrap_or_default(),
        Some(b'-' | b'0'..=b'9') => text.into(),
        _ => "".into(),
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
