//! Publications of other relays, old servers and backends: checked, and turned into commands.

use std::borrow::Cow;

use super::{
    channel::Channel,
    command::{Command, IncomingEvent, Recipients, RefreshTarget},
    fields::{flag, number, text},
    incoming_message::decode_message,
    seal::Opened,
    shared::Context,
};
use crate::{
    json::{Object, array_items, is_too_deep},
    message::bytes::{MOST_ATTACHMENTS, unpack},
    names::is_reserved,
    state::TenantId,
};

/// Why a publication is refused.
pub type Refused = Cow<'static, str>;

/// The command in a publication; `None` if there is nothing left to do. Refused publications are counted and logged.
pub fn decode<'a>(cx: &mut Context<'_>, channel: &Channel, payload: &'a [u8]) -> Option<Command<'a>> {
    let (text, authentic) = match cx.shared.publisher.open(channel, payload, cx.state.now.unix)? {
        Opened::Own => return None,
        Opened::Foreign(text, authentic) => (text, authentic),
        Opened::NotText => {
            cx.refuse("the message is not UTF-8", "");
            return None;
        }
    };
    if is_too_deep(text) {
        cx.refuse("the message is nested more than 128 levels deep", text);
        return None;
    }
    let Ok(fields) = serde_json::from_str::<Object<'a>>(text) else {
        cx.refuse("the message is not a JSON object", text);
        return None;
    };
    cx.shared.answers += u64::from(matches!(channel, Channel::Relay(_)));
    let result = match channel {
        Channel::Messages => decode_message(cx, &fields, authentic),
        Channel::Commands | Channel::Relay(_) => decode_command(cx, &fields, authentic),
    };
    result.unwrap_or_else(|why| {
        cx.refuse(&why, text);
        None
    })
}

/// Whether a publication is received for the first time. Those that are missing before it are counted.
pub fn is_new(cx: &mut Context<'_>, fields: &Object<'_>) -> bool {
    let (node, number) = (text(fields, "node"), number(fields, "seq").unwrap_or(0));
    if node.is_empty() || node.len() > LONGEST_NODE {
        return true;
    }
    let missed = cx.shared.nodes.receive(&node, number);
    cx.state.stats.redis_missed = cx.state.stats.redis_missed.saturating_add(missed.unwrap_or(0));
    missed.is_some()
}

fn decode_command<'a>(
    cx: &mut Context<'_>,
    fields: &Object<'a>,
    authentic: bool,
) -> Result<Option<Command<'a>>, Refused> {
    let trusted = if cx.shared.publisher.signs() { authentic } else { cx.shared.trust };
    if !trusted {
        return Err("the command is not signed with redis.secret".into());
    }
    let node = text(fields, "node");
    if node.is_empty() || node.len() > LONGEST_NODE {
        return Err(format!("the command's node must have 1 to {LONGEST_NODE} bytes").into());
    }
    if !is_new(cx, fields) {
        return Ok(None);
    }
    cx.state.stats.redis_received += 1;
    let (command, source, name) = (text(fields, "do"), text(fields, "source"), text(fields, "name"));
    let tenant = cx.state.known_tenant(&source);
    // Other relays may have sources that this one has not. Only a question needs an answer even so.
    if !source.is_empty() && tenant.is_none() && !["emit", "find"].contains(&&*command) {
        return Ok(None);
    }
    match &*command {
        "hello" => {
            let missed = cx.shared.nodes.greet(&node, number(fields, "last").unwrap_or(0));
            cx.state.stats.redis_missed = cx.state.stats.redis_missed.saturating_add(missed);
        }
        "bye" => cx.shared.nodes.remove(&node),
        "refresh" => {
            let target = match (&*text(fields, "to"), tenant) {
                ("all", _) => RefreshTarget::All,
                ("source", Some(tenant)) => RefreshTarget::Source(tenant),
                ("room", Some(tenant)) => RefreshTarget::Room(tenant, name),
                ("session", _) => RefreshTarget::Session(tenant, name),
                ("prefixed", _) => RefreshTarget::Prefixed(name),
                (to, _) => return Err(format!("unknown target of refresh: {to:?}").into()),
            };
            return Ok(Some(Command::Refresh(target)));
        }
        "disconnect" => return Ok(Some(decode_disconnect(cx, tenant, fields))),
        "emit" => return decode_event(cx, tenant, node, fields),
        "find" => {
            let there = cx.state.find_namespace(&text(fields, "nsp")).zip(tenant);
            let sessions =
                there.map_or(0, |(namespace, tenant)| cx.state.user_sessions(tenant, namespace, &name).len());
            report_found(cx, &node, fields, sessions);
        }
        "found" => {
            let (number, sessions) = (number(fields, "re").unwrap_or(0), number(fields, "sessions").unwrap_or(0));
            let answer = cx.shared.users.answer(number, &node, sessions > 0);
            return Ok(answer.map(|(query, found)| Command::UserLookup { query, found }));
        }
        "ack" => return decode_ack(fields),
        // Commands of later versions are ignored.
        _ => {}
    }
    Ok(None)
}

