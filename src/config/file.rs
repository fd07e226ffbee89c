//! The parser of `relay.toml`. It reports every problem with line, column and what is expected.

use core::time::Duration;

use log::LevelFilter;

use super::{
    address::{Backend, Network},
    error::ValueError,
    file_certificates, file_history, file_namespaces, file_recovery, file_redis, file_sources, file_tls,
    listen_address::ListenAddress,
    namespace::Auth,
    origins::Origins,
    problem::Problem,
    reader::{ReadFile, Reader},
    section::{Section, TIMEOUT},
    settings::Config,
    syntax::explain,
};
use crate::{limits, names::is_token, text::text_without_bom};

/// Parses a configuration. `read_file` reads the files that it names: keys, tokens, the client bundle.
///
/// Fails with all problems, in the order of the file.
pub fn parse(text: &str, read_file: ReadFile<'_>) -> Result<Config, Vec<Problem>> {
    let mut reader = Reader::new(text_without_bom(text), read_file);
    let config = read(&mut reader);
    if reader.problems.is_empty() {
        return Ok(config);
    }
    let mut problems = reader.problems;
    if let Some(last) = problems.last_mut().filter(|_| reader.more > 0) {
        last.text.push_str(&format!(" (and {} more problems)", reader.more));
    }
    Err(problems)
}

/// Reads all sections. The result is only complete if `reader` has no problem afterwards.
fn read(reader: &mut Reader<'_, '_>) -> Config {
    let mut config = Config::default();
    let mut root = match toml_span::parse(reader.text) {
        Ok(value) => Section::new(reader, String::new(), value),
        Err(error) => {
            reader.problem(error.span, explain(reader.text, &error));
            return config;
        }
    };
    let listen = root.span("listen").unwrap_or_default();
    if let Some(list) = root.list(reader, "listen", "addresses", ListenAddress::parse) {
        config.listen = list;
    }
    if let Some(list) = root.list(reader, "origins", "origins", origin) {
        config.origins = Origins::default();
        // Each was parsed before, so none is refused here.
        list.iter().for_each(|origin| drop(config.origins.add(origin)));
    }
    if let Some(list) = root.list(reader, "trusted_proxies", "networks", Network::parse) {
        config.trusted_proxies = list;
    }
    root.seconds(reader, "sign_window", &mut config.sign_window, 1.0..=86_400.0);
    root.seconds(reader, "expiry_warning", &mut config.expiry_warning, 1.0..=3600.0);
    root.seconds(reader, "shutdown_timeout", &mut config.shutdown_timeout, 0.0..=3600.0);

    let mut names = file_sources::read(reader, &mut root, &mut config);

    let mut section = root.section(reader, "websocket");
    section.path(reader, "path", &mut config.websocket.path);
    if let Some(list) = section.list(reader, "protocols", "subprotocols", protocol) {
        config.websocket.protocols = list.into_iter().collect();
    }
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
    section.bound(reader, "total", &mut config.message_log.total, 1 << 20..=1 << 50, "bytes");
    section.finish(reader);

    file_history::read(reader, &mut root, &mut config);
    file_recovery::read(reader, &mut root, &mut config);

    let mut section = root.section(reader, "presence");
    section.boolean(reader, "events", &mut config.presence.events);
    section.seconds(reader, "grace", &mut config.presence.grace, 0.0..=600.0);
    section.whole(reader, "most", &mut config.presence.most, 1..=10_000, "users");
    section.finish(reader);

    let mut section = root.section(reader, "admin");
    config.admin_token = section.secret(reader, "token", "token_file").map(|(secret, _)| secret);
    if let Some(list) = section.list(reader, "listen", "addresses", ListenAddress::parse_metrics_only) {
        config.admin_listen = list;
    }
    section.finish(reader);

    let places = file_namespaces::read(reader, &mut root, &mut config);

    let mut section = root.section(reader, "hooks");
    let place = section.span("url");
    if let Some(value) = section.take("url") {
        match value.as_str().filter(|text| !text.is_empty()).map(Backend::parse) {
            None if value.as_str() == Some("") => {}
            Some(Ok(url)) => config.hooks.url = Some(url),
            Some(Err(error)) => reader.problem(value.span, format!("hooks.url: {error}")),
            None => reader.wrong_value(&value, "hooks.url", "a string in quotes"),
        }
    }
    let asked = place.filter(|_| config.hooks.url.as_ref().is_some_and(|url| url.tls));
    config.hooks.tls = file_tls::read(reader, &mut section, asked, "a hooks.url of https://");
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

    file_redis::read(reader, &mut root, &mut config);
    file_certificates::read(reader, &mut root, listen, &mut config);
    for (name, span) in &places {
        let namespace = config.namespaces.get(name).filter(|namespace| namespace.auth != Auth::Sign);
        names.extend(namespace.map(|namespace| (namespace.open_source(name).to_owned(), *span)));
    }
    file_sources::check_keys(reader, &names, &config);

    root.finish(reader);
    reader.report_unknown();
    config.has_secrets = reader.has_secrets;
    config
}

