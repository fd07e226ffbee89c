//! Explains why a file is not TOML, in plain words. The texts never contain a value: it may be a secret.

use core::net::IpAddr;

use toml_span::{Error, ErrorKind, Span};

/// The line that `span` begins in, its number, and the bytes before `span` in it.
fn line_of(text: &str, span: Span) -> (&str, usize, usize) {
    let before = text.get(..span.start).unwrap_or(text);
    let begin = before.rfind('\n').map_or(0, |end| end + 1);
    let line = text[begin..].lines().next().unwrap_or_default();
    (line, before.matches('\n').count() + 1, before.len() - begin)
}

/// Says what is wrong, and how to put it right.
pub fn explain(text: &str, error: &Error) -> String {
    let (line, _, column) = line_of(text, error.span);
    let line = line.trim().trim_start_matches('\u{feff}');
    let first = |span: &Span| line_of(text, *span).1;
    match &error.kind {
        ErrorKind::DuplicateKey { key, first: span } => {
            format!("{key} is set twice, for the first time in line {}: keep one of them", first(span))
        }
        ErrorKind::DuplicateTable { name, first: span } => format!(
            "the section {name} begins twice, for the first time in line {}: keep its keys together below that line",
            first(span)
        ),
        ErrorKind::DottedKeyInvalidType { first: span } => {
            format!("this key has a value already, in line {}, and cannot be a section as well", first(span))
        }
        ErrorKind::RedefineAsArray => "this section exists with single brackets: use [[…]] for all of a list".into(),
        ErrorKind::InvalidCharInString('\n' | '\r') | ErrorKind::UnterminatedString => {
            format!("{}the text in quotes does not end: its second quote is missing", key_of(line))
        }
        ErrorKind::InvalidEscape(_) | ErrorKind::InvalidHexEscape(_) | ErrorKind::InvalidEscapeValue(_) => format!(
            "{}invalid escape: write \\\\ for a backslash, or put the text in single quotes, which have no escapes",
            key_of(line)
        ),
        ErrorKind::InvalidCharInString(char) => {
            format!("{}a text in quotes cannot have the control character U+{:04X}", key_of(line), u32::from(*char))
        }
        ErrorKind::ExceededDepthLimit => "this is nested too deeply".into(),
        ErrorKind::UnexpectedEof if !line.ends_with('=') => {
            "the file ends too early: is a value, a ] or a quote missing?".into()
        }
        _ => malformed(line, column, error),
    }
}

/// `KEY: ` if the line sets a key that may be shown.
fn key_of(line: &str) -> String {
    let key = line.split_once('=').and_then(|(key, _)| shown(key.trim()));
    key.map_or_else(String::new, |key| format!("{key}: "))
}

/// A key that is safe to show. Where the `=` belongs to a value, as at the end of base64, what precedes it may be a secret: so
/// only texts with the form of relay's own keys are shown.
fn shown(key: &str) -> Option<&str> {
    let is_key = |byte: u8| byte.is_ascii_lowercase() || b"_.-".contains(&byte);
    (!key.is_empty() && key.len() <= MAX_KEY && key.bytes().all(is_key)).then_some(key)
}

/// The longest key that is shown.
const MAX_KEY: usize = 40;

/// For lines that break the grammar: the mistakes that people make, the most telling first. The parser stopped `at` bytes into
/// the line.
fn malformed(line: &str, at: usize, error: &Error) -> String {
    let header = line.strip_prefix('[').map(|rest| rest.trim_start_matches('['));
    match (header, line.split_once('=')) {
        _ if line.contains(['“', '”', '„', '‘', '’', '＂', '「']) => {
            "the quotes are typographic ones: write straight quotes, \"…\"".into()
        }
        _ if line.starts_with("//") || line.starts_with(';') => "a comment begins with #".into(),
        _ if line.starts_with('{') => {
            "this looks like JSON: the file is TOML, with lines like key = \"value\" and [section]".into()
        }
        (Some(_), None) if list_is_open(error) && at == 0 => {
            "a list in a line above does not end: its ] is missing".into()
        }
        (Some(name), _) if !name.contains(']') => "the ] after the section's name is missing".into(),
        (Some(name), _) => {
            let name = name.split(']').next().unwrap_or_default();
            match name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-\"".contains(&byte)) {
                true => "nothing but a comment may follow the section's name in its line".into(),
                false => {
                    "a name with other characters than A-Z a-z 0-9 _ - needs quotes, like [namespaces.\"/chat\"]".into()
                }
            }
        }
        (None, None) if line.contains(':') => {
            "a key and its value have = between them, not a colon: key = \"value\"".into()
        }
        (None, None) if list_is_open(error) => {
            "a list does not end, or misses a comma: each element needs quotes and a comma, and the list a ]".into()
        }
        (None, None) => "a line is key = value, [section] or # comment".into(),
        (None, Some((key, _))) if list_is_open(error) && at <= key.len() => {
            "a list in a line above does not end: its ] is missing".into()
        }
        (None, Some((key, rest))) => of_value(key.trim(), rest.trim(), error),
    }
}