fn decode_disconnect<'a>(cx: &Context<'_>, tenant: Option<TenantId>, fields: &Object<'_>) -> Command<'a> {
    let (userid, socket_id) = (text(fields, "userid"), text(fields, "socket_id"));
    let state = &cx.state;
    Command::Disconnect(match (userid.is_empty(), socket_id.is_empty()) {
        (false, _) => state.sessions_of_user(tenant, &userid),
        (true, false) => {
            let found = state.find_session(&socket_id);
            found.filter(|key| tenant.is_none() || state.tenant_of(*key) == tenant).into_iter().collect()
        }
        (true, true) => Vec::new(),
    })
}

fn decode_event<'a>(
    cx: &mut Context<'_>,
    tenant: Option<TenantId>,
    node: Cow<'a, str>,
    fields: &Object<'a>,
) -> Result<Option<Command<'a>>, Refused> {
    let (namespace, name) = (text(fields, "nsp"), text(fields, "event"));
    let names: Option<Vec<String>> = fields.get("names").and_then(|raw| serde_json::from_str(raw.get()).ok());
    let names = names.unwrap_or_default();
    let list = fields.get("args").map_or("[]", |raw| raw.get());
    if name.is_empty() || is_reserved(&name) {
        return Err(format!("the event's name is empty or reserved: {name:?}").into());
    }
    if !list.starts_with('[') {
        return Err("the event's args must be an array".into());
    }
    let (Some(namespace), Some(tenant)) = (cx.state.find_namespace(&namespace), tenant) else {
        report_found(cx, &node, fields, 0);
        return Ok(None);
    };
    let (args, attachments) = unpack_if(flag(fields, "binary"), array_items(list))?;
    let first = |names: Vec<String>| names.into_iter().next().unwrap_or_default();
    let recipients = match &*text(fields, "to") {
        "rooms" => Recipients::Rooms(names),
        "all" => Recipients::Namespace,
        "session" => Recipients::Session(first(names)),
        "user" => Recipients::User(first(names)),
        to => return Err(format!("unknown recipients of an event: {to:?}").into()),
    };
    Ok(Some(Command::Event(IncomingEvent {
        node,
        number: number(fields, "re"),
        ack: flag(fields, "ack"),
        tenant,
        namespace,
        recipients,
        name,
        args,
        attachments,
        volatile: flag(fields, "volatile"),
    })))
}

fn decode_ack<'a>(fields: &Object<'a>) -> Result<Option<Command<'a>>, Refused> {
    let list = fields.get("args").map(|raw| raw.get()).filter(|list| list.starts_with('[')).unwrap_or("[]");
    let (list, attachments) = unpack_if(flag(fields, "binary"), list)?;
    Ok(number(fields, "re").map(|number| Command::Ack { number, list, attachments }))
}

/// JSON and its attachments, if it is marked as having some.
pub fn unpack_if(binary: bool, json: &str) -> Result<(Cow<'_, str>, Vec<Vec<u8>>), Refused> {
    if !binary {
        return Ok((json.into(), Vec::new()));
    }
    let (json, attachments) = unpack(json, MOST_ATTACHMENTS).ok_or("a placeholder without its attachment")?;
    Ok((json.into(), attachments))
}

/// Reports how many sessions a command found, if that was asked for.
fn report_found(cx: &mut Context<'_>, node: &str, fields: &Object<'_>, sessions: usize) {
    if let Some(number) = number(fields, "re") {
        cx.shared.publisher.found(cx.state, node, number, sessions);
    }
}

/// Bytes of a relay's name.
const LONGEST_NODE: usize = 64;
