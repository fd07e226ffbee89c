//! Answers of the backend to hooks (docs/protocol.md, Hooks, Answer).

use super::acknowledge::answer_event;
use crate::{
    clock::Now,
    config::Auth,
    hooks::{Answer, Connecting, Emit, Failure, Finished, To, Waiting},
    hub::{Hub, login::MAX_NAME_LEN},
    journal::{More, Reason, What},
    json::array_items,
    key::{ClientKey, SessionKey},
    language::{Language, say},
    message::{Event, Target, bytes::unpack_arguments},
    names::Rooms,
    state::{Departure, Effect, Refusal, Refused, Session, identity::Identity, info::protocol},
    text::truncate,
    websocket::Close,
};

/// Handles the end of a call: an answer, or the reason for its failure.
pub fn handle_finished(hub: &mut Hub, finished: Finished, now: Now) {
    let Some(waiting) = hub.hooks.take(finished.number) else { return };
    let result = finished.result;
    let answer = match &result {
        Ok(body) => Answer::parse(body).map_err(Failure::BadAnswer),
        Err(failure) => Err(failure.clone()),
    };
    let session = match &waiting {
        Waiting::Connect(connecting) => Some(connecting.session),
        Waiting::Message { session, .. } => Some(*session),
        Waiting::Disconnect => None,
    };
    if let (Some(session), Err(failure)) = (session, &answer) {
        hub.state.note_failure(session, What::HookFailed, &Reason::new(|language| failure.words(language)));
    }
    match waiting {
        Waiting::Disconnect => {}
        Waiting::Connect(connecting) => decide(hub, *connecting, answer, now),
        Waiting::Message { session, ack } => match answer {
            Ok(answer) => {
                hub.state.trace_session(session, format_args!("the backend has answered its event"));
                if let (Some(id), Some(list)) = (&ack, answer.ack) {
                    let (args, attachments) = unpack_arguments(array_items(list));
                    hub.state.acknowledge(session, id, &format!("[{args}]"), &attachments);
                }
                apply(hub, session, &answer, now);
            }
            Err(failure) => answer_event(hub, session, ack.as_deref(), Err(failure.refusal())),
        },
    }
}

/// Admits or refuses a pending session.
fn decide(hub: &mut Hub, connecting: Connecting, answer: Result<Answer<'_>, Failure>, now: Now) {
    let Connecting { session: key, lane, rooms, auth, disconnect } = connecting;
    let allowed = match &answer {
        Ok(answer) => answer.allow && !answer.disconnect,
        Err(failure) => failure.is_outage() && hub.config().hooks.allow_on_failure,
    };
    let Some(session) = hub.state.sessions.get_mut(key) else {
        // The client is gone. If the backend admitted it, it must get a disconnect call.
        if allowed && answer.is_ok() {
            hub.hooks.disconnect_late(&mut hub.state, lane, disconnect);
        }
        return;
    };
    let client = session.client;
    if !allowed {
        let why = match &answer {
            Ok(Answer { error: Some(error), .. }) => Reason::free(error),
            Ok(_) => Reason::new(|language| Refusal::NotAllowed.words(language)),
            Err(failure) => Reason::new(|language| failure.refusal().words(language)),
        };
        return refuse(hub, client, key, &why, answer.is_err(), now);
    }
    let why =
        if answer.is_ok() { "the backend admits it" } else { "the backend fails: hooks.allow_on_failure admits it" };
    hub.state.trace_session(key, format_args!("{why}"));
    let Some(session) = hub.state.sessions.get_mut(key) else { return };
    session.pending = false;
    if let Ok(answer) = &answer
        && (answer.userid.is_some() || answer.username.is_some())
    {
        rename(session, answer);
    }
    let userid = session.identity.userid().to_owned();
    hub.check_recalled(key);
    hub.state.journal.cause = match &answer {
        Ok(_) => ADMITTED,
        Err(_) => ADMITTED_UNASKED,
    };
    hub.state.note_came(key);
    hub.state.journal.cause = Reason::default();
    // The session joins the rooms of its login if they are signed, or if clients may choose their rooms. Otherwise it
    // joins only those in the backend's answer.
    let config = &hub.state.namespaces[lane.1 as usize].config;
    let uses_rooms = config.auth == Auth::Sign || config.join;
    if let (true, Ok(list)) = (uses_rooms, Rooms::parse(&rooms.join(","), usize::MAX, 0)) {
        hub.state.join_all(key, &list, usize::MAX);
    }
    // Before the history of its rooms is sent.
    if let Ok(answer) = &answer {
        move_rooms(hub, key, answer);
    }
    hub.complete_login(key, &userid, now);
    match hub.state.sessions.get(key).map(|session| session.form) {
        Some(form) if form.is_socketio() => hub.state.confirm_connect(client, key, &auth, now),
        Some(_) => hub.state.effects.push_back(Effect::Admit { client }),
        None => {}
    }
    hub.begin_session(key);
    if let Ok(answer) = &answer {
        send_events(hub, key, answer);
    }
}

