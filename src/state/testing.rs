//! A state with sessions, for the unit tests of this and higher floors.

use std::rc::Rc;

use super::{client::Client, identity::Identity, record::RecordState, registry::State, session::Session, wants::Wants};
use crate::{
    config::{Config, parse},
    key::SessionKey,
    message::{Form, MessageId},
    names::Rooms,
};

/// The configuration in `text`.
pub fn config(text: &str) -> Rc<Config> {
    Rc::new(parse(text, &mut |_| Err(std::io::ErrorKind::NotFound.into())).expect("a valid configuration"))
}

/// Two sources, the open namespace `/chat` of the first, and the namespace `/users` with a user index.
pub const CONFIG: &str = r#"
[sources.one]
sign_key = "key"
[sources.two]
sign_key = "key"
[namespaces."/chat"]
auth = "open"
source = "one"
[namespaces."/users"]
rules = [{ event = "call", send = "user" }]
"#;

/// A state with the configuration in `text`.
pub fn state(text: &str) -> State {
    let mut state = State::new(MessageId::first(1000, 7), [0; 32]);
    state.reload(config(text));
    state
}

/// The properties of a session that [`session`] adds.
pub struct Login<'a> {
    /// The name of the source.
    pub source: &'a str,
    /// The name of the namespace.
    pub namespace: &'a str,
    /// The id of the user.
    pub userid: &'a str,
    /// Room ids, separated by commas.
    pub rooms: &'a str,
    /// The form in which it receives messages.
    pub form: Form,
    /// What it asks for.
    pub wants: Wants,
}

impl Default for Login<'_> {
    fn default() -> Self {
        Login { source: "one", namespace: "/", userid: "7", rooms: "", form: Form::Json, wants: Wants::default() }
    }
}

/// Adds a client with one session.
pub fn session(state: &mut State, login: Login<'_>) -> SessionKey {
    let client = state.clients.insert(Client::default());
    let agent = state.agents.intern("", "");
    let session = state.sessions.insert(Session {
        client,
        identity: Identity::new(login.userid, "", "", agent, None, 5),
        rooms: Default::default(),
        tenant: state.known_tenant(login.source).expect("a known source"),
        namespace: state.find_namespace(login.namespace).expect("a configured namespace"),
        form: login.form,
        wants: login.wants,
        pending: false,
        record: RecordState::Absent,
    });
    state.clients.get_mut(client).expect("the client was inserted above").session = Some(session);
    state.register_user(session, login.userid);
    join(state, session, login.rooms);
    session
}

/// Adds a session to rooms that are separated by commas.
pub fn join(state: &mut State, session: SessionKey, rooms: &str) {
    if !rooms.is_empty() {
        Rooms::parse(rooms, 128, 0).expect("valid rooms").iter().for_each(|room| state.join(session, room));
    }
}

/// Takes the bytes that are queued for the client of a session.
pub fn queued(state: &mut State, session: SessionKey) -> Vec<u8> {
    let client = state.sessions.get(session).expect("the session exists").client;
    let mut bytes = Vec::new();
    let outbox = &mut state.clients.get_mut(client).expect("the client exists").outbox;
    outbox.write_to(&mut bytes, &state.turn, &mut state.scratch).expect("memory accepts all bytes");
    bytes
}

/// Takes the payloads of the frames that are queued for the client of a session.
pub fn received(state: &mut State, session: SessionKey) -> Vec<String> {
    let bytes = queued(state, session);
    let (mut frames, mut rest) = (Vec::new(), &bytes[..]);
    while let [_, length, after @ ..] = rest {
        let (length, after) = match length {
            126 => (u16::from_be_bytes([after[0], after[1]]).into(), &after[2..]),
            short => (usize::from(*short), after),
        };
        frames.push(String::from_utf8_lossy(&after[..length]).into_owned());
        rest = &after[length..];
    }
    frames
}
