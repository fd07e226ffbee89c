//! From the text of `relay.toml` to a [`Config`]: every problem with its line and column and what would be right.
//!
//! Each section is read by asking for its keys; what was not asked for is unknown, and the list of what was asked for is
//! what a unit test holds against the shipped file.

use core::{fmt, time::Duration};
use std::path::Path;

use log::LevelFilter;
use serde_json::Value as Json;
use toml_span::{
    Span, Value,
    value::{Table, ValueInner},
};

use super::{Ack, Address, Auth, Backend, Config, Namespace, Network, RedisUrl, Rule, Secret, Send, Source, Welcome};
use crate::{
    limits,
    names::{self, is_reserved},
    sign::Scheme,
};

/// Something wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from one.
    pub line: usize,
    /// In characters, counted from one.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.text)
    }
}

/// How a file is read whose name a configuration gives: its content, or why not.
pub type ReadFile<'r> = &'r mut dyn FnMut(&Path) -> Result<String, String>;

/// Reads a configuration, and the files in which its keys lie; all its problems, in the file's order, if it has any.
pub fn parse(text: &str, read: ReadFile<'_>) -> Result<Config, Vec<Problem>> {
    let mut reader = Reader { text, read, problems: Vec::new(), known: Vec::new() };
    let config = reader.config();
    if reader.problems.is_empty() {
        return Ok(config);
    }
    Err(reader.problems)
}

struct Reader<'t, 'r> {
    text: &'t str,
    read: ReadFile<'r>,
    /// In the file's order.
    problems: Vec<Problem>,
    /// Every key that was asked for, as `section.key`.
    known: Vec<String>,
}