/// Refuses a pending session, and writes the refusal to `error.log`. `undecided` says that the backend has not decided.
fn refuse(hub: &mut Hub, client: ClientKey, key: SessionKey, reason: &Reason<'_>, undecided: bool, now: Now) {
    let why = reason.text(Language::English);
    let Some(session) = hub.state.sessions.get(key) else { return };
    let namespace = hub.state.namespaces[session.namespace as usize].name.clone();
    hub.state.stats.logins_refused += 1;
    hub.log.error("connect", why, |line| {
        let identity = &session.identity;
        line.text("source", &hub.state.tenants[session.tenant.index()].name);
        line.nonempty("nsp", &namespace);
        line.nonempty("userid", identity.userid());
        line.nonempty("username", identity.username());
        if let Some(ip) = identity.ip() {
            line.display("ip", ip);
        }
    });
    let (tenant, identity) = (session.tenant, &session.identity);
    let source = hub.state.tenants[session.tenant.index()].name.clone();
    let (userid, username, ip) = (identity.userid().to_owned(), identity.username().to_owned(), identity.ip());
    let transport = match session.form.is_stream() {
        true => protocol(session.form),
        false => hub.state.transport_name(Some(client)),
    };
    let refused = Refused {
        what: "login",
        source: &source,
        is_known: true,
        why,
        reason: Some("by the backend"),
        ip,
        facts: &[("user", &userid), ("username", &username), ("namespace", &namespace), ("transport", transport)],
    };
    hub.state.log_refusal(&refused);
    let reason = reason.within(|language, why| say!(language, "by the backend: {why}", "后台：{why}"));
    hub.state.journal.note_refused_login(now.time, (tenant.0, &userid), &reason);
    hub.forget_return(key);
    hub.state.remove_session(key, Departure::Goodbye);
    if !hub.state.is_socketio(client) {
        hub.state.effects.push_back(Effect::Refuse { client, why: why.into(), undecided });
        return;
    }
    hub.state.drop_session(client, key, now);
    hub.state.count_refusal(client);
    if let Some(revision) = hub.state.engine_mut(client).map(|engine| engine.revision) {
        hub.state.refuse(client, revision, &namespace, why);
    }
}

/// Applies an answer to the session that the call was about.
fn apply(hub: &mut Hub, key: SessionKey, answer: &Answer<'_>, now: Now) {
    move_rooms(hub, key, answer);
    send_events(hub, key, answer);
    if answer.disconnect {
        hub.state.write_journal(key, What::SentAway, More { reason: SENT_AWAY, ..More::default() });
        hub.expel(key, Close::OPERATOR, now);
    }
}

/// Lets a session leave and join the rooms in an answer.
fn move_rooms(hub: &mut Hub, key: SessionKey, answer: &Answer<'_>) {
    hub.state.journal.cause = BY_BACKEND;
    if let Ok(list) = Rooms::parse(&answer.leave.join(","), usize::MAX, 0) {
        hub.state.leave_all(key, &list);
    }
    let (longest, most) = (hub.config().limits.room_id as usize, hub.config().limits.rooms_per_session as usize);
    let valid = |list: &&String| Rooms::parse(list, longest, 0).is_ok();
    let join: Vec<&str> = answer.join.iter().filter(valid).map(String::as_str).collect();
    if let Ok(list) = Rooms::parse(&join.join(","), longest, 0) {
        hub.state.join_all(key, &list, most);
    }
    hub.state.journal.cause = Reason::default();
}

/// Sends the events in an answer.
fn send_events(hub: &mut Hub, key: SessionKey, answer: &Answer<'_>) {
    for emit in &answer.emit {
        apply_emit(hub, key, emit);
    }
}

fn apply_emit(hub: &mut Hub, key: SessionKey, emit: &Emit<'_>) {
    let Some(session) = hub.state.sessions.get(key) else { return };
    let current = session.namespace;
    let (args, attachments) = unpack_arguments(emit.args);
    let event = Event { attachments: &attachments, ..Event::new(&emit.event, &args) };
    let current_name = hub.state.namespaces[current as usize].name.clone();
    let name = emit.namespace.as_deref().unwrap_or(&current_name);
    let Some(namespace) = hub.state.find_namespace(name) else { return };
    let tenant = if namespace == current { Some(session.tenant) } else { hub.state.tenant_in(key, namespace) };
    let Some(tenant) = tenant else { return };
    let target = match &emit.to {
        To::ThisSession => {
            let receiver = hub.state.receiver(key);
            let reached = hub.state.emit_to(receiver.as_slice(), &event);
            return hub.state.note_event_to(key, reached > 0);
        }
        To::Room(room) => Target::Room(room),
        To::User(user) => Target::User(user),
        To::Session(name) => Target::Session(name),
        To::Namespace => Target::Namespace,
    };
    hub.emit(tenant, name, &target, &event);
}

/// Replaces the user's id and name by those of the backend.
fn rename(session: &mut Session, answer: &Answer<'_>) {
    let identity = &session.identity;
    let chosen = |new: &Option<String>, old: &str| truncate(new.as_deref().unwrap_or(old), MAX_NAME_LEN).to_owned();
    let userid = chosen(&answer.userid, identity.userid());
    let username = chosen(&answer.username, identity.username());
    let (agent, ip, since) = (identity.agent().clone(), identity.ip(), identity.since());
    session.identity = Identity::new(&userid, &username, identity.ext_info(), agent, ip, since);
}

/// Why things happen to sessions, in words for operators.
const ADMITTED: Reason<'static> = Reason::fixed("the backend has admitted it", "后台已准许");
const ADMITTED_UNASKED: Reason<'static> =
    Reason::fixed("the backend did not answer, and hooks.on_failure admits", "后台没有应答，hooks.on_failure 准许登录");
const BY_BACKEND: Reason<'static> = Reason::fixed("by the backend", "由后台");
const SENT_AWAY: Reason<'static> = Reason::fixed("the backend, in its answer to an event", "后台，在对事件的应答中");