/// Checks an element of `origins`.
fn origin(text: &str) -> Result<String, ValueError> {
    let checked = Origins::default().add(text);
    checked.map(|()| text.to_owned()).map_err(|error| ValueError::Origin(error, text.into()))
}

fn protocol(text: &str) -> Result<String, ValueError> {
    match is_token(text) {
        true => Ok(text.into()),
        false => Err(ValueError::Protocol(text.into())),
    }
}

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
    use crate::config::ClientPosts;
    use crate::{
        config::{Ack, MAX_LIST, MAX_NAMESPACES, MAX_SOURCES, Secret, Welcome},
        sign::{Scheme, Schemes},
    };

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
        assert!(problems("limits = 3").contains("1:10: limits must be a table: write [limits] in a line of its own"));
        assert!(problems("a = ").contains("1:"));
        assert!(problems("listen = [\"4000\"]").contains("expected host:port"));
        assert!(problems("listen = [4000]").contains("listen must be a list of addresses in quotes, not 4000"));
        assert!(problems("origins = [\"example.org\"]").contains("https://example.org"));
        assert!(problems("[log]\nlevel = \"loud\"").contains("one of \"off\""));
        let protocols = problems("[websocket]\nprotocols = [\"a\", \"b c\"]");
        assert!(protocols.contains("2:20: websocket.protocols: expected a subprotocol's name"), "{protocols}");
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
        assert_eq!((&source.sign, source.publish_msg_verify), (&Schemes::all(&[Scheme::HmacSha256]), false));
        assert!(!config.has_secrets);
        assert_eq!((source.allow_replay, source.client_posts), (true, ClientPosts::Joined));
        let custom = &config.namespaces["/custom"];
        assert_eq!(custom.welcome, Some(Welcome { event: "auth".into(), data: None }));
        assert_eq!(custom.rules[0].ack, Some(Ack::Value(serde_json::json!([1]))));
    }

    /// Sources and namespaces have indexes of a fixed size, and lists that are searched must stay short.
    #[test]
    fn counts_are_bounded() {
        let text = |name: &str, more: &str, count: usize| {
            (0..count).fold(String::new(), |all, n| all + &format!("[{name}{n}\"]\n{more}\n"))
        };
        let sources = |count: usize| text("sources.\"s", "sign_key = \"k\"", count);
        assert_eq!(config(&sources(MAX_SOURCES)).unwrap().sources.len(), MAX_SOURCES);
        assert!(problems(&sources(66_000)).contains("464 sources more than the 65536 that are possible"));
        let namespaces = |count: usize| text("namespaces.\"/n", "auth = \"sign\"", count);
        assert_eq!(config(&namespaces(MAX_NAMESPACES - 1)).unwrap().namespaces.len(), MAX_NAMESPACES);
        assert!(problems(&namespaces(1100)).contains("77 namespaces more than the 1024 that are possible"));
        let open = format!("{}[namespaces.\"/x\"]\nauth = \"open\"\nsource = \"other\"", sources(MAX_SOURCES));
        assert!(problems(&open).contains("1 source more than the 65536 that are possible"));
        let origins = |count: usize| format!("origins = [{}]", "\"http://a.example\",".repeat(count));
        assert!(config(&origins(MAX_LIST)).is_ok());
        assert!(problems(&origins(MAX_LIST + 1)).contains("origins has 4097 elements: at most 4096 are possible"));
        let rules = "[[namespaces.\"/a\".rules]]\nevent = \"e\"\nsend = \"self\"\n".repeat(MAX_LIST + 1);
        assert!(problems(&rules).contains("namespaces./a.rules has 4097 elements"));
    }

    /// A long list of problems is cut, so that a large file is refused as fast as it is read.
    #[test]
    fn problems_are_bounded() {
        let text = "[sources.a]\n".to_owned() + &(0..60_000).fold(String::new(), |all, n| all + &format!("k{n} = 1\n"));
        let problems = config(&text).unwrap_err();
        assert_eq!(problems.len(), 100);
        let last = &problems[99].text;
        assert!(last.ends_with("(and 59901 more problems)"), "{last}");
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
            "history",
            "recovery",
            "presence",
            "admin",
            "namespaces",
            "hooks",
            "redis",
            "tls",
            "tls.certificates",
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
            "redis.sentinel_password",
            "redis.sentinel_password_file",
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
