//! Searches for sessions, and counts of them by the generation of their clients, for operators. Each looks at a bounded number of
//! sessions, because it blocks the event loop.

use core::cmp::{Ordering, Reverse};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    rc::Rc,
};

use crate::{
    engineio::Revision,
    key::SessionKey,
    message::Form,
    state::{Session, State, TenantId, identity::Agent, info::protocol},
};

/// What an operator looks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The source.
    pub tenant: TenantId,
    /// A part of the user's id or name, of the address, page or browser, in any case; or the whole id of a session. Empty: any.
    pub text: &'a str,
    /// A room; empty: any or none.
    pub room: &'a str,
    /// The order.
    pub order: Order,
    /// How many sessions were looked at before.
    pub after: usize,
    /// How many are wanted.
    pub most: usize,
}

/// The order of what is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// None.
    Any,
    /// The last login first.
    Newest,
    /// The most unsent bytes first. Sessions without any are left out.
    Unsent,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The sessions.
    pub sessions: Vec<SessionKey>,
    /// How many sessions have been looked at, if there are more.
    pub next: Option<usize>,
}

/// Finds sessions.
pub fn find(state: &State, wanted: &Wanted<'_>) -> Found {
    let Wanted { tenant, text, room, order, after, most } = *wanted;
    if let Some(key) = state.find_session(text).filter(|key| is_of(state, *key, tenant)) {
        return Found { sessions: vec![key], next: None };
    }
    let mut matcher = Matcher::new(text);
    if order == Order::Unsent {
        return Found { sessions: slowest(state, wanted, &mut matcher), next: None };
    }
    let candidates: Box<dyn Iterator<Item = (SessionKey, &Session)>> = match room {
        "" => Box::new(state.admitted().filter(|(_, session)| session.tenant == tenant)),
        room => Box::new(
            state
                .members(tenant, room)
                .filter_map(|member| Some((member.session, state.sessions.get(member.session)?))),
        ),
    };
    let budget = if text.is_empty() { MOST_LOOKED_AT } else { MOST_SEARCHED };
    let (mut found, mut next) = (Vec::new(), None);
    for (passed, (key, session)) in candidates.enumerate().skip(after) {
        if passed >= after + budget || (order == Order::Any && found.len() >= most) {
            next = Some(passed);
            break;
        }
        if matcher.fits(state, key, session) {
            found.push((Reverse(session.identity.since()), key));
        }
    }
    if order == Order::Newest {
        found = first(found, most, Ord::cmp);
    }
    Found { sessions: found.into_iter().map(|(_, key)| key).collect(), next }
}

/// The sessions of the clients with the most unsent bytes.
fn slowest(state: &State, wanted: &Wanted<'_>, matcher: &mut Matcher) -> Vec<SessionKey> {
    let members: Option<BTreeSet<SessionKey>> = match wanted.room {
        "" => None,
        room => Some(state.members(wanted.tenant, room).map(|member| member.session).collect()),
    };
    let mut found = Vec::new();
    for (client, bytes) in state.unsent().take(MOST_LOOKED_AT) {
        for key in state.sessions_of(client) {
            let is_member = members.as_ref().is_none_or(|members| members.contains(&key));
            if is_member
                && is_of(state, key, wanted.tenant)
                && state.sessions.get(key).is_some_and(|session| matcher.fits(state, key, session))
            {
                found.push((Reverse(bytes as u64), key));
            }
        }
    }
    first(found, wanted.most, Ord::cmp).into_iter().map(|(_, key)| key).collect()
}

fn is_of(state: &State, key: SessionKey, tenant: TenantId) -> bool {
    state.tenant_of(key) == Some(tenant) && !state.is_pending(key)
}

/// The first `most` of a list in order.
fn first<T>(mut list: Vec<T>, most: usize, order: impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    if list.len() > most {
        list.select_nth_unstable_by(most, &order);
        list.truncate(most);
    }
    list.sort_unstable_by(order);
    list
}

/// Compares sessions with a text.
struct Matcher {
    text: Vec<u8>,
    /// Whether a page and browser fit: thousands of sessions share them.
    agents: HashMap<*const Agent, bool>,
}

impl Matcher {
    fn new(text: &str) -> Matcher {
        Matcher { text: text.to_ascii_lowercase().into_bytes(), agents: HashMap::new() }
    }

    fn fits(&mut self, state: &State, key: SessionKey, session: &Session) -> bool {
        let Matcher { text, agents } = self;
        if text.is_empty() {
            return true;
        }
        let (identity, has) = (&session.identity, |field: &str| contains(field, text));
        has(state.user_of(key))
            || has(identity.username())
            || identity.ip().is_some_and(|ip| has(&ip.to_string()))
            || *agents
                .entry(Rc::as_ptr(identity.agent()))
                .or_insert_with(|| has(&identity.agent().referer) || has(&identity.agent().user_agent))
    }
}

/// Whether the beginning of a field contains a text in lower case, in any case.
fn contains(field: &str, text: &[u8]) -> bool {
    let field = &field.as_bytes()[..field.len().min(MOST_COMPARED)];
    field.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text))
}

/// Clients of one kind that come from one page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation<'a> {
    /// The name of the protocol in lists.
    pub protocol: &'static str,
    /// The libraries that use it.
    pub library: &'static str,
    /// The page, without its query; empty if that is not known.
    pub page: &'a str,
    /// How many.
    pub clients: usize,
    /// How many different browsers they have.
    pub browsers: usize,
    /// The session of one of them.
    pub example: SessionKey,
}

