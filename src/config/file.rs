//! The parser of `relay.toml`. It reports every problem with line, column and what is expected.

use core::{ops::RangeInclusive, time::Duration};
use std::collections::BTreeSet;

use log::LevelFilter;
use toml_span::Span;

use super::{
    address::{Address, Backend, Network},
    error::ValueError,
    file_namespaces,
    namespace::Auth,
    problem::Problem,
    reader::{ReadFile, Reader},
    redis::RedisUrl,
    secret::Secret,
    section::Section,
    settings::{ClientPosts, Config, Source},
};
use crate::{limits, names::is_file_safe, sign::Scheme};

/// Parses a configuration. `read_file` reads the files that it names: keys, tokens, the client bundle.
///
/// Fails with all problems, in the order of the file.
pub fn parse(text: &str, read_file: ReadFile<'_>) -> Result<Config, Vec<Problem>> {
    let mut reader = Reader::new(text, read_file);
    let config = read(&mut reader);
    if reader.problems.is_empty() {
        return Ok(config);
    }
    Err(reader.problems)
}

/// Reads all sections. The result is only complete if `reader` has no problem afterwards.
fn read(reader: &mut Reader<'_, '_>) -> Config {
    let mut config = Config::default();
    let mut root = match toml_span::parse(reader.text) {
        Ok(value) => Section::new(reader, String::new(), value),
        Err(error) => {
            reader.problem(error.span, error.kind.to_string());
            return config;
        }
    };
    if let Some(list) = root.list(reader, "listen", "addresses", Address::parse) {
        config.listen = list;
    }
    if let Some(list) = root.list(reader, "origins", "origins", origin) {
        config.origins = list;
    }
    if let Some(list) = root.list(reader, "trusted_proxies", "networks", Network::parse) {
        config.trusted_proxies = list;
    }
    root.seconds(reader, "sign_window", &mut config.sign_window, 1.0..=86_400.0);
    root.seconds(reader, "shutdown_timeout", &mut config.shutdown_timeout, 0.0..=3600.0);

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

    let mut section = root.section(reader, "websocket");
    section.path(reader, "path", &mut config.websocket.path);
    section.seconds(reader, "ping_interval", &mut config.websocket.ping_interval, TIMEOUT);
    section.seconds(reader, "ping_timeout", &mut config.websocket.ping_timeout, TIMEOUT);
    section.finish(reader);

    let mut section = root.section(reader, "socketio");
    section.paths(reader, "path", &mut config.socketio.paths);
    section.content(reader, "client_js", &mut config.socketio.client_js);
    section.seconds(reader, "ping_interval", &mut config.socketio.ping_interval, TIMEOUT);
    section.seconds(reader, "ping_timeout", &mut config.socketio.ping_timeout, TIMEOUT);
    section.seconds(reader, "connect_timeout", &mut config.socketio.connect_timeout, TIMEOUT);
    section.whole(reader, "max_payload", &mut config.socketio.max_payload, 128..=1_073_741_824, "bytes");
    section.finish(reader);

    let mut section = root.section(reader, "limits");
    for limit in limits::TABLE {
        let value = config.limits.by_key(limit.key).expect("the keys of the table are the fields");
        if limit.is_duration() {
            let mut duration = Duration::from_millis(*value);
            let range = limit.range.0 as f64 / 1000.0..=limit.range.1 as f64 / 1000.0;
            section.seconds(reader, limit.key, &mut duration, range);
            *value = duration.as_millis() as u64;
        } else {
            section.limit(reader, limit, value);
        }
    }
    section.finish(reader);

    let mut section = root.section(reader, "log");
    if let Some(level) = section.choice(reader, "level", &LEVELS) {
        config.log_level = level;
    }
    section.finish(reader);

    let mut section = root.section(reader, "message_log");
    section.string(reader, "dir", &mut config.message_log.dir);
    section.bound(reader, "retention_days", &mut config.message_log.retention_days, 1..=36_500, "days");
    section.bound(reader, "rotate", &mut config.message_log.rotate, 4096..=1 << 40, "bytes");
    section.finish(reader);

    let mut section = root.section(reader, "admin");
    config.admin_token = section.secret(reader, "token", "token_file").map(|(secret, _)| secret);
    section.finish(reader);

    let places = file_namespaces::read(reader, &mut root, &mut config);

    let mut section = root.section(reader, "hooks");
    if let Some(value) = section.take("url") {
        match value.as_str().filter(|text| !text.is_empty()).map(Backend::parse) {
            None if value.as_str() == Some("") => {}
            Some(Ok(url)) => config.hooks.url = Some(url),
            Some(Err(error)) => reader.problem(value.span, format!("hooks.url: {error}")),
            None => reader.wrong_value(&value, "hooks.url", "a string in quotes"),
        }
    }
    config.hooks.secret = section.secret(reader, "secret", "secret_file").map(|(secret, _)| secret);
    let event = |name: &str| match name {
        "connect" | "disconnect" | "message" => Ok(name.to_owned()),
        _ => Err(ValueError::HookEvent(name.into())),
    };
    if let Some(events) = section.list(reader, "events", "events", event) {
        config.hooks.events = events;
    }
    section.seconds(reader, "timeout", &mut config.hooks.timeout, TIMEOUT);
    if let Some(allow) = section.choice(reader, "on_failure", &[("allow", true), ("deny", false)]) {
        config.hooks.allow_on_failure = allow;
    }
    section.whole(reader, "queue", &mut config.hooks.queue, 1..=10_000_000, "calls");
    section.finish(reader);
    file_namespaces::check_all(reader, &places, &config);

    let mut section = root.section(reader, "redis");
    if let Some(value) = section.take("url") {
        match value.as_str().map(RedisUrl::parse) {
            _ if value.as_str() == Some("") => {}
            Some(Ok(url)) => config.redis.url = Some(url),
            Some(Err(error)) => reader.problem(value.span, format!("redis.url: {error}")),
            None => reader.wrong_value(&value, "redis.url", "a string in quotes"),
        }
    }
    section.string(reader, "channel", &mut config.redis.channel);
    section.string(reader, "key_prefix", &mut config.redis.key_prefix);
    section.boolean(reader, "trust_from_sys", &mut config.redis.trust_from_sys);
    if let (Some((password, span)), url) = (section.secret(reader, "password", "password_file"), &mut config.redis.url)
    {
        match url {
            Some(url) => url.password = Some(password),
            None => reader.problem(span, "redis.password needs redis.url".into()),
        }
    }
    if config.redis.channel.is_empty() {
        reader.problem(Span::default(), "redis.channel is empty: it must name the channel of the cluster".into());
    }
    config.redis.secret = section.secret(reader, "secret", "secret_file").map(|(secret, _)| secret);
    section.whole(reader, "buffer", &mut config.redis.buffer, 4096..=1 << 40, "bytes");
    section.seconds(reader, "buffer_age", &mut config.redis.buffer_age, TIMEOUT);
    section.seconds(reader, "heartbeat", &mut config.redis.heartbeat, 0.1..=3600.0);
    section.finish(reader);
    for (name, span) in &places {
        let namespace = config.namespaces.get(name).filter(|namespace| namespace.auth != Auth::Sign);
        names.extend(namespace.map(|namespace| (namespace.open_source(name).to_owned(), *span)));
    }
    check_keys(reader, &names, &config);

    root.finish(reader);
    config
}

