//! Section `[sources.NAME.jwt]` of the configuration file: the keys of tokens.

use toml_span::{Span, Value};

use super::{reader::Reader, section::Section};
use crate::{
    sign::{TokenKey, TokenPolicy},
    tls::PublicKey,
};

/// Reads the table `jwt` of a source. `None` if there is none.
pub fn read<'t>(reader: &mut Reader<'t, '_>, source: &mut Section<'t>) -> Option<TokenPolicy> {
    let Some(span) = source.span("jwt") else {
        source.take("jwt");
        return None;
    };
    let mut section = source.section(reader, "jwt");
    let mut policy = TokenPolicy {
        keys: Vec::new(),
        audience: section.optional(reader, "audience"),
        issuer: section.optional(reader, "issuer"),
    };
    let before = reader.problems.len();
    let keys_at = section.span("keys");
    let values = section.array(reader, "keys", "keys, each [[sources.NAME.jwt.keys]]");
    let prefix = section.key("keys.");
    let only = key(reader, &mut section, span, None);
    match (keys_at, only) {
        (Some(at), Some(_)) => {
            let text =
                format!("{} is beside another key: give that one a kid and move it into the list", section.key("keys"));
            reader.problem(at, text);
        }
        (Some(_), None) => policy.keys = several(reader, &prefix, values),
        (None, Some(Known::Key(key))) => policy.keys.push(key),
        (None, Some(Known::Unread)) => {}
        (None, None) if reader.problems.len() == before && !section.is_broken => {
            let name = section.prefix.trim_end_matches('.').to_owned();
            reader.problem(span, format!("{name} has no key: set secret, secret_file, public_key_file or keys"));
        }
        (None, None) => {}
    }
    section.finish(reader);
    Some(policy)
}

/// A key that is set.
enum Known {
    Key(TokenKey),
    /// A client command may not be allowed to read its file, and does not need it (see `Origin::load_for_client`); or it has a
    /// problem, which is reported.
    Unread,
}

/// Reads the list of keys.
fn several<'t>(reader: &mut Reader<'t, '_>, prefix: &str, values: Vec<Value<'t>>) -> Vec<TokenKey> {
    let mut keys: Vec<TokenKey> = Vec::new();
    if let Some(value) = values.get(MAX_KEYS) {
        let name = prefix.trim_end_matches('.');
        reader.problem(value.span, format!("{name} has {} elements: at most {MAX_KEYS} are possible", values.len()));
    }
    for value in values.into_iter().take(MAX_KEYS) {
        let span = value.span;
        let mut section = Section::new(reader, prefix.to_owned(), value);
        let at = section.span("kid").unwrap_or(span);
        let kid = section.optional(reader, "kid");
        let (name, is_known) = (section.key("kid"), keys.iter().any(|key| key.kid == kid));
        match &kid {
            None if !section.is_broken => {
                reader.problem(span, format!("{name} is missing: it says which tokens the key is for"));
            }
            Some(kid) if is_known => reader.problem(at, format!("{name}: {kid:?} is listed twice")),
            _ => {}
        }
        match key(reader, &mut section, span, kid) {
            Some(Known::Key(key)) => keys.push(key),
            Some(Known::Unread) => {}
            None if section.is_broken => {}
            None => {
                let name = prefix.trim_end_matches('.');
                reader.problem(span, format!("{name}: a key needs secret, secret_file or public_key_file"));
            }
        }
        section.finish(reader);
    }
    keys
}

/// Reads the key of a table. `None` if none is set.
fn key<'t>(reader: &mut Reader<'t, '_>, section: &mut Section<'t>, span: Span, kid: Option<String>) -> Option<Known> {
    let at = section.span("public_key_file").unwrap_or(span);
    let name = section.text("public_key_file").unwrap_or_default().to_owned();
    let (before, mut pem) = (reader.problems.len(), String::new());
    let has_pem = section.content(reader, "public_key_file", &mut pem);
    let is_wrong = reader.problems.len() > before;
    let secret = section.secret(reader, "secret", "secret_file");
    match (has_pem, secret) {
        (true, Some((_, span))) => {
            let text = format!("{} and public_key_file are both set: keep one of them", section.key("secret"));
            reader.problem(span, text);
            Some(Known::Unread)
        }
        (true, None) if pem.starts_with('\0') => Some(Known::Unread),
        (true, None) => match PublicKey::from_pem(&pem) {
            Ok(public) => Some(Known::Key(TokenKey::public(kid, public))),
            Err(error) => {
                reader.problem(at, format!("{}: {name}: {error}", section.key("public_key_file")));
                Some(Known::Unread)
            }
        },
        // PEM in the place of a shared secret: whoever has the public key could sign.
        (false, Some((secret, span))) if secret.expose().contains("-----BEGIN ") => {
            let text = format!("{} is a key in PEM: a public key belongs in public_key_file", section.key("secret"));
            reader.problem(span, text);
            Some(Known::Unread)
        }
        (false, Some((secret, _))) => Some(Known::Key(TokenKey::secret(kid, secret.0))),
        (false, None) if is_wrong => Some(Known::Unread),
        (false, None) => None,
    }
}