/// Counts clients by their protocol and page, the most frequent first.
pub fn generations<'a>(state: &'a State, tenant: Option<TenantId>, most: usize) -> Vec<Generation<'a>> {
    // By the shared page and browser first: comparing texts for each session would take ten times as long.
    let mut by_agent: HashMap<(&'static str, *const Agent), (usize, &'a Agent, Form, SessionKey)> = HashMap::new();
    for (key, session) in state.admitted() {
        if tenant.is_some_and(|tenant| session.tenant != tenant) || !is_first(state, key, session) {
            continue;
        }
        let agent = session.identity.agent();
        let entry = by_agent.entry((protocol(session.form), Rc::as_ptr(agent)));
        entry.or_insert((0, agent, session.form, key)).0 += 1;
    }
    let mut by_page: HashMap<(&'static str, &str), (Generation<'a>, HashSet<&str>)> = HashMap::new();
    for ((protocol, _), (clients, agent, form, example)) in by_agent {
        let page = agent.page();
        let (found, browsers) = by_page.entry((protocol, page)).or_insert_with(|| {
            let found = Generation { protocol, library: library(form), page, clients: 0, browsers: 0, example };
            (found, HashSet::new())
        });
        found.clients += clients;
        browsers.insert(&agent.user_agent);
        found.browsers = browsers.len();
    }
    first(by_page.into_values().map(|(found, _)| found).collect(), most, |one, other| {
        let place = |found: &Generation<'_>| (Reverse(found.clients), found.protocol);
        place(one).cmp(&place(other)).then_with(|| one.page.cmp(other.page))
    })
}

/// Whether a session is the first of its client: a Socket.IO client can have one in each namespace.
fn is_first(state: &State, key: SessionKey, session: &Session) -> bool {
    let socket = state.clients.get(session.client).and_then(|client| client.socket.as_ref());
    socket.is_none_or(|socket| socket.sessions.first().is_none_or(|(_, first)| *first == key))
}

/// The libraries whose clients have a form. Requests do not tell Socket.IO 1.x from 2.x, nor 3.x from 4.x.
pub fn library(form: Form) -> &'static str {
    match form {
        Form::Json | Form::JsonTime | Form::Text => "WebSocket",
        Form::Sse | Form::SseText => "EventSource",
        Form::Lines => "HTTP",
        Form::SocketIo3 | Form::SocketIo3Base64 => "Socket.IO 1.x or 2.x",
        Form::SocketIo4 | Form::SocketIo4Offset | Form::SocketIo4Base64 => "Socket.IO 3.x or 4.x",
    }
}

/// The revision of Engine.IO of a form.
pub fn revision(form: Form) -> Option<Revision> {
    match protocol(form) {
        "engine.io 3" => Some(Revision::V3),
        "engine.io 4" => Some(Revision::V4),
        _ => None,
    }
}

/// Sessions that a request looks at if it compares no text, and if it does.
const MOST_LOOKED_AT: usize = 200_000;
const MOST_SEARCHED: usize = 5000;
/// Bytes of a field that are compared.
const MOST_COMPARED: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::{CONFIG, Login, session, state};

    fn wanted(tenant: TenantId) -> Wanted<'static> {
        Wanted { tenant, text: "", room: "", order: Order::Any, after: 0, most: 50 }
    }

    #[test]
    fn sessions_are_found_by_parts_of_their_fields_in_pieces() {
        let mut state = state(CONFIG);
        let login = |userid| Login { userid, rooms: "a", ..Login::default() };
        let mut keys = vec![session(&mut state, login("x1305"))];
        keys.extend((0..MOST_SEARCHED).map(|_| session(&mut state, login(""))));
        let last = session(&mut state, login("Ärger-1305"));
        let tenant = state.tenant("one").unwrap();
        let search = |text, after| find(&state, &Wanted { text, after, ..wanted(tenant) });
        assert_eq!(search("1305", 0), Found { sessions: vec![keys[0]], next: Some(MOST_SEARCHED) });
        assert_eq!(search("RGER-13", MOST_SEARCHED), Found { sessions: vec![last], next: None });
        let id = state.socket_id(last);
        assert_eq!(search(&id, 0), Found { sessions: vec![last], next: None });
        assert_eq!(search("nobody", MOST_SEARCHED), Found { sessions: Vec::new(), next: None });
        let some = find(&state, &Wanted { most: 2, after: 1, ..wanted(tenant) });
        assert_eq!(some, Found { sessions: vec![keys[1], keys[2]], next: Some(3) });
    }

    #[test]
    fn the_members_of_a_room_and_the_newest() {
        let mut state = state(CONFIG);
        let keys: Vec<_> =
            ["a", "b", "a,b"].map(|rooms| session(&mut state, Login { rooms, ..Login::default() })).into();
        let tenant = state.tenant("one").unwrap();
        let members = find(&state, &Wanted { room: "b", ..wanted(tenant) });
        assert_eq!(members, Found { sessions: vec![keys[1], keys[2]], next: None });
        let newest = find(&state, &Wanted { order: Order::Newest, most: 2, ..wanted(tenant) });
        assert_eq!((newest.sessions.len(), newest.next), (2, None));
        let slow = find(&state, &Wanted { order: Order::Unsent, ..wanted(tenant) });
        assert_eq!(slow, Found { sessions: Vec::new(), next: None }, "nothing is unsent");
        let found = generations(&state, Some(tenant), 10);
        assert_eq!((found.len(), found[0].clients, found[0].browsers), (1, 3, 1), "{found:?}");
    }
}