impl<'t> Reader<'t, '_> {
    fn config(&mut self) -> Config {
        let mut config = Config::default();
        let mut root = match toml_span::parse(self.text) {
            Ok(value) => Section::new(String::new(), value),
            Err(error) => {
                self.problem(error.span, error.kind.to_string());
                return config;
            }
        };
        if let Some(list) = root.list(self, "listen", "addresses", Address::parse) {
            config.listen = list;
        }
        if let Some(list) = root.list(self, "origins", "origins", origin) {
            config.origins = list;
        }
        if let Some(list) = root.list(self, "trusted_proxies", "networks", Network::parse) {
            config.trusted_proxies = list;
        }
        root.seconds(self, "sign_window", &mut config.sign_window, 1.0..=86_400.0);
        root.seconds(self, "shutdown_timeout", &mut config.shutdown_timeout, 0.0..=3600.0);

        for (name, span, section) in root.sections(self, "sources") {
            let source = self.source(section, span);
            if names::is_file_safe(&name) {
                config.sources.insert(name, source);
            } else {
                self.problem(span, format!("a source's name has 1 to 64 of A-Z a-z 0-9 . _ -, not {name:?}"));
            }
        }

        let mut section = root.section(self, "websocket");
        section.path(self, "path", &mut config.websocket.path);
        section.seconds(self, "ping_interval", &mut config.websocket.ping_interval, PING);
        section.seconds(self, "ping_timeout", &mut config.websocket.ping_timeout, PING);
        section.finish(self);

        let mut section = root.section(self, "socketio");
        section.paths(self, "path", &mut config.socketio.paths);
        section.content(self, "client_js", &mut config.socketio.client_js);
        section.seconds(self, "ping_interval", &mut config.socketio.ping_interval, PING);
        section.seconds(self, "ping_timeout", &mut config.socketio.ping_timeout, PING);
        section.seconds(self, "connect_timeout", &mut config.socketio.connect_timeout, PING);
        section.whole(self, "max_payload", &mut config.socketio.max_payload, 128..=1_073_741_824, "bytes");
        section.finish(self);

        let mut section = root.section(self, "limits");
        for limit in limits::TABLE {
            let value = config.limits.by_key(limit.key).expect("the table's keys are the fields");
            if limit.is_duration() {
                let mut duration = Duration::from_millis(*value);
                let range = limit.range.0 as f64 / 1000.0..=limit.range.1 as f64 / 1000.0;
                section.seconds(self, limit.key, &mut duration, range);
                *value = duration.as_millis() as u64;
            } else {
                section.limit(self, limit, value);
            }
        }
        section.finish(self);

        let mut section = root.section(self, "log");
        if let Some(level) = section.choice(self, "level", &LEVELS) {
            config.log_level = level;
        }
        section.finish(self);

        let mut section = root.section(self, "message_log");
        section.string(self, "dir", &mut config.message_log.dir);
        section.bound(self, "retention_days", &mut config.message_log.retention_days, 1..=36_500, "days");
        section.bound(self, "rotate", &mut config.message_log.rotate, 4096..=1 << 40, "bytes");
        section.finish(self);

        let mut section = root.section(self, "admin");
        config.admin_token = section.secret(self, "token", "token_file").map(|(secret, _)| secret);
        section.finish(self);

        let mut spans = Vec::new();
        for (name, span, section) in root.sections(self, "namespaces") {
            let namespace = self.namespace(section);
            spans.push((name.clone(), span));
            if namespace.auth != Auth::Sign {
                let source = namespace.open_source(&name);
                if !names::is_file_safe(source) {
                    let wanted = "auth without a signature needs source = \"NAME\", the source of who is let in";
                    self.problem(span, format!("namespaces.{name:?}: {wanted} (1 to 64 of A-Z a-z 0-9 . _ -)"));
                }
            }
            if name.starts_with('/') && !name.contains(',') {
                config.namespaces.insert(name, namespace);
            } else {
                self.problem(span, format!("a namespace's name begins with / and has no comma, not {name:?}"));
            }
        }

        let mut section = root.section(self, "hooks");
        if let Some(value) = section.take("url") {
            match value.as_str().filter(|text| !text.is_empty()).map(Backend::parse) {
                None if value.as_str() == Some("") => {}
                Some(Ok(url)) => config.hooks.url = Some(url),
                Some(Err(wanted)) => self.problem(value.span, format!("hooks.url: {wanted}")),
                None => self.wanted(&value, "hooks.url", "a string in quotes"),
            }
        }
        config.hooks.secret = section.secret(self, "secret", "secret_file").map(|(secret, _)| secret);
        let event = |name: &str| match name {
            "connect" | "disconnect" | "message" => Ok(name.to_owned()),
            _ => Err(format!("expected \"connect\", \"disconnect\" or \"message\", not {name:?}")),
        };
        if let Some(events) = section.list(self, "events", "events", event) {
            config.hooks.events = events;
        }
        section.seconds(self, "timeout", &mut config.hooks.timeout, PING);
        if let Some(allow) = section.choice(self, "on_failure", &[("allow", true), ("deny", false)]) {
            config.hooks.allow_on_failure = allow;
        }
        section.whole(self, "queue", &mut config.hooks.queue, 1..=10_000_000, "calls");
        section.finish(self);
        for (name, span) in spans {
            self.check_namespace(&name, span, &config);
        }

        let mut section = root.section(self, "redis");
        if let Some(value) = section.take("url") {
            match value.as_str().map(RedisUrl::parse) {
                _ if value.as_str() == Some("") => {}
                Some(Ok(url)) => config.redis.url = Some(url),
                Some(Err(wanted)) => self.problem(value.span, format!("redis.url: {wanted}")),
                None => self.wanted(&value, "redis.url", "a string in quotes"),
            }
        }
        section.string(self, "channel", &mut config.redis.channel);
        section.string(self, "key_prefix", &mut config.redis.key_prefix);
        section.boolean(self, "trust_from_sys", &mut config.redis.trust_from_sys);
        if let (Some((password, span)), url) =
            (section.secret(self, "password", "password_file"), &mut config.redis.url)
        {
            match url {
                Some(url) => url.password = Some(password),
                None => self.problem(span, "redis.password without redis.url".into()),
            }
        }
        if config.redis.channel.is_empty() {
            self.problem(Span::default(), "redis.channel is empty: siblings need one".into());
        }
        config.redis.secret = section.secret(self, "secret", "secret_file").map(|(secret, _)| secret);
        section.whole(self, "buffer", &mut config.redis.buffer, 4096..=1 << 40, "bytes");
        section.seconds(self, "buffer_age", &mut config.redis.buffer_age, PING);
        section.seconds(self, "heartbeat", &mut config.redis.heartbeat, 0.1..=3600.0);
        section.finish(self);

        root.finish(self);
        config
    }

    fn source(&mut self, mut section: Section<'t>, span: Span) -> Source {
        let sign_key = section.secret(self, "sign_key", "sign_key_file");
        let scheme = |name: &str| {
            Scheme::from_name(name).ok_or_else(|| format!("expected \"md5\" or \"hmac-sha256\", not {name:?}"))
        };
        let sign = section.list(self, "sign", "schemes", scheme).unwrap_or_else(|| Scheme::ALL.into());
        if sign.is_empty() {
            self.problem(
                span,
                format!("{}sign is empty: nobody could connect; name \"md5\" or \"hmac-sha256\"", section.prefix),
            );
        }
        let mut publish_msg_verify = true;
        section.boolean(self, "publish_msg_verify", &mut publish_msg_verify);
        let sign_key = match sign_key {
            Some((secret, span)) => {
                if secret.expose().is_empty() {
                    self.problem(span, format!("{}sign_key is empty: everybody could sign", section.prefix));
                }
                secret
            }
            None => {
                self.problem(span, format!("{}sign_key is missing (or sign_key_file)", section.prefix));
                Secret(String::new())
            }
        };
        section.finish(self);
        Source { sign_key, sign, publish_msg_verify }
    }

    fn namespace(&mut self, mut section: Section<'t>) -> Namespace {
        let mut namespace = Namespace::default();
        let auth = [("sign", Auth::Sign), ("open", Auth::Open), ("hook", Auth::Hook)];
        if let Some(auth) = section.choice(self, "auth", &auth) {
            namespace.auth = auth;
        }
        namespace.source = section.optional(self, "source");
        section.boolean(self, "join", &mut namespace.join);
        namespace.pairing = section.optional(self, "pairing");
        if let Some(forward) = section.list(self, "forward", "events", |name| Ok(name.to_owned())) {
            namespace.forward = forward;
        }
        if let Some(value) = section.take("welcome") {
            let span = value.span;
            let mut welcome = self.table(format!("{}welcome.", section.prefix), value);
            let event = welcome.optional(self, "event");
            let data = welcome.take("data").map(to_json);
            welcome.finish(self);
            match event {
                Some(event) => {
                    let data = data.filter(|data| data.as_str() != Some("$auth"));
                    namespace.welcome = Some(Welcome { event, data });
                }
                None => self.problem(span, format!("{}welcome.event is missing: the event's name", section.prefix)),
            }
        }
        for value in section.array(self, "rules", "rules, each [[….rules]]") {
            let span = value.span;
            let rule = self.table(format!("{}rules.", section.prefix), value);
            if let Some(rule) = self.rule(rule, span) {
                namespace.rules.push(rule);
            }
        }
        section.finish(self);
        namespace
    }

    fn rule(&mut self, mut section: Section<'t>, span: Span) -> Option<Rule> {
        let event = section.optional(self, "event");
        let send = section.choice(self, "send", &Send::NAMES).unwrap_or(Send::Drop);
        let to = section.optional(self, "to");
        let rename = section.optional(self, "as");
        let ack = section.take("ack").map(|value| match to_json(value) {
            Json::String(name) if name == "echo" => Ack::Echo,
            Json::String(name) if name == "peer" => Ack::Peer,
            Json::String(name) if name == "hook" => Ack::Hook,
            value => Ack::Value(value),
        });
        let mut volatile = false;
        section.boolean(self, "volatile", &mut volatile);
        let goes = !matches!(send, Send::Drop | Send::Hook);
        let wrong = [
            (to.is_some() && send != Send::User, "to: only send = \"user\" looks in another namespace"),
            (
                ack == Some(Ack::Peer) && !matches!(send, Send::User | Send::SelfOnly),
                "ack = \"peer\": only where send is \"user\" or \"self\"",
            ),
            (ack == Some(Ack::Hook) && send != Send::Hook, "ack = \"hook\": only where send is \"hook\""),
            (volatile && !goes, "volatile: this rule sends to no client"),
            (rename.is_some() && !goes, "as: this rule sends to no client"),
        ];
        for (_, why) in wrong.iter().filter(|(wrong, _)| *wrong) {
            self.problem(span, format!("{}{why}", section.prefix));
        }
        let reserved = [&event, &rename].into_iter().flatten().find(|name| is_reserved(name));
        if let Some(name) = reserved {
            self.problem(span, format!("{}{name:?} is a name that Socket.IO keeps to itself", section.prefix));
        }
        if event.is_none() {
            self.problem(span, format!("{}event is missing: an event's name, or \"*\"", section.prefix));
        }
        section.finish(self);
        event.map(|event| Rule { event, send, to, rename, ack, volatile })
    }

    /// What a namespace needs that stands elsewhere.
    fn check_namespace(&mut self, name: &str, span: Span, config: &Config) {
        let Some(namespace) = config.namespaces.get(name) else { return };
        let others = namespace.rules.iter().filter_map(|rule| rule.to.as_ref()).chain(&namespace.pairing);
        for other in others.filter(|other| !config.namespaces.contains_key(*other)) {
            self.problem(span, format!("namespaces.{name:?}: there is no [namespaces.{other:?}]"));
        }
        if namespace.uses_hooks() && config.hooks.url.is_none() {
            self.problem(span, format!("namespaces.{name:?} asks the backend: hooks.url is missing"));
        }
        let events = &config.hooks.events;
        if namespace.auth == Auth::Hook && !events.iter().any(|event| event == "connect") {
            self.problem(span, format!("namespaces.{name:?}: auth = \"hook\" needs \"connect\" among hooks.events"));
        }
        let mut own: Vec<&str> = if name == "/" { vec!["postMsg"] } else { Vec::new() };
        if name == "/" || namespace.join {
            own.extend(["join", "leave"]);
        }
        if namespace.pairing.is_some() {
            own.extend(["user_login", "check_app_status"]);
            own.extend(namespace.forward.iter().map(String::as_str));
        }
        for rule in namespace.rules.iter().filter(|rule| own.contains(&&*rule.event)) {
            let event = &rule.event;
            self.problem(span, format!("namespaces.{name:?}: {event:?} has its meaning already, a rule never sees it"));
        }
    }

    fn table(&mut self, prefix: String, value: Value<'t>) -> Section<'t> {
        if value.as_table().is_none() {
            self.wanted(&value, prefix.trim_end_matches('.'), "a table");
            return Section::new(prefix, Value::new(ValueInner::Table(Table::new())));
        }
        Section::new(prefix, value)
    }

    fn wanted(&mut self, value: &Value<'t>, key: &str, wanted: &str) {
        let found = match value.as_ref() {
            ValueInner::String(text) => format!("{text:?}"),
            ValueInner::Integer(number) => number.to_string(),
            ValueInner::Float(number) => number.to_string(),
            ValueInner::Boolean(flag) => flag.to_string(),
            ValueInner::Array(_) => "a list".into(),
            ValueInner::Table(_) => "a table".into(),
        };
        self.problem(value.span, format!("{key} must be {wanted}, not {found}"));
    }

    fn problem(&mut self, span: Span, text: String) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        let behind = self.problems.partition_point(|known| (known.line, known.column) <= (line, column));
        self.problems.insert(behind, Problem { line, column, text });
    }
}

