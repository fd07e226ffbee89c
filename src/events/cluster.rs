//! Commands of other relays, and messages from Redis, and what they do (docs/protocol.md, Redis).

fn obey_disconnect(hub: &mut Hub, tenant: Option<TenantId>, fields: &Object<'_>, now: Now) {
    let (userid, socket_id) = (text(fields, "userid"), text(fields, "socket_id"));
    let sessions = match (userid.is_empty(), socket_id.is_empty()) {
        (false, _) => hub.state.sessions_of_user(tenant, &userid),
        (true, false) => {
            let found = hub.state.find_session(&socket_id);
            found.filter(|key| tenant.is_none() || hub.state.tenant_of(*key) == tenant).into_iter().collect()
        }
        (true, true) => Vec::new(),
    };
    for session in sessions {
        hub.expel(session, Close::OPERATOR, now);
    }
}

fn obey_emission(hub: &mut Hub, tenant: Option<TenantId>,
    node: &str,
    fields: &Object<'_>,
    now: Now,
) -> Result<(), Cow<'static, str>> {
    let (namespace, event) = (text(fields, "nsp"), text(fields, "event"));
    let names: Vec<String> =
        fields.get("names").and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let first = names.first().map_or("", String::as_str);
    let list = fields.get("args").map_or("[]", |raw| raw.get());
    if event.is_empty() || is_reserved(&event) || !list.starts_with('[') {
        return Err("an event that cannot be".into());
    }
    let (Some(namespace), Some(tenant)) = (hub.state.find_namespace(&namespace), tenant) else {
        answer_found(hub, node, fields, 0);
        return Ok(());
    };
    let (args, attachments) = match flag(fields, "binary") {
        true => wire::unpack(array_items(list), MOST_ATTACHMENTS).ok_or(STUMBLE)?,
        false => (array_items(list).to_owned(), Vec::new()),
    };
    let volatile = flag(fields, "volatile");
    let mut event = Event { attachments: &attachments, volatile, ..Event::new(&event, &args) };
    let reached = match &*text(fields, "to") {
        "rooms" => {
            let rooms: Vec<&str> = names.iter().map(String::as_str).collect();
            hub.state.emit_to_rooms((tenant.0, namespace), &rooms, None, &event)
        }
        "all" => hub.state.emit_to(&hub.state.everybody(tenant.0, namespace), &event),
        "session" => hub.emit_here(tenant, namespace, &Target::Session(first), &event),
        "user" => {
            let sessions = hub.state.user_sessions(tenant.0, namespace, first);
            if let Some(number) = number(fields, "re").filter(|_| flag(fields, "ack") && !sessions.is_empty()) {
                event.ask = hub.acks.open(Requester::Node(node.into(), number), &sessions, false, now.time);
            }
            let receivers: Vec<_> = sessions.iter().filter_map(|key| hub.state.receiver(*key)).collect();
            hub.state.emit_to(&receivers, &event)
        }
        _ => return Err("an event for nobody".into()),
    };
    answer_found(hub, node, fields, reached);
    Ok(())
}

/// Says how many sessions there were, if that was asked.
fn answer_found(hub: &mut Hub, node: &str, fields: &Object<'_>, sessions: usize) {
    let Some(number) = number(fields, "re") else { return };
    hub.tell("found", Channel::Relay(node.into()), true, |line| {
        line.shown("re", number);
        line.shown("sessions", sessions);
    });
}

fn obey_ack(hub: &mut Hub, fields: &Object<'_>) -> Result<(), Cow<'static, str>> {
    let list = fields.get("args").map(|raw| raw.get()).filter(|list| list.starts_with('[')).unwrap_or("[]");
    let (list, attachments) = match flag(fields, "binary") {
        true => wire::unpack(list, MOST_ATTACHMENTS).ok_or(STUMBLE)?,
        false => (list.to_owned(), Vec::new()),
    };
    if let Some(ask) = number(fields, "re").and_then(|number| hub.acks.answered_remotely(number)) {
        pass_ack(hub, ask.requester, &list, &attachments);
    }
    Ok(())
}