/// Checks that no two sources share a key in Redis. `names` are the names of all sources with their places.
fn check_keys(reader: &mut Reader<'_, '_>, names: &[(String, Span)], config: &Config) {
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
    let scheme = |name: &str| Scheme::from_name(name).ok_or_else(|| ValueError::Scheme(name.into()));
    let sign = section.list(reader, "sign", "schemes", scheme).unwrap_or_else(|| Scheme::ALL.into());
    if sign.is_empty() {
        reader.problem(
            span,
            format!(
                "{}sign is empty: it must contain \"md5\" or \"hmac-sha256\", or no client could connect",
                section.prefix
            ),
        );
    }
    let mut publish_msg_verify = true;
    section.boolean(reader, "publish_msg_verify", &mut publish_msg_verify);
    let allow_replay = section.choice(reader, "replay", &[("refuse", false), ("allow", true)]).unwrap_or(false);
    let client_posts = section.choice(reader, "client_posts", &ClientPosts::NAMES).unwrap_or_default();
    let sign_key = match sign_key {
        Some((secret, span)) => {
            if secret.expose().is_empty() {
                reader.problem(span, format!("{}sign_key is empty: anyone could sign", section.prefix));
            }
            secret
        }
        None => {
            reader.problem(span, format!("{}sign_key is missing: set it or sign_key_file", section.prefix));
            Secret(String::new())
        }
    };
    section.finish(reader);
    Source { sign_key, sign, publish_msg_verify, allow_replay, client_posts }
}

