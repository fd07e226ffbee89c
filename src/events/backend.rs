//! The backend's answers to hooks, and what they do (docs/protocol.md, Hooks).

/// What came of a call.
pub fn handle_answer(hub: &mut Hub, number: u64, result: Result<Vec<u8>, Failure>, now: Now) {
    let Some(waiting) = hub.asking.waiting.remove(&number) else { return };
    let text = result.map(|body| String::from_utf8(body).unwrap_or_default());
    let parsed = text.as_ref().map(|text| Answer::parse(text).unwrap_or_default());
    match waiting {
        Waiting::Disconnect => {}
        Waiting::Connect(connecting) => decide(hub, *connecting, parsed, now),
        Waiting::Message { session, ack } => match parsed {
            Ok(answer) => {
                if let (Some(id), Some(list)) = (&ack, answer.ack) {
                    let (args, attachments) = unpack(array_items(list));
                    hub.state.acknowledge(session, id, &format!("[{args}]"), &attachments);
                }
                obey(hub, session, &answer, now);
            }
            Err(failure) => conclude(hub, session, ack.as_deref(), Err(refusal(failure))),
        },
    }
}

/// Lets a session in that waited for it, or not.
fn decide(hub: &mut Hub, connecting: Connecting, answer: Result<Answer<'_>, &Failure>, now: Now) {
    let Connecting { session: key, lane, rooms, auth, farewell } = connecting;
    let allowed = match &answer {
        Ok(answer) => answer.allow && !answer.disconnect,
        Err(_) => hub.state.config.hooks.allow_on_failure,
    };
    let Some(session) = hub.state.sessions.get_mut(key) else {
        // It has gone in the meantime; who was told of its coming is told of its going.
        if allowed && answer.is_ok() && hub.tells(lane.1, "disconnect") {
            hub.call(lane, Kind::Disconnect, farewell, Waiting::Disconnect);
        }
        return;
    };
    let client = session.client;
    if !allowed {
        let why = match &answer {
            Ok(answer) => answer.error.as_deref().unwrap_or("not allowed!").to_owned(),
            Err(failure) => refusal(failure).text().into_owned(),
        };
        let namespace = hub.state.namespaces[lane.1 as usize].name.clone();
        forget_pending(hub, key);
        hub.state.stats.logins_refused += 1;
        hub.log.error("connect", &why, |line| line.cut("nsp", &namespace));
        return refuse_pending(hub, client, key, &namespace, &why, now);
    }
    session.pending = false;
    if let Ok(answer) = &answer
        && (answer.userid.is_some() || answer.username.is_some())
    {
        rename(session, answer);
    }
    let userid = session.identity.userid().to_owned();
    // The rooms it asked for are its own if it signed them, or if the namespace says so.
    let config = &hub.state.namespaces[lane.1 as usize].config;
    let own = config.auth == Auth::Sign || config.join;
    for room in rooms.iter().filter(|_| own) {
        if let Ok(list) = Rooms::parse(room, room.len(), 1) {
            list.iter().for_each(|room| hub.state.join(key, room));
        }
    }
    hub.let_in(key, &userid, now);
    greet(hub, client, key, &auth, now);
    if let Ok(answer) = &answer {
        obey(hub, key, answer, now);
    }
}

/// Takes a session out that nobody has seen.
fn forget_pending(hub: &mut Hub, key: SessionKey) {
    if let Some(session) = hub.state.sessions.remove(key) {
        hub.state.agents.release(session.identity.into_agent());
    }
}

