//! A state with sessions, for unit tests.

use std::rc::Rc;

use crate::{
    clock::Now,
    config::{Config, parse},
    key::{ClientKey, SessionKey},
    message::{Form, MessageId},
    names::Rooms,
    state::{Client, Session, State, Wants, identity::Identity, record::RecordState},
};

/// The key of the source `demo`.
pub const KEY: &str = "key";

/// A state with the source `demo`, the namespace `/`, and `/open`, whose sessions are in the source `open`.
pub fn state() -> State {
    let text = format!(
        "[sources.demo]\nsign_key = \"{KEY}\"\n[sources.demo_x]\nsign_key = \"{KEY}\"\n\
         [namespaces.\"/open\"]\nauth = \"open\"\nsource = \"open\"\n"
    );
    let config: Config =
        parse(&text, &mut |_| Err(std::io::ErrorKind::NotFound.into())).expect("a right configuration");
    let mut state = State::new(MessageId::first(1000, 7), [0; 32]);
    state.reload(Rc::new(config));
    state
}

/// Adds a session of a Socket.IO client to the namespace `/`.
pub fn session(state: &mut State, source: &str, userid: &str, rooms: &str) -> SessionKey {
    let client = state.clients.insert(Client::default());
    let agent = state.agents.intern("http://page/", "browser");
    let session = state.sessions.insert(Session {
        client,
        identity: Identity::new(userid, "li", "x", agent, "10.0.0.1".parse().ok(), 5),
        rooms: Default::default(),
        tenant: state.known_tenant(source).expect("a known source"),
        namespace: 0,
        form: Form::SocketIo4,
        wants: Wants::new(true, false),
        pending: false,
        record: RecordState::Absent,
    });
    for room in Rooms::parse(rooms, 128, 0).expect("right rooms").iter() {
        state.join(session, room);
    }
    session
}

/// Removes a session.
pub fn end(state: &mut State, key: SessionKey) {
    while state.sessions.get(key).is_some_and(|session| !session.rooms.is_empty()) {
        state.leave_slot(key, 0);
    }
    let client: Option<ClientKey> = state.sessions.remove(key).map(|session| session.client);
    client.map(|client| state.clients.remove(client));
}

/// A time, in seconds since the start, for both clocks.
pub fn at(seconds: u64) -> Now {
    Now { time: crate::clock::Time::from_micros(seconds * 1_000_000), unix: seconds, ..Now::default() }
}
