//! Section `[sources]` of the configuration file.

use std::collections::BTreeSet;

use toml_span::{Span, Value, value::ValueInner};

use super::{
    error::ValueError,
    file_recovery, file_tokens,
    reader::Reader,
    secret::Secret,
    section::Section,
    settings::{ClientPosts, Config, SenderFields, Source, Texts},
};
use crate::{
    names::is_file_safe,
    sign::{Scheme, Schemes},
};

/// Reads section `[sources]` into `config`. Returns the names with their places.
pub fn read<'t>(reader: &mut Reader<'t, '_>, root: &mut Section<'t>, config: &mut Config) -> Vec<(String, Span)> {
    let mut names = Vec::new();
    for (name, span, section) in root.sections(reader, "sources") {
        let source = source(reader, section, span);
        if is_file_safe(&name) {
            names.push((name.clone(), span));
            config.sources.insert(name, source);
        } else {
            reader.problem(span, format!("a source's name must be 1 to 64 of A-Z a-z 0-9 . _ -, not {name:?}"));
        }
    }
    names
}

/// Checks that no two sources share a key in Redis. `names` are the names of all sources with their places.
pub fn check_keys(reader: &mut Reader<'_, '_>, names: &[(String, Span)], config: &Config) {
    if config.redis.url.is_none() {
        return;
    }
    let known: BTreeSet<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
    let mut reported = BTreeSet::new();
    for (name, span) in names {
        // The names of keys are those of node-socket-im (docs/protocol.md, Keys).
        let other = name.strip_prefix("today_").filter(|other| known.contains(other));
        if let Some(other) = other.filter(|_| reported.insert(name)) {
            let key = format!("{}xin_socket_connections_{name}", config.redis.key_prefix);
            let text = format!(
                "sources {other:?} and {name:?} would share the key {key:?} in Redis, for the logins of one and the \
                 sessions of the other: rename one of them"
            );
            reader.problem(*span, text);
        }
    }
}

/// Reads a source from its table; `span` is the place of its name.
fn source<'t>(reader: &mut Reader<'t, '_>, mut section: Section<'t>, span: Span) -> Source {
    let sign_key = section.secret(reader, "sign_key", "sign_key_file");
    let jwt = file_tokens::read(reader, &mut section);
    let sign = schemes(reader, &mut section, (span, jwt.is_some()));
    let mut publish_msg_verify = true;
    section.boolean(reader, "publish_msg_verify", &mut publish_msg_verify);
    let allow_replay = section.choice(reader, "replay", &[("refuse", false), ("allow", true)]).unwrap_or(false);
    let client_posts = section.choice(reader, "client_posts", &ClientPosts::NAMES).unwrap_or_default();
    let sender = sender(reader, &mut section);
    let texts = texts(reader, &mut section);
    let (unknowing, proof) = file_recovery::of_source(reader, &mut section);
    let sign_key = match sign_key {
        Some((secret, span)) => {
            if secret.expose().is_empty() {
                reader.problem(span, format!("{}sign_key is empty: anyone could sign", section.prefix));
            }
            secret
        }
        None => {
            if !section.is_broken {
                reader.problem(span, format!("{}sign_key is missing: set it or sign_key_file", section.prefix));
            }
            Secret(String::new())
        }
    };
    section.finish(reader);
    Source { sign_key, sign, publish_msg_verify, allow_replay, client_posts, sender, texts, unknowing, proof, jwt }
}

/// Reads `texts` of a source.
fn texts<'t>(reader: &mut Reader<'t, '_>, section: &mut Section<'t>) -> Texts {
    let mut texts = Texts::default();
    let mut table = section.section(reader, "texts");
    for (key, text) in [("user_quit", &mut texts.user_quit), ("not_logged_in", &mut texts.not_logged_in)] {
        let span = table.span(key);
        table.string(reader, key, text);
        if let Some(span) = span.filter(|_| text.len() > MAX_TEXT) {
            reader.problem(span, format!("{} is longer than {MAX_TEXT} bytes", table.key(key)));
        }
    }
    table.finish(reader);
    texts
}

/// Bytes of a text that pages show.
const MAX_TEXT: usize = 512;

/// Reads `sender` of a source: `true` or `false`, or a list of fields.
fn sender<'t>(reader: &mut Reader<'t, '_>, section: &mut Section<'t>) -> SenderFields {
    if section.value("sender").is_some_and(|value| value.as_bool().is_some()) {
        let mut all = false;
        section.boolean(reader, "sender", &mut all);
        return if all { SenderFields::ALL } else { SenderFields::default() };
    }
    let field = |name: &str| match name {
        "userid" => Ok(SenderFields { userid: true, ..SenderFields::default() }),
        "username" => Ok(SenderFields { username: true, ..SenderFields::default() }),
        "socket_id" => Ok(SenderFields { socket_id: true, ..SenderFields::default() }),
        _ => Err(ValueError::SenderField(name.into())),
    };
    let fields = section.list(reader, "sender", "fields", field).unwrap_or_default();
    fields.into_iter().fold(SenderFields::default(), |all, field| SenderFields {
        userid: all.userid || field.userid,
        username: all.username || field.username,
        socket_id: all.socket_id || field.socket_id,
    })
}