/// Whether the parser was within a list.
fn list_is_open(error: &Error) -> bool {
    matches!(&error.kind, ErrorKind::Wanted { expected: "a right bracket", .. } | ErrorKind::Unexpected('['))
}

/// Explains a malformed value; `rest` is the text after the equals sign.
fn of_value(key: &str, rest: &str, error: &Error) -> String {
    if key.is_empty() {
        return "the key before = is missing".into();
    }
    let first = key.split(|c: char| c.is_whitespace() || c == ':').next().and_then(shown);
    if key.contains([' ', '\t', ':']) && !key.starts_with('"') {
        let first = first.map_or_else(String::new, |first| format!("{first}: "));
        return format!("{first}a key has no spaces, and = between it and its value: key = \"value\"");
    }
    let key = shown(key);
    let (prefix, key) = (key.map_or_else(String::new, |key| format!("{key}: ")), key.unwrap_or("key"));
    let value = rest.split('#').next().unwrap_or_default().trim();
    let bare = value.trim_matches(['[', ']', ' ', ',']);
    let is_number =
        bare.trim_start_matches(['-', '+']).bytes().all(|byte| byte.is_ascii_digit() || b"_.".contains(&byte));
    let begins_with_digit = bare.trim_start_matches(['-', '+']).starts_with(|first: char| first.is_ascii_digit());
    let is_address =
        bare.split(':').next().is_some_and(|host| host.parse::<IpAddr>().is_ok()) || bare.contains([':', '/']);
    let word = bare.to_ascii_lowercase();
    match () {
        () if value.is_empty() => format!("{prefix}the value after = is missing"),
        () if ["true", "false", "yes", "no", "on", "off"].contains(&&*word) => {
            format!("{prefix}expected true or false, in lower case and without quotes")
        }
        () if value.starts_with('[') && list_is_open(error) && value.ends_with(['"', '\'']) => {
            format!("{prefix}the list does not end: its ] is missing")
        }
        () if value.starts_with(['"', '\'']) => {
            format!("{prefix}nothing but a comment may follow the value in its line: write one key in each line")
        }
        () if begins_with_digit && is_number && !is_address => {
            format!("{prefix}invalid number: write digits without leading zeros, at most 9223372036854775807")
        }
        () if begins_with_digit && !is_address => {
            format!(
                "{prefix}a number has no unit and no letters: write digits only, in bytes, seconds or what the key counts"
            )
        }
        () if value.starts_with('[') => {
            format!("{prefix}the elements of a list need quotes and commas: {key} = [\"…\", \"…\"]")
        }
        () => format!("{prefix}a text needs quotes: {key} = \"…\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(text: &str) -> String {
        match toml_span::parse(text) {
            Ok(_) => panic!("{text:?} is TOML"),
            Err(error) => explain(text, &error),
        }
    }

    #[test]
    fn mistakes_of_newcomers() {
        for (text, wanted) in [
            ("listen = 127.0.0.1:4000", "listen: a text needs quotes: listen = \"…\""),
            ("listen = [127.0.0.1:4000]", "listen: the elements of a list need quotes"),
            ("listen = [\"127.0.0.1:4000\"\n[sources.a]\n", "a list in a line above does not end"),
            ("listen = [\"a:1\"\norigins = []\n", "a list in a line above does not end"),
            ("listen : [\"a\"]", "have = between them, not a colon"),
            ("[sources.demo\nsign_key = \"secret\"", "the ] after the section's name is missing"),
            ("[sources.demo]\nsign_key = secret", "sign_key: a text needs quotes: sign_key = \"…\""),
            ("[sources.demo]\nsign_key = \"secret\n", "sign_key: the text in quotes does not end"),
            ("[sources.demo]\nsign_key = 'secret", "sign_key: the text in quotes does not end"),
            ("a = \"x\"\nb = 1\na = \"secret\"", "a is set twice, for the first time in line 1"),
            ("[a]\nb = 1\n\n[a]\nc = 1", "begins twice, for the first time in line 1"),
            ("a = 1\n[a]\n", "a is set twice, for the first time in line 1"),
            ("a = 1\na.b = 2\n", "has a value already, in line 1"),
            ("key = \"a\\qb\"", "key: invalid escape: write \\\\ for a backslash"),
            ("key = \"k\" sign = [\"md5\"]", "key: nothing but a comment may follow the value"),
            ("body = 1_000_000_000_000_000_000_000", "body: invalid number"),
            ("body = 010", "body: invalid number"),
            ("body = 10MB", "body: a number has no unit"),
            ("keep_alive = 75s # seconds", "keep_alive: a number has no unit"),
            ("join = yes", "join: expected true or false"),
            ("join = True", "join: expected true or false"),
            ("level = debug", "level: a text needs quotes"),
            ("level =", "level: the value after = is missing"),
            ("level = # none\n", "level: the value after = is missing"),
            ("= 1", "the key before = is missing"),
            ("sign key = 1", "sign: a key has no spaces"),
            ("sign_key: c2VjcmV0a2V5==", "sign_key: a key has no spaces, and = between it and its value"),
            ("[sources.my shop]", "needs quotes, like"),
            ("[namespaces./chat]", "needs quotes, like"),
            ("[a] b = 1", "nothing but a comment may follow the section's name"),
            ("// comment", "a comment begins with #"),
            ("; comment", "a comment begins with #"),
            ("{\"listen\": [\"a:1\"]}", "this looks like JSON"),
            ("origins = [“https://a.example”]", "the quotes are typographic"),
            ("listen", "a line is key = value"),
            ("a = \"\u{1}\"", "the control character U+0001"),
        ] {
            let text_of = explained(text);
            assert!(text_of.contains(wanted), "{text:?}: {text_of}");
            assert!(!text_of.contains("secret"), "{text:?}: {text_of}");
        }
    }

    /// Wherever a file is cut, there is a text, and it shows no value.
    /// Where an `=` belongs to a value, what precedes it is not a key.
    #[test]
    fn secrets_that_end_in_equals_signs() {
        for line in [
            "sign_key: c2VjcmV0==",
            "sign_key c2VjcmV0==",
            "sign_key \"c2VjcmV0==\"",
            "\"sign_key\" \"c2VjcmV0=\"",
            "url \"redis://u:c2VjcmV0=@h/\"",
            "token 'c2VjcmV0=y'",
            "c2VjcmV0==",
            "\"c2VjcmV0=\"",
            "sign_key = c2VjcmV0==",
            "sign_key = \"c2VjcmV0==",
        ] {
            for text in [line.to_owned(), format!("[sources.a]\n{line}\n"), format!("a = [\n{line}\n]")] {
                if let Err(error) = toml_span::parse(&text) {
                    let explained = explain(&text, &error);
                    assert!(!explained.contains("c2Vj"), "{text:?}: {explained}");
                }
            }
        }
    }

    #[test]
    fn a_file_cut_anywhere() {
        let text = "listen = [\"三:1\", 'b']\n[sources.\"a b\"]\nsign_key = \"sécret\\n\" # x\n[[a]]\nb = { c = 1.5, d = [true] }\n";
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            if let Err(error) = toml_span::parse(&text[..end]) {
                let text = explain(&text[..end], &error);
                assert!(!text.is_empty() && !text.contains("cret"), "{text}");
            }
        }
    }
}