/// A table that is being asked for its keys.
struct Section<'t> {
    /// `limits.` and so on: what to put before a key.
    prefix: String,
    table: Table<'t>,
    asked: Vec<&'static str>,
}

impl<'t> Section<'t> {
    fn new(prefix: String, mut value: Value<'t>) -> Section<'t> {
        match value.take() {
            ValueInner::Table(table) => Section { prefix, table, asked: Vec::new() },
            _ => unreachable!("callers have looked: a document is a table, and so is what `table` lets through"),
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Value<'t>> {
        self.asked.push(key);
        self.table.remove(key)
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn section(&mut self, reader: &mut Reader<'t, '_>, key: &'static str) -> Section<'t> {
        let prefix = format!("{}{key}.", self.prefix);
        match self.take(key) {
            Some(value) => reader.table(prefix, value),
            None => Section { prefix, table: Table::new(), asked: Vec::new() },
        }
    }

    /// The tables within a table, with their names and where those stand.
    fn sections(&mut self, reader: &mut Reader<'t, '_>, key: &'static str) -> Vec<(String, Span, Section<'t>)> {
        let outer = self.section(reader, key);
        let sections = outer.table.into_iter().map(|(name, value)| {
            let section = reader.table(format!("{}{}.", outer.prefix, name.name), value);
            (name.name.into_owned(), name.span, section)
        });
        sections.collect()
    }

    fn optional(&mut self, reader: &mut Reader<'t, '_>, key: &'static str) -> Option<String> {
        let mut value = String::new();
        self.string(reader, key, &mut value);
        Some(value).filter(|value| !value.is_empty())
    }

    fn string(&mut self, reader: &mut Reader<'t, '_>, key: &'static str, into: &mut String) {
        let Some(value) = self.take(key) else { return };
        match value.as_str() {
            Some(text) => *into = text.into(),
            None => reader.wanted(&value, &self.key(key), "a string in quotes"),
        }
    }

    /// One path or a list of them.
    fn paths(&mut self, reader: &mut Reader<'t, '_>, key: &'static str, into: &mut Vec<String>) {
        if self.table.get(key).is_some_and(|value| value.as_array().is_none()) {
            let mut path = into[0].clone();
            self.path(reader, key, &mut path);
            *into = vec![path];
            return;
        }
        if let Some(list) = self.list(reader, key, "paths", |path| match is_path(path) {
            true => Ok(path.to_owned()),
            false => Err(format!("expected {A_PATH}, not {path:?}")),
        }) {
            *into = list;
        }
    }

    /// The content of the file that is named, if one is.
    fn content(&mut self, reader: &mut Reader<'t, '_>, key: &'static str, into: &mut String) {
        let span = self.table.get(key).map(|value| value.span);
        let mut name = String::new();
        self.string(reader, key, &mut name);
        let Some(span) = span.filter(|_| !name.is_empty()) else { return };
        match (reader.read)(Path::new(&name)) {
            Ok(content) => *into = content,
            Err(why) => reader.problem(span, format!("{}: {name:?}: {why}", self.key(key))),
        }
    }

    fn path(&mut self, reader: &mut Reader<'t, '_>, key: &'static str, into: &mut String) {
        let Some(value) = self.take(key) else { return };
        match value.as_str() {
            Some(path) if is_path(path) => *into = path.into(),
            _ => reader.wanted(&value, &self.key(key), A_PATH),
        }
    }

    fn boolean(&mut self, reader: &mut Reader<'t, '_>, key: &'static str, into: &mut bool) {
        let Some(value) = self.take(key) else { return };
        match value.as_bool() {
            Some(flag) => *into = flag,
            None => reader.wanted(&value, &self.key(key), "true or false"),
        }
    }

    fn whole(
        &mut self,
        reader: &mut Reader<'t, '_>,
        key: &'static str,
        into: &mut u64,
        range: core::ops::RangeInclusive<u64>,
        unit: &str,
    ) {
        self.number(reader, key, into, range, unit, "");
    }

    /// Zero lifts it.
    fn bound(
        &mut self,
        reader: &mut Reader<'t, '_>,
        key: &'static str,
        into: &mut u64,
        range: core::ops::RangeInclusive<u64>,
        unit: &str,
    ) {
        self.number(reader, key, into, range, unit, ", or 0 for no limit");
    }

    fn limit(&mut self, reader: &mut Reader<'t, '_>, limit: &limits::Limit, into: &mut u64) {
        let range = limit.range.0..=limit.range.1;
        match limit.liftable {
            true => self.bound(reader, limit.key, into, range, limit.unit),
            false => self.whole(reader, limit.key, into, range, limit.unit),
        }
    }

    fn number(
        &mut self,
        reader: &mut Reader<'t, '_>,
        key: &'static str,
        into: &mut u64,
        range: core::ops::RangeInclusive<u64>,
        unit: &str,
        lifted: &str,
    ) {
        let Some(value) = self.take(key) else { return };
        match value.as_integer().and_then(|number| u64::try_from(number).ok()) {
            Some(number) if range.contains(&number) || (!lifted.is_empty() && number == 0) => *into = number,
            _ => {
                let wanted = format!("a whole number of {unit} from {} to {}{lifted}", range.start(), range.end());
                reader.wanted(&value, &self.key(key), &wanted);
            }
        }
    }

    fn seconds(
        &mut self,
        reader: &mut Reader<'t, '_>,
        key: &'static str,
        into: &mut Duration,
        range: core::ops::RangeInclusive<f64>,
    ) {
        let Some(value) = self.take(key) else { return };
        let number = value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64));
        match number {
            Some(number) if range.contains(&number) => *into = Duration::from_secs_f64(number),
            _ => {
                let wanted = format!("a number of seconds from {} to {}", range.start(), range.end());
                reader.wanted(&value, &self.key(key), &wanted);
            }
        }
    }

    fn choice<T: Copy>(&mut self, reader: &mut Reader<'t, '_>, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.take(key)?;
        let found = value.as_str().and_then(|text| choices.iter().find(|(name, _)| *name == text));
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
            reader.wanted(&value, &self.key(key), &format!("one of {}", names.join(", ")));
        }
        found.map(|(_, choice)| *choice)
    }

    fn array(&mut self, reader: &mut Reader<'t, '_>, key: &'static str, what: &str) -> Vec<Value<'t>> {
        let Some(mut value) = self.take(key) else { return Vec::new() };
        if value.as_array().is_none() {
            reader.wanted(&value, &self.key(key), &format!("a list of {what}"));
            return Vec::new();
        }
        match value.take() {
            ValueInner::Array(array) => array,
            _ => unreachable!("it was an array a line ago"),
        }
    }

    /// A list of strings, each read by `read`, whose error says what would be right.
    fn list<T>(
        &mut self,
        reader: &mut Reader<'t, '_>,
        key: &'static str,
        what: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        if !self.table.contains_key(key) {
            self.asked.push(key);
            return None;
        }
        let mut list = Vec::new();
        for value in self.array(reader, key, &format!("{what} in quotes")) {
            match value.as_str().map(&read) {
                Some(Ok(item)) => list.push(item),
                Some(Err(wanted)) => reader.problem(value.span, format!("{}: {wanted}", self.key(key))),
                None => reader.wanted(&value, &self.key(key), &format!("a list of {what} in quotes")),
            }
        }
        Some(list)
    }

    /// A secret given in place or by its file, and where it stands; an empty one in place counts as none for `token`s.
    fn secret(&mut self, reader: &mut Reader<'t, '_>, key: &'static str, file: &'static str) -> Option<(Secret, Span)> {
        let [inline, path] = [key, file].map(|name| self.table.get(name).map(|value| value.span));
        let (mut secret, mut name) = (String::new(), String::new());
        self.string(reader, key, &mut secret);
        self.string(reader, file, &mut name);
        match (inline, path) {
            (Some(span), Some(_)) => {
                reader.problem(span, format!("{} and {file} are both given: one would be right", self.key(key)));
                Some((Secret("two".into()), span))
            }
            (Some(_), None) if secret.is_empty() && key != "sign_key" => None,
            (Some(span), None) => Some((Secret(secret), span)),
            (None, Some(span)) => {
                let content = match name.as_str() {
                    "" => Err("the file's name is empty".into()),
                    name => (reader.read)(Path::new(name)).map(|content| content.trim_end().to_owned()),
                };
                let why = match content {
                    Ok(content) if !content.is_empty() => return Some((Secret(content), span)),
                    Ok(_) => "the file is empty".into(),
                    Err(why) => why,
                };
                reader.problem(span, format!("{}: {name:?}: {why}", self.key(file)));
                Some((Secret("unread".into()), span))
            }
            (None, None) => None,
        }
    }

    /// Complains about every key that nobody asked for. It takes the section so that its end is written once in the program,
    /// not behind each.
    fn finish(mut self, reader: &mut Reader<'t, '_>) {
        for (key, _) in core::mem::take(&mut self.table) {
            let near = self.asked.iter().map(|asked| (distance(asked, &key.name), asked)).min();
            let hint = match near {
                Some((distance, asked)) if distance <= 2 => format!("did you mean {asked}?"),
                _ => format!("known are {}", self.asked.join(", ")),
            };
            reader.problem(key.span, format!("unknown key {}: {hint}", self.key(&key.name)));
        }
        reader.known.extend(self.asked.iter().map(|key| self.key(key)));
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && !text.contains(['?', '#', ' '])
}

fn origin(text: &str) -> Result<String, String> {
    let host = text.split_once("://").map(|(_, host)| host);
    match host {
        _ if text == "*" => Ok(text.into()),
        Some(host) if !host.is_empty() && !host.contains('/') => Ok(text.to_ascii_lowercase()),
        _ => Err(format!("expected \"*\" or an origin like \"https://example.org\", not {text:?}")),
    }
}

fn to_json(mut value: Value<'_>) -> Json {
    match value.take() {
        ValueInner::String(text) => text.into(),
        ValueInner::Integer(number) => number.into(),
        ValueInner::Float(number) => number.into(),
        ValueInner::Boolean(flag) => flag.into(),
        ValueInner::Array(array) => array.into_iter().map(to_json).collect(),
        ValueInner::Table(table) => {
            let mut fields = serde_json::Map::new();
            fields.extend(table.into_iter().map(|(key, value)| (key.name.into_owned(), to_json(value))));
            Json::Object(fields)
        }
    }
}

/// Edits between two words (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut corner = core::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.bytes().enumerate() {
            let best = (corner + usize::from(a != b)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = core::mem::replace(&mut row[j + 1], best);
        }
    }
    row[other.len()]
}

const A_PATH: &str = "a path that begins with /, without ? or #";
/// Seconds a ping or a timeout may be set to.
const PING: core::ops::RangeInclusive<f64> = 0.05..=86_400.0;
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
    use super::*;