/// Parses an origin (RFC 6454) or `*`.
fn origin(text: &str) -> Result<String, ValueError> {
    let host = text.split_once("://").map(|(_, host)| host);
    match host {
        _ if text == "*" => Ok(text.into()),
        Some(host) if !host.is_empty() && !host.contains('/') => Ok(text.to_ascii_lowercase()),
        _ => Err(ValueError::Origin(text.into())),
    }
}

/// Seconds of intervals and timeouts.
const TIMEOUT: RangeInclusive<f64> = 0.05..=86_400.0;
/// The names of log levels.
const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::Off),
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
    ("trace", LevelFilter::Trace),
];

#[cfg(test)]
mod tests {
    use std::{
        io::{Error, ErrorKind},
        path::Path,
    };

    use super::*;
    use crate::config::{Ack, Welcome};

    /// Parses a configuration. Every file `NAME.key` contains `in NAME.key`, and `empty.key` only a line end.
    fn config(text: &str) -> Result<Config, Vec<Problem>> {
        parse(text, &mut |path| match path.to_str() {
            Some("empty.key") => Ok("\n".into()),
            Some(name) if name.ends_with(".key") => Ok(format!("in {name}\r\n")),
            _ => Err(Error::new(ErrorKind::NotFound, "no such file")),
        })
    }

    fn problems(text: &str) -> String {
        config(text).unwrap_err().iter().map(|problem| format!("{problem}\n")).collect()
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(config("").unwrap(), Config::default());
    }

    #[test]
    fn problems_have_a_place_and_a_cure() {
        let text = "listn = [\"a:1\"]\n[limits]\nbody = \"big\"\nroom_id = 0\n[websocket]\nping_interval = -1\n";
        assert_eq!(
            problems(text),
            "1:1: unknown key listn: did you mean listen?\n\
             3:9: limits.body must be a whole number of bytes from 1024 to 1073741824, not \"big\"\n\
             4:11: limits.room_id must be a whole number of bytes from 1 to 4096, not 0\n\
             6:17: websocket.ping_interval must be a number of seconds from 0.05 to 86400, not -1\n"
        );
        assert!(problems("limits = 3").contains("1:10: limits must be a table, not 3"));
        assert!(problems("a = ").contains("1:"));
        assert!(problems("listen = [\"4000\"]").contains("expected host:port"));
        assert!(problems("listen = [4000]").contains("listen must be a list of addresses in quotes, not 4000"));
        assert!(problems("origins = [\"example.org\"]").contains("https://example.org"));
        assert!(problems("[log]\nlevel = \"loud\"").contains("one of \"off\""));
        assert!(problems("[sources.demo]").contains("sign_key is missing"));
        assert!(problems("[sources.\"a/b\"]\nsign_key = \"k\"").contains("a source's name must be"));
        assert!(problems("[sources.a]\nsign_key = \"\"").contains("anyone could sign"));
        assert!(problems("[sources.a]\nsign_key = \"k\"\nsign = [\"sha1\"]").contains("md5"));
        assert!(problems("[sources.a]\nsign_key = \"k\"\nsign = []").contains("no client could connect"));
        assert!(problems("[sources.a]\nsign_key = \"k\"\nsign_key_file = \"f\"").contains("keep one of them"));
        assert!(problems("[sources.a]\nsign_key = \"k\"\nreplay = true").contains("one of \"refuse\", \"allow\""));
        assert!(problems("[sources.a]\nsign_key = \"k\"\nclient_posts = \"all\"").contains("\"joined\", \"none\""));
        assert!(problems("[namespaces.app]").contains("must begin with /"));
        assert!(problems("[namespaces.\"/a\\n\"]").contains("no control character"));
        assert!(problems("[[namespaces.\"/a\".rules]]\nsend = \"all\"").contains("one of \"others\""));
    }

    #[test]
    fn values() {
        let config = config(
            "listen = [\"[::]:0\", \"unix:/tmp/r\"]\nsign_window = 0.5e2\n[limits]\nmessage_rate = 0\nkeep_alive = 0.5\n\
             [sources.a]\nsign_key_file = \"a.key\"\nsign = [\"hmac-sha256\"]\npublish_msg_verify = false\n\
             replay = \"allow\"\nclient_posts = \"joined\"\n\
             [namespaces.\"/custom\"]\nauth = \"open\"\nwelcome = { event = \"auth\", data = \"$auth\" }\n\
             [[namespaces.\"/custom\".rules]]\nevent = \"message\"\nsend = \"self\"\nas = \"message-back\"\nack = [1]\n",
        )
        .unwrap();
        assert_eq!(config.sign_window, Duration::from_secs(50));
        assert_eq!((config.limits.message_rate, config.limits.keep_alive), (0, 500));
        let source = &config.sources["a"];
        assert_eq!(source.sign_key, Secret("in a.key".into()));
        assert_eq!((source.sign.as_slice(), source.publish_msg_verify), (&[Scheme::HmacSha256][..], false));
        assert_eq!((source.allow_replay, source.client_posts), (true, ClientPosts::Joined));
        let custom = &config.namespaces["/custom"];
        assert_eq!(custom.welcome, Some(Welcome { event: "auth".into(), data: None }));
        assert_eq!(custom.rules[0].ack, Some(Ack::Value(serde_json::json!([1]))));
    }

