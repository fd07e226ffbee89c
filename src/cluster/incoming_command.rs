//! Commands of other relays.

use std::borrow::Cow;

use super::{
    command::{Command, IncomingEvent, Recipients, RefreshTarget},
    context::Context,
    fields::{flag, number, text, unpack},
    nodes::{LONGEST_NAME, is_name},
    presence::{decode_present, decode_roll},
    receipts::{decode_acked, decode_count, decode_counted},
    refused::Refused,
};
use crate::{
    json::{Object, array_items},
    names::is_reserved,
    state::TenantId,
};

/// Checks and decodes a command of another relay. `authentic` says whether it has a valid signature with
/// `redis.secret`.
pub fn decode_command<'a>(
    cx: &mut Context<'_>,
    fields: &Object<'a>,
    authentic: bool,
) -> Result<Option<Command<'a>>, Refused> {
    let trusted = if cx.shared.publisher.signs() { authentic } else { cx.shared.trust };
    if !trusted {
        return Err(Refused::Unsigned);
    }
    let node = text(fields, "node");
    if !is_name(&node) {
        return Err(Refused::Node(LONGEST_NAME));
    }
    let Some(missing) = cx.missing_before(fields) else { return Ok(None) };
    cx.state.stats.redis_received += 1;
    let (command, source, name) = (text(fields, "do"), text(fields, "source"), text(fields, "name"));
    let tenant = cx.state.known_tenant(&source);
    // Other relays may have sources that this one does not have. `emit`, `find` and `count` must be answered nevertheless,
    // because the other relay waits for the report.
    if !source.is_empty() && tenant.is_none() && !["emit", "find", "count"].contains(&&*command) {
        return Ok(None);
    }
    match &*command {
        "hello" => {
            let missed = cx.shared.nodes.greet(&node, number(fields, "last").unwrap_or(0));
            cx.count_missed(&node, missed);
        }
        "bye" => cx.shared.nodes.remove(&node),
        "refresh" => {
            let target = match (&*text(fields, "to"), tenant) {
                ("all", _) => RefreshTarget::All,
                ("source", Some(tenant)) => RefreshTarget::Source(tenant),
                ("room", Some(tenant)) => RefreshTarget::Room(tenant, name),
                ("session", _) => RefreshTarget::Session(tenant, name),
                ("prefixed", _) => RefreshTarget::Prefixed(name),
                (to, _) => return Err(Refused::RefreshTarget(to.into())),
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
        "present" | "roll" | "rollcall" => {
            // A relay that does not keep track has no use for it.
            let Some(tenant) = tenant.filter(|_| cx.state.config().presence.events) else { return Ok(None) };
            let found = match &*command {
                "present" => decode_present(cx.state, &node, tenant, fields).map(Command::Present),
                "roll" => decode_roll(cx.state, &node, tenant, fields).map(Command::Roll),
                _ => Some(Command::RollCall { node: (*node).into(), tenant }),
            };
            return found.map(Some).ok_or(Refused::Presence);
        }
        // The message came right before it. If that is missing, nobody here has got it.
        "count" if missing > 0 => {}
        "count" => {
            return decode_count(tenant, &node, fields)
                .map(|query| Some(Command::Count(query)))
                .ok_or(Refused::Receipt);
        }
        "counted" => {
            return decode_counted(&node, fields).map(|found| Some(Command::Counted(found))).ok_or(Refused::Receipt);
        }
        "acked" => {
            return decode_acked(&node, fields).map(|found| Some(Command::Acked(found))).ok_or(Refused::Receipt);
        }
        // Commands of later versions are ignored.
        _ => {}
    }
    Ok(None)
}

fn decode_disconnect<'a>(cx: &Context<'_>, tenant: Option<TenantId>, fields: &Object<'_>) -> Command<'a> {
    let (userid, socket_id) = (text(fields, "userid"), text(fields, "socket_id"));
    let state = &cx.state;
    let sessions = match (userid.is_empty(), socket_id.is_empty()) {
        (false, _) => state.sessions_of_user(tenant, &userid),
        (true, false) => {
            let found = state.find_session(&socket_id);
            found.filter(|key| tenant.is_none() || state.tenant_of(*key) == tenant).into_iter().collect()
        }
        (true, true) => Vec::new(),
    };
    Command::Disconnect { sessions, tenant, userid: (*userid).into(), socket_id: (*socket_id).into() }
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
        return Err(Refused::EventName(name.into_owned()));
    }
    if !list.starts_with('[') {
        return Err(Refused::Args);
    }
    let (Some(namespace), Some(tenant)) = (cx.state.find_namespace(&namespace), tenant) else {
        report_found(cx, &node, fields, 0);
        return Ok(None);
    };
    let (args, attachments) = unpack(flag(fields, "binary"), array_items(list))?;
    let first = |names: Vec<String>| names.into_iter().next().unwrap_or_default();
    let recipients = match &*text(fields, "to") {
        "rooms" => Recipients::Rooms(names),
        "all" => Recipients::Namespace,
        "session" => Recipients::Session(first(names)),
        "user" => Recipients::User(first(names)),
        to => return Err(Refused::Recipients(to.into())),
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
        by_backend: flag(fields, "backend"),
    })))
}

fn decode_ack<'a>(fields: &Object<'a>) -> Result<Option<Command<'a>>, Refused> {
    let list = fields.get("args").map(|raw| raw.get()).filter(|list| list.starts_with('[')).unwrap_or("[]");
    let (list, attachments) = unpack(flag(fields, "binary"), list)?;
    Ok(number(fields, "re").map(|number| Command::Ack { number, list, attachments }))
}

/// Reports how many sessions a command found, if the other relay wants a report.
fn report_found(cx: &mut Context<'_>, node: &str, fields: &Object<'_>, sessions: usize) {
    if let Some(number) = number(fields, "re") {
        cx.shared.publisher.found(cx.state, node, number, sessions);
    }
}