    /// Reads a configuration where every file named `*.key` holds its own name.
    fn read(text: &str) -> Result<Config, Vec<Problem>> {
        parse(text, &mut |path| match path.to_str() {
            Some("empty.key") => Ok("\n".into()),
            Some(name) if name.ends_with(".key") => Ok(format!("in {name}\r\n")),
            _ => Err("no such file".into()),
        })
    }

    fn problems(text: &str) -> String {
        read(text).unwrap_err().iter().map(|problem| format!("{problem}\n")).collect()
    }

    #[test]
    fn nothing_is_the_default() {
        assert_eq!(read("").unwrap(), Config::default());
    }

    #[test]
    fn line_column_and_what_would_be_right() {
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
        assert!(problems("[sources.\"a/b\"]\nsign_key = \"k\"").contains("a source's name"));
        assert!(problems("[sources.a]\nsign_key = \"\"").contains("everybody could sign"));
        assert!(problems("[sources.a]\nsign_key = \"k\"\nsign = [\"sha1\"]").contains("md5"));
        assert!(problems("[sources.a]\nsign_key = \"k\"\nsign = []").contains("nobody could connect"));
        assert!(problems("[sources.a]\nsign_key = \"k\"\nsign_key_file = \"f\"").contains("both given"));
        assert!(problems("[namespaces.app]").contains("begins with /"));
        assert!(problems("[[namespaces.\"/a\".rules]]\nsend = \"all\"").contains("one of \"others\""));
    }