/// Does what an answer says, in the name of a session.
fn obey(hub: &mut Hub, key: SessionKey, answer: &Answer<'_>, now: Now) {
    for room in &answer.leave {
        if let Ok(list) = Rooms::parse(room, room.len(), 0) {
            list.iter().for_each(|room| hub.state.leave(key, room));
        }
    }
    let limits = hub.state.config.limits.clone();
    for room in &answer.join {
        let Ok(list) = Rooms::parse(room, limits.room_id as usize, 0) else { continue };
        for room in list.iter() {
            let few = hub
                    .state.sessions
                .get(key)
                .is_some_and(|session| (session.rooms.len() as u64) < limits.rooms_per_session);
            if few {
                hub.state.join(key, room);
            }
        }
    }
    for emit in &answer.emit {
        obey_emit(hub, key, emit);
    }
    if answer.disconnect {
        hub.expel(key, Close::OPERATOR, now);
    }
}

fn obey_emit(hub: &mut Hub, key: SessionKey, emit: &Emit<'_>) {
    let Some(session) = hub.state.sessions.get(key) else { return };
    let (tenant, namespace) = (session.tenant, session.namespace);
    let (args, attachments) = unpack(emit.args);
    let event = Event { attachments: &attachments, ..Event::new(&emit.event, &args) };
    let own = hub.state.namespaces[namespace as usize].name.clone();
    let namespace = emit.nsp.as_deref().unwrap_or(&own);
    let Some(there) = hub.state.find_namespace(namespace) else { return };
    let tenant = if there == namespace { Some(tenant) } else { hub.state.tenant_there(key, there) };
    let Some(tenant) = tenant.map(super::TenantId) else { return };
    match &emit.to {
        To::Oneself => {
            let receiver = hub.state.receiver(key);
            hub.state.emit_to(receiver.as_slice(), &event);
        }
        To::Room(room) => drop(hub.emit(tenant, namespace, &Target::Room(room), &event)),
        To::User(user) => drop(hub.emit(tenant, namespace, &Target::User(user), &event)),
        To::Socket(name) => drop(hub.emit(tenant, namespace, &Target::Session(name), &event)),
        To::Namespace => drop(hub.emit(tenant, namespace, &Target::Namespace, &event)),
    }
}

/// Tells a client that it is in.
fn greet(hub: &mut Hub, client: ClientKey, key: SessionKey, auth: &str, now: Now) {
    match hub.state.sessions.get(key).map(|session| session.form) {
        Some(Form::SocketIo3 | Form::SocketIo4) => hub.state.greet_packet(client, key, auth, now),
        Some(Form::Json | Form::Text) => {
            hub.state.effects.push_back(Effect::Admit { client });
            hub.state.welcome(key, "{}");
        }
        None => {}
    }
}

/// Tells a client that it is not let in, and why.
fn refuse_pending(hub: &mut Hub, client: ClientKey, key: SessionKey, namespace: &str, why: &str, now: Now) {
    if hub.state.is_socketio(client) {
        hub.state.drop_session(client, key, now);
        hub.state.count_refusal(client);
        if let Some(revision) = hub.state.engine_mut(client).map(|engine| engine.revision) {
            hub.state.refuse(client, revision, namespace, why);
        }
    } else {
        hub.state.effects.push_back(Effect::Refuse { client, why: why.into() });
    }
}

fn refusal(failure: &Failure) -> Refusal {
    match failure {
        Failure::Busy => Refusal::BackendBusy,
        Failure::Down(_) => Refusal::BackendDown,
    }
}

/// The backend knows better who this is.
fn rename(session: &mut Session, answer: &Answer<'_>) {
    let identity = &session.identity;
    let cut = |text: &str| text[..text.floor_char_boundary(super::login::LONGEST_NAME)].to_owned();
    let userid = answer.userid.as_deref().map_or_else(|| identity.userid().to_owned(), cut);
    let username = answer.username.as_deref().map_or_else(|| identity.username().to_owned(), cut);
    let (agent, ip, since) = (identity.agent().clone(), identity.ip(), identity.since());
    let renamed = Identity::new(&userid, &username, identity.ext_info(), agent, ip, since);
    // The agent is counted by who holds it: the old identity lets go of it.
    session.identity = renamed;
}
