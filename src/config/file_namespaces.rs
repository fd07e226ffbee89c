//! Section `[namespaces]` of the configuration file: namespaces and their rules.

use serde_json::Value as Json;
use toml_span::{Span, Value, value::ValueInner};

use super::{
    namespace::{Ack, Auth, Namespace, Rule, Send, Welcome},
    reader::Reader,
    section::Section,
    settings::{Config, MAX_NAMESPACES, MAX_SOURCES},
};
use crate::names::{has_control, is_file_safe, is_reserved};

/// Reads section `[namespaces]` into `config`. Returns the names of all namespaces in it and their places, for [`check_all`].
pub fn read<'t>(reader: &mut Reader<'t, '_>, root: &mut Section<'t>, config: &mut Config) -> Vec<(String, Span)> {
    let mut places = Vec::new();
    for (name, span, section) in root.sections(reader, "namespaces") {
        let is_broken = section.is_broken;
        let namespace = namespace(reader, section);
        places.push((name.clone(), span));
        if namespace.auth != Auth::Sign && !is_file_safe(namespace.open_source(&name)) {
            let expected = "auth without a signature needs source = \"NAME\", the source of the clients that it admits";
            reader.problem(span, format!("namespaces.{name:?}: {expected} (1 to 64 of A-Z a-z 0-9 . _ -)"));
        }
        if name.starts_with('/') && !name.contains(',') && !has_control(&name) {
            config.namespaces.insert(name, namespace);
        } else if !is_broken {
            let expected = "a namespace's name must begin with / and have no comma and no control character";
            reader.problem(span, format!("{expected}, not {name:?}"));
        }
    }
    for (kind, count, most) in
        [("namespace", config.namespaces.len(), MAX_NAMESPACES), ("source", config.source_names().len(), MAX_SOURCES)]
    {
        let excess = count.saturating_sub(most);
        if excess > 0 {
            let (are, s) = if excess == 1 { ("is", "") } else { ("are", "s") };
            let text = format!("there {are} {excess} {kind}{s} more than the {most} that are possible: remove some");
            reader.problem(Span::default(), text);
        }
    }
    places
}

/// Checks the namespaces against each other and against `[hooks]`, once all sections are read.
pub fn check_all(reader: &mut Reader<'_, '_>, places: &[(String, Span)], config: &Config) {
    for (name, span) in places {
        check(reader, name, *span, config);
    }
}

/// Reads a namespace from its table.
fn namespace<'t>(reader: &mut Reader<'t, '_>, mut section: Section<'t>) -> Namespace {
    let mut namespace = Namespace::default();
    let auth = [("sign", Auth::Sign), ("open", Auth::Open), ("hook", Auth::Hook)];
    if let Some(auth) = section.choice(reader, "auth", &auth) {
        namespace.auth = auth;
    }
    namespace.source = section.optional(reader, "source");
    section.boolean(reader, "join", &mut namespace.join);
    namespace.pairing = section.optional(reader, "pairing");
    if let Some(forward) = section.list(reader, "forward", "events", |name| Ok(name.to_owned())) {
        namespace.forward = forward;
    }
    if let Some(value) = section.take("welcome") {
        let span = value.span;
        let mut welcome = Section::new(reader, format!("{}welcome.", section.prefix), value);
        let event = welcome.optional(reader, "event");
        let data = welcome.take("data").map(to_json);
        welcome.finish(reader);
        match event {
            Some(event) => {
                let data = data.filter(|data| data.as_str() != Some("$auth"));
                namespace.welcome = Some(Welcome { event, data });
            }
            None => reader.problem(span, format!("{}welcome.event is missing: the name of the event", section.prefix)),
        }
    }
    for value in section.array(reader, "rules", "rules, each [[….rules]]") {
        let span = value.span;
        let rule_section = Section::new(reader, format!("{}rules.", section.prefix), value);
        namespace.rules.extend(rule(reader, rule_section, span));
    }
    section.finish(reader);
    namespace
}

/// Reads a rule. `None` if it has no event.
fn rule<'t>(reader: &mut Reader<'t, '_>, mut section: Section<'t>, span: Span) -> Option<Rule> {
    let event = section.optional(reader, "event");
    let send = section.choice(reader, "send", &Send::NAMES).unwrap_or(Send::Drop);
    let to = section.optional(reader, "to");
    let rename = section.optional(reader, "as");
    let ack = section.take("ack").map(|value| match to_json(value) {
        Json::String(name) if name == "echo" => Ack::Echo,
        Json::String(name) if name == "peer" => Ack::Peer,
        Json::String(name) if name == "hook" => Ack::Hook,
        value => Ack::Value(value),
    });
    let mut volatile = false;
    section.boolean(reader, "volatile", &mut volatile);
    let sends = !matches!(send, Send::Drop | Send::Hook);
    let wrong = [
        (to.is_some() && send != Send::User, "to needs send = \"user\""),
        (
            ack == Some(Ack::Peer) && !matches!(send, Send::User | Send::SelfOnly),
            "ack = \"peer\" needs send = \"user\" or \"self\"",
        ),
        (ack == Some(Ack::Hook) && send != Send::Hook, "ack = \"hook\" needs send = \"hook\""),
        (volatile && !sends, "volatile needs a rule that sends to clients"),
        (rename.is_some() && !sends, "as needs a rule that sends to clients"),
    ];
    for (_, why) in wrong.iter().filter(|(wrong, _)| *wrong) {
        reader.problem(span, format!("{}{why}", section.prefix));
    }
    let reserved = [&event, &rename].into_iter().flatten().find(|name| is_reserved(name));
    if let Some(name) = reserved {
        reader.problem(span, format!("{}event or as: {name:?} is reserved by Socket.IO", section.prefix));
    }
    if event.is_none() {
        reader.problem(span, format!("{}event is missing: the name of an event, or \"*\"", section.prefix));
    }
    section.finish(reader);
    event.map(|event| Rule { event, send, to, rename, ack, volatile })
}

/// Checks a namespace against the other sections.
fn check(reader: &mut Reader<'_, '_>, name: &str, span: Span, config: &Config) {
    let Some(namespace) = config.namespaces.get(name) else { return };
    let others = namespace.rules.iter().filter_map(|rule| rule.to.as_ref()).chain(&namespace.pairing);
    for other in others.filter(|other| !config.namespaces.contains_key(*other)) {
        reader.problem(span, format!("namespaces.{name:?}: there is no [namespaces.{other:?}]"));
    }
    if namespace.uses_hooks() && config.hooks.url.is_none() {
        reader.problem(span, format!("namespaces.{name:?} uses hooks, but hooks.url is missing"));
    }
    let events = &config.hooks.events;
    if namespace.auth == Auth::Hook && !events.iter().any(|event| event == "connect") {
        reader.problem(span, format!("namespaces.{name:?}: auth = \"hook\" needs \"connect\" in hooks.events"));
    }
    let mut built_in: Vec<&str> = if name == "/" { vec!["postMsg"] } else { Vec::new() };
    if name == "/" || namespace.join {
        built_in.extend(["join", "leave"]);
    }
    if namespace.pairing.is_some() {
        built_in.extend(["user_login", "check_app_status"]);
        built_in.extend(namespace.forward.iter().map(String::as_str));
    }
    for rule in namespace.rules.iter().filter(|rule| built_in.contains(&&*rule.event)) {
        let event = &rule.event;
        reader.problem(
            span,
            format!("namespaces.{name:?}: {event:?} is a built-in event here, its rule would never apply"),
        );
    }
}

/// Converts a value of TOML to JSON.
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
