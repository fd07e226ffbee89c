//! Names and values as queries and forms carry them (`application/x-www-form-urlencoded`, WHATWG URL).

use std::borrow::Cow;

/// Decoded pairs in their order: `+` is a space, a bad escape stays as it is, bytes that are no UTF-8 become U+FFFD.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Fields<'a> {
    /// Decodes `encoded`.
    pub fn parse(encoded: &'a [u8]) -> Fields<'a> {
        Fields { pairs: form_urlencoded::parse(encoded).collect() }
    }

    /// The first value of that name; empty if there is none, since nothing and an empty value mean the same everywhere.
    pub fn get(&self, name: &str) -> &str {
        self.pairs.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// All pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Every value of that name.
    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding() {
        let fields = Fields::parse("a=1+2&a=3&b=%E4%B8%AD%zz&c&=x&d=%ff&e=a%3Db%26".as_bytes());
        assert_eq!(fields.get("a"), "1 2");
        assert_eq!(fields.all("a").collect::<Vec<_>>(), ["1 2", "3"]);
        assert_eq!(fields.get("b"), "中%zz");
        assert_eq!(fields.get("c"), "");
        assert_eq!(fields.get("d"), "\u{fffd}");
        assert_eq!(fields.get("e"), "a=b&");
        assert_eq!(fields.get("none"), "");
    }
}
