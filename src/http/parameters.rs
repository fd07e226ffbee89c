//! The parameters of a header, such as `charset` (RFC 9110 section 5.6.6).

use std::borrow::Cow;

use memchr::memchr;

/// A name and a value without its quotation marks.
pub type Parameter<'a> = (&'a str, Cow<'a, str>);

/// The parameters that follow the value of a header. A malformed one is `None`. In a quoted string, a backslash only escapes a
/// quotation mark or another backslash: browsers write `\` as it is.
#[derive(Clone, Debug)]
pub struct Parameters<'a> {
    /// The remaining text: a semicolon and the parameters after it.
    rest: &'a str,
}

impl<'a> Parameters<'a> {
    /// Splits a header into its value and the parameters.
    pub fn split(header: &'a str) -> (&'a str, Parameters<'a>) {
        let (value, rest) = header.split_at(memchr(b';', header.as_bytes()).unwrap_or(header.len()));
        (value.trim_ascii(), Parameters { rest })
    }

    /// The first well-formed parameter of this name.
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        self.clone().flatten().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Option<Parameter<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.rest.strip_prefix(';').map(str::trim_ascii_start);
        let (found, malformed) = match text {
            Some("") => return None,
            Some(text) => (parse(text), text),
            None if self.rest.trim_ascii().is_empty() => return None,
            None => (None, self.rest),
        };
        let next = || &malformed[malformed.find(';').unwrap_or(malformed.len())..];
        self.rest = found.as_ref().map_or_else(next, |(_, rest)| rest);
        Some(found.map(|(parameter, _)| parameter))
    }
}

/// A parameter at the start of `text`, and what follows it.
fn parse(text: &str) -> Option<(Parameter<'_>, &str)> {
    let (name, behind) = text.split_once('=')?;
    if name.is_empty() || name.contains([';', '"', ' ', '\t']) {
        return None;
    }
    let Some(quoted) = behind.strip_prefix('"') else {
        let (value, rest) = behind.split_at(behind.find(';').unwrap_or(behind.len()));
        let value = Some(value.trim_ascii()).filter(|value| !value.contains(['"', ' ', '\t']))?;
        return Some(((name, value.into()), rest));
    };
    let (mut value, mut chars) = (String::new(), quoted.char_indices());
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some(((name, value.into()), quoted[at + 1..].trim_ascii_start())),
            '\\' if quoted[at + 1..].starts_with(['"', '\\']) => value.extend(chars.next().map(|next| next.1)),
            other => value.push(other),
        }
    }
    None
}

/// Whether text in this charset is UTF-8. ASCII is a part of it.
pub fn is_utf8(charset: &str) -> bool {
    ["utf-8", "utf8", "us-ascii"].iter().any(|name| charset.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(header: &str) -> String {
        let (value, parameters) = Parameters::split(header);
        let shown = parameters.map(|found| found.map_or("?".into(), |(name, value)| format!("{name}={value}")));
        shown.fold(value.to_owned(), |all, one| all + "|" + &one)
    }

    #[test]
    fn parameters() {
        for (header, found) in [
            ("", ""),
            (" text/plain ", "text/plain"),
            ("a;", "a"),
            ("a; ", "a"),
            ("a;b=c", "a|b=c"),
            ("a ; b=c ;d=\"e;f\" ; g=h;", "a|b=c|d=e;f|g=h"),
            (r#"a;b="c\"d\\e\f""#, r#"a|b=c"d\e\f"#),
            ("a;b=", "a|b="),
            ("a;b", "a|?"),
            ("a;b;c=d", "a|?|c=d"),
            ("a;;c=d", "a|?|c=d"),
            ("a;b =c;d=e", "a|?|d=e"),
            ("a;=c;d=e", "a|?|d=e"),
            ("a;b=c d;d=e", "a|?|d=e"),
            ("a;b=\"c;d=e", "a|?|d=e"),
            ("a;b=\"c\"x;d=e", "a|b=c|?|d=e"),
        ] {
            assert_eq!(all(header), found, "{header}");
        }
        let (_, parameters) = Parameters::split("a; x; CharSet=\"UTF-8\"; charset=gbk");
        assert_eq!((parameters.get("charset").as_deref(), parameters.get("x")), (Some("UTF-8"), None));
    }

    #[test]
    fn cut_at_every_byte() {
        let header = "form-data; name=\"a\\\"中;\"; filename=b ; c=\"\\";
        for end in (0..=header.len()).filter(|end| header.is_char_boundary(*end)) {
            assert!(all(&header[..end]).len() <= 2 * end + 1, "{}", &header[..end]);
        }
    }

    #[test]
    fn charsets() {
        assert!(["UTF-8", "utf8", "US-ASCII"].into_iter().all(is_utf8));
        assert!(!["", "gbk", "utf-16", "utf-8 ", "iso-8859-1"].into_iter().any(is_utf8));
    }
}