    /// `etc/relay.toml` has every key, commented out, with its default, and no other key.
    #[test]
    fn the_shipped_file_has_every_key_and_default() {
        let shipped = include_str!("../../etc/relay.toml");
        assert_eq!(config(shipped).unwrap(), Config::default());
        let is_setting =
            |line: &str| line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
        let bare: String = shipped
            .lines()
            .map(|line| if is_setting(line) { &line[1..] } else { line })
            .fold(String::new(), |all, line| all + line + "\n");
        assert_eq!(config(&bare).unwrap(), Config::default());

        let mut read_file = |_: &Path| Err(ErrorKind::NotFound.into());
        let mut reader = Reader::new("", &mut read_file);
        read(&mut reader);
        let (mut section, mut named) = (String::new(), Vec::new());
        for line in bare.lines() {
            if let Some(name) = line.strip_prefix('[') {
                section = format!("{}.", name.split(']').next().unwrap());
            } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
                named.push(format!("{section}{key}"));
            }
        }
        let tables = [
            "sources",
            "websocket",
            "socketio",
            "limits",
            "log",
            "message_log",
            "admin",
            "namespaces",
            "hooks",
            "redis",
        ];
        let secrets = [
            "admin.token",
            "admin.token_file",
            "hooks.secret",
            "hooks.secret_file",
            "redis.secret",
            "redis.secret_file",
            "redis.password",
            "redis.password_file",
        ];
        let mut known: Vec<_> = reader
            .known
            .into_iter()
            .filter(|key| !tables.contains(&key.as_str()) && !secrets.contains(&key.as_str()))
            .collect();
        named.retain(|key| !secrets.contains(&key.as_str()) && !key.starts_with("namespaces."));
        known.sort();
        named.sort();
        assert_eq!(named, known);
    }

    /// The logins of `x` and the sessions of `today_x` are in one key (docs/protocol.md, Keys).
    #[test]
    fn sources_that_share_a_key_in_redis() {
        let source = |name: &str| format!("[sources.{name}]\nsign_key = \"k\"\n");
        let open = "[namespaces.\"/today_x\"]\nauth = \"open\"\n";
        let redis = "[redis]\nurl = \"redis://127.0.0.1:6379\"\nkey_prefix = \"p:\"\n";
        let text = "sources \"x\" and \"today_x\" would share the key \"p:xin_socket_connections_today_x\" in Redis, for the \
                    logins of one and the sessions of the other: rename one of them\n";
        assert_eq!(problems(&[&source("x"), &source("today_x"), redis].concat()), format!("3:10: {text}"));
        assert!(problems(&[&source("x"), open, redis].concat()).ends_with(text), "an open namespace's source");
        assert!(problems(&[&source("today_x"), &source("today_today_x"), redis].concat()).contains("today_today_x"));
        for fine in [
            [&*source("x"), &source("today_x"), ""].concat(),
            [&*source("x"), &source("today_y"), redis].concat(),
            [&*source("today_x"), redis].concat(),
            [&*source("x"), &source("today_x").replace("today_x", "x_today"), redis].concat(),
        ] {
            assert!(config(&fine).is_ok(), "{fine}");
        }
    }

    /// An empty string means that an optional setting is not set.
    #[test]
    fn empty_strings_are_not_set() {
        let text = "[sources.demo]\nsign_key = \"…\"\n[admin]\ntoken = \"\"\n[namespaces.\"/\"]\nauth = \"sign\"\n\
                    [namespaces.\"/custom\"]\nauth = \"open\"\nsource = \"demo\"\njoin = false\npairing = \"\"\n\
                    forward = [\"call_up\", \"call_in\"]\n[hooks]\nurl = \"\"\nsecret = \"\"\non_failure = \"deny\"\n";
        let config = config(text).unwrap();
        assert_eq!((config.admin_token, config.hooks.secret), (None, None));
        assert_eq!(config.namespaces["/custom"].pairing, None);
    }
}