    #[test]
    fn values() {
        let config = read(
            "listen = [\"[::]:0\", \"unix:/tmp/r\"]\nsign_window = 0.5e2\n[limits]\nmessage_rate = 0\nkeep_alive = 0.5\n\
             [sources.a]\nsign_key_file = \"a.key\"\nsign = [\"hmac-sha256\"]\npublish_msg_verify = false\n\
             [namespaces.\"/custom\"]\nauth = \"open\"\nwelcome = { event = \"auth\", data = \"$auth\" }\n\
             [[namespaces.\"/custom\".rules]]\nevent = \"message\"\nsend = \"self\"\nas = \"message-back\"\nack = [1]\n",
        )
        .unwrap();
        assert_eq!(config.sign_window, Duration::from_secs(50));
        assert_eq!((config.limits.message_rate, config.limits.keep_alive), (0, 500));
        let source = &config.sources["a"];
        assert_eq!(source.sign_key, Secret("in a.key".into()));
        assert_eq!((source.sign.as_slice(), source.publish_msg_verify), (&[Scheme::HmacSha256][..], false));
        let custom = &config.namespaces["/custom"];
        assert_eq!(custom.welcome, Some(Welcome { event: "auth".into(), data: None }));
        assert_eq!(custom.rules[0].ack, Some(Ack::Value(serde_json::json!([1]))));
    }