/// The most keys of a source.
const MAX_KEYS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

    fn read(text: &str) -> Result<Option<TokenPolicy>, String> {
        let mut files = |name: &std::path::Path| match name.to_str() {
            Some("key") => Ok("in a file\n".into()),
            Some("pem") => Ok(PEM.into()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        };
        let text = format!("[sources.a]\nsign_key = \"k\"\n{text}");
        match parse(&text, &mut files) {
            Ok(config) => Ok(config.sources["a"].jwt.clone()),
            Err(problems) => Err(problems.iter().map(|problem| format!("{problem}\n")).collect()),
        }
    }

    #[test]
    fn keys() {
        assert_eq!(read(""), Ok(None));
        let secret = |kid: Option<&str>, key: &str| TokenKey::secret(kid.map(Into::into), key.into());
        let policy = read("jwt = { secret = \"s\", audience = \"relay\", issuer = \"shop\" }").unwrap().unwrap();
        assert_eq!(policy.keys, [secret(None, "s")]);
        assert_eq!((policy.audience.as_deref(), policy.issuer.as_deref()), (Some("relay"), Some("shop")));
        assert_eq!(read("[sources.a.jwt]\nsecret_file = \"key\"").unwrap().unwrap().keys, [secret(None, "in a file")]);
        let two =
            "[[sources.a.jwt.keys]]\nkid = \"1\"\nsecret = \"s\"\n[[sources.a.jwt.keys]]\nkid = \"2\"\nsecret = \"t\"";
        assert_eq!(read(two).unwrap().unwrap().keys, [secret(Some("1"), "s"), secret(Some("2"), "t")]);
    }

    #[cfg(feature = "tls")]
    #[test]
    fn a_public_key() {
        let policy = read("jwt = { public_key_file = \"pem\" }").unwrap().unwrap();
        assert_eq!(format!("{:?}", policy.keys), "[TokenKey { kid: None, verifier: EdDSA }]");
    }

    #[test]
    fn mistakes() {
        for (text, why) in [
            ("jwt = {}", "3:7: sources.a.jwt has no key: set secret, secret_file, public_key_file or keys"),
            ("jwt = { secret = \"\" }", "sources.a.jwt has no key"),
            ("jwt = \"5ecret\"", "3:8: sources.a.jwt must be a table"),
            ("jwt = { secret = \"s\", secret_file = \"key\" }", "are both set: keep one of them"),
            (
                "jwt = { secret = \"s\", public_key_file = \"pem\" }",
                "sources.a.jwt.secret and public_key_file are both set",
            ),
            ("jwt = { public_key_file = \"none\" }", "sources.a.jwt.public_key_file: cannot read \"none\""),
            (
                "jwt = { secret_file = \"pem\" }",
                "sources.a.jwt.secret is a key in PEM: a public key belongs in public_key_file",
            ),
            ("jwt = { keys = [{ secret = \"s\" }] }", "sources.a.jwt.keys.kid is missing"),
            (
                "jwt = { keys = [{ kid = \"1\" }] }",
                "sources.a.jwt.keys: a key needs secret, secret_file or public_key_file",
            ),
            (
                "jwt = { keys = [{ kid = \"1\", secret = \"s\" }, { kid = \"1\", secret = \"t\" }] }",
                "sources.a.jwt.keys.kid: \"1\" is listed twice",
            ),
            ("jwt = { secret = \"s\", keys = [{ kid = \"1\", secret = \"s\" }] }", "is beside another key"),
            ("jwt = { secrt = \"5ecret\" }", "unknown key sources.a.jwt.secrt: did you mean secret?"),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains(why) && !said.contains("5ecret"), "{text}: {said}");
        }
        #[cfg(feature = "tls")]
        assert!(read("jwt = { public_key_file = \"key\" }").unwrap_err().contains("key: no public key found"));
        let many: String = (0..17).map(|kid| format!("{{ kid = \"{kid}\", secret = \"s\" }},")).collect();
        assert!(read(&format!("jwt = {{ keys = [{many}] }}")).unwrap_err().contains("at most 16 are possible"));
    }
}