/// Reads `sign` of a source: a list of schemes, or a table of such lists for logins, notifications and emitted events. A source
/// with tokens needs no scheme for logins.
fn schemes<'t>(reader: &mut Reader<'t, '_>, section: &mut Section<'t>, (span, has_tokens): (Span, bool)) -> Schemes {
    fn list<'t>(
        reader: &mut Reader<'t, '_>,
        section: &mut Section<'t>,
        (key, span, who): (&'static str, Span, &str),
        default: &[Scheme],
    ) -> Vec<Scheme> {
        let scheme = |name: &str| Scheme::from_name(name).ok_or_else(|| ValueError::Scheme(name.into()));
        // A key that was mistaken for a list of schemes must not be shown.
        let may_be_secret = |value: &&Value<'_>| match value.as_ref() {
            ValueInner::Array(_) | ValueInner::Table(_) | ValueInner::Boolean(_) => false,
            ValueInner::String(text) => !Scheme::is_like_name(text),
            ValueInner::Integer(_) | ValueInner::Float(_) => true,
        };
        if let Some(span) = section.value(key).filter(may_be_secret).map(|value| value.span) {
            section.take(key);
            let name = section.key(key);
            reader.problem(span, format!("{name} must be a list of schemes in quotes; a key belongs in sign_key"));
            return default.into();
        }
        let before = reader.problems.len();
        let list = section.list(reader, key, "schemes", scheme).unwrap_or_else(|| default.into());
        if list.is_empty() && reader.problems.len() == before {
            let key = section.key(key);
            reader.problem(span, format!("{key} is empty: it must contain \"md5\" or \"hmac-sha256\", or {who}"));
        }
        list
    }
    if !section.is_table("sign") {
        return Schemes::all(&list(reader, section, ("sign", span, "no client could connect"), &Scheme::ALL));
    }
    let (mut table, apart) = (section.section(reader, "sign"), Schemes::apart());
    let schemes = Schemes {
        connect: match has_tokens && table.value("connect").is_some_and(is_empty_list) {
            true => {
                table.take("connect");
                Vec::new()
            }
            false => list(reader, &mut table, ("connect", span, "no client could connect"), &apart.connect),
        },
        notify: list(reader, &mut table, ("notify", span, "no backend could notify"), &apart.notify),
        emit: list(reader, &mut table, ("emit", span, "no backend could emit"), &apart.emit),
    };
    table.finish(reader);
    schemes
}

fn is_empty_list(value: &Value<'_>) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Problem, parse};

    fn parse_text(text: &str) -> Result<Config, Vec<Problem>> {
        parse(text, &mut |_| Ok("key".into()))
    }

    fn problems(text: &str) -> String {
        parse_text(text).unwrap_err().iter().map(|problem| format!("{problem}\n")).collect()
    }

    #[test]
    fn schemes_can_be_named_apart() {
        let sign = |text: &str| {
            let config = parse_text(&format!("[sources.a]\nsign_key = \"k\"\nsign = {text}")).unwrap();
            assert!(config.has_secrets);
            config.sources["a"].sign.clone()
        };
        let (md5, hmac) = (vec![Scheme::Md5], vec![Scheme::HmacSha256]);
        assert_eq!(sign("[\"md5\"]"), Schemes::all(&md5));
        assert_eq!(sign("{}"), Schemes::apart());
        assert_eq!(sign("{ connect = [\"md5\"] }"), Schemes { connect: md5.clone(), ..Schemes::apart() });
        let all = "{ connect = [\"md5\"], notify = [\"hmac-sha256\"], emit = [\"md5\"] }";
        assert_eq!(sign(all), Schemes { connect: md5.clone(), notify: hmac, emit: md5 });
        for (text, why) in [
            (
                "{ notify = [] }",
                "sources.a.sign.notify is empty: it must contain \"md5\" or \"hmac-sha256\", or no backend",
            ),
            ("{ notfy = [\"md5\"] }", "unknown key sources.a.sign.notfy: did you mean notify?"),
            ("{ emit = \"md5\" }", "sources.a.sign.emit must be a list of schemes in quotes"),
            ("\"md5\"", "sources.a.sign must be a list of schemes in quotes, not \"md5\": write sign = [\"md5\"]"),
            ("{ emit = [\"sha1\"] }", "sources.a.sign.emit: expected \"md5\" or \"hmac-sha256\", not \"sha1\""),
        ] {
            let problems = problems(&format!("[sources.a]\nsign_key = \"k\"\nsign = {text}"));
            assert!(problems.contains(why), "{problems}");
        }
    }

    /// A key that was written to `sign` is not shown.
    #[test]
    fn a_key_in_the_place_of_schemes() {
        for sign in ["\"5ecret\"", "[\"5ecret\"]", "[\"md5\", \"5ecret\"]", "5123456", "{ notify = \"5ecret\" }"] {
            let problems = problems(&format!("[sources.a]\nsign_key = \"k\"\nsign = {sign}"));
            assert!(problems.contains("a key belongs in sign_key") && problems.starts_with("3:"), "{problems}");
            assert!(!problems.contains("5ecret") && !problems.contains("5123456"), "{problems}");
        }
    }
}