    /// The shipped file says every key at its default: with the comment signs of its keys taken away it is the default,
    /// and it names all keys there are, and no other.
    #[test]
    fn the_shipped_file_is_the_default() {
        let shipped = include_str!("../../etc/relay.toml");
        assert_eq!(read(shipped).unwrap(), Config::default());
        let is_setting =
            |line: &str| line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
        let bare: String = shipped
            .lines()
            .map(|line| if is_setting(line) { &line[1..] } else { line })
            .fold(String::new(), |all, line| all + line + "\n");
        assert_eq!(read(&bare).unwrap(), Config::default());

        let mut reader =
            Reader { text: "", read: &mut |_| Err(String::new()), problems: Vec::new(), known: Vec::new() };
        reader.config();
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

    /// The example of contract section 13 is accepted whole.
    #[test]
    fn the_contract_s_shape() {
        let text = "[sources.demo]\nsign_key = \"…\"\n[admin]\ntoken = \"\"\n[namespaces.\"/\"]\nauth = \"sign\"\n\
                    [namespaces.\"/custom\"]\nauth = \"open\"\nsource = \"demo\"\njoin = false\npairing = \"\"\n\
                    forward = [\"call_up\", \"call_in\"]\n[hooks]\nurl = \"\"\nsecret = \"\"\non_failure = \"deny\"\n";
        let config = read(text).unwrap();
        assert_eq!((config.admin_token, config.hooks.secret), (None, None));
        assert_eq!(config.namespaces["/custom"].pairing, None);
    }
}
