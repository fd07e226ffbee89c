//! Logins (docs/protocol.md, Logins): the checks, and the steps after an admission.

use core::net::IpAddr;
use std::rc::Rc;

use super::Hub;
use crate::{
    clock::Now,
    config::Auth,
    history::Since,
    hooks::Kind,
    journal::Reason,
    key::{ClientKey, ConnKey, SessionKey},
    message::Form,
    names::Rooms,
    sign::{Claims, Signature, Subject},
    state::{
        Client, Grant, NamespaceId, Refusal, Refused, Session, TenantId, Wants,
        close_reason::CloseReason,
        identity::{Identity, page},
        info::protocol,
        record::RecordState,
    },
    trace::Quoted,
};

/// A login as the client sent it.
#[derive(Clone, Debug)]
pub struct Login<'a> {
    /// The name of the source.
    pub source: &'a str,
    /// Room ids, separated by commas.
    pub room_ids: &'a str,
    /// The signature. Empty if the namespace needs none.
    pub signature: Signature<'a>,
    /// A token, in place of a signature. Empty if there is none.
    pub jwt: &'a str,
    /// The user's id, at most [`MAX_NAME_LEN`] bytes.
    pub userid: &'a str,
    /// The user's display name, at most [`MAX_NAME_LEN`] bytes.
    pub username: &'a str,
    /// Any other text, at most 8192 bytes.
    pub ext_info: &'a str,
    /// Whether its rooms get a message when the session ends (docs/protocol.md, user_quit).
    pub watch_quit: bool,
    /// Whether it gets the event `presence` (docs/protocol.md, Presence).
    pub presence: bool,
    /// The form in which the client receives messages.
    pub form: Form,
    /// Since when it wants messages. `None` if it does not say so.
    pub since: Option<Since>,
    /// The `pid` of the session that it goes on with (Socket.IO). Empty if it has none.
    pub pid: &'a str,
    /// The last message that the client has, as it says (Socket.IO). Empty if it says nothing.
    pub offset: &'a str,
    /// Whether a proxy or TLS is between relay and the client.
    pub proxied: bool,
    /// The client's address. `None` for a peer of a Unix socket.
    pub ip: Option<IpAddr>,
    /// The `Referer` header.
    pub referer: &'a str,
    /// The `User-Agent` header.
    pub user_agent: &'a str,
}

/// An admitted client.
#[derive(Clone, Copy, Debug)]
pub struct Admitted {
    /// The client.
    pub client: ClientKey,
    /// Whether the decision of the backend is pending. It arrives as [`Effect::Admit`](super::Effect::Admit) or
    /// [`Effect::Refuse`](super::Effect::Refuse).
    pub pending: bool,
    /// Whether no message is missing since the position that the client has named.
    pub recovered: bool,
}

/// What a session with a login would have.
#[derive(Clone, Debug)]
pub struct Allowed {
    /// Its namespace.
    pub namespace: NamespaceId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its rooms, each once. `None` if it has none of its own choice.
    pub rooms: Option<Vec<Rc<str>>>,
}

/// A valid login.
struct Checked<'a> {
    tenant: TenantId,
    rooms: Option<Rooms<'a>>,
    userid: &'a str,
    username: &'a str,
    grant: Option<Grant>,
}

/// The valid token of a login.
struct Token {
    tenant: TenantId,
    claims: Claims,
    /// The rooms that the login names, or else those that the token names.
    room_ids: String,
}

impl Login<'_> {
    /// What the login signs.
    pub fn subject(&self) -> Subject<'_> {
        Subject::Connect { source: self.source, userid: self.userid, room_ids: self.room_ids }
    }
}

impl Hub {
    /// Admits a plain WebSocket client or a stream to a namespace, or returns the refusal.
    pub fn admit(
        &mut self,
        namespace: &str,
        login: &Login<'_>,
        query: &str,
        conn: ConnKey,
        now: Now,
    ) -> Result<Admitted, Refusal> {
        let Some(namespace) = self.state.find_namespace(namespace) else {
            self.record_refused_login(None, namespace, login, Refusal::NamespaceUnknown);
            return Err(Refusal::NamespaceUnknown);
        };
        let client = self.state.insert_client(Client { conn: Some(conn), ..Client::default() }, login.ip);
        match self.admit_session(client, namespace, login, query, "", now) {
            Ok(session) => {
                let pending = self.state.sessions.get(session).is_some_and(|session| session.pending);
                self.state.clients.get_mut(client).expect("the client was inserted above").session = Some(session);
                let recovered = !pending && self.begin_session(session);
                Ok(Admitted { client, pending, recovered })
            }
            Err(refusal) => {
                self.state.remove_client(client);
                Err(refusal)
            }
        }
    }

    /// Checks a login as [`Hub::admit`] does, except that the backend is not asked, and records a refusal. Creates nothing.
    /// Returns what the session would have.
    pub fn check_login(&mut self, namespace: &str, login: &Login<'_>, now: Now) -> Result<Allowed, Refusal> {
        let found = self.state.find_namespace(namespace).ok_or(Refusal::NamespaceUnknown);
        let checked = found.and_then(|found| {
            let token = self.read_token(found, login, now)?;
            let Checked { tenant, rooms, .. } = self.check(found, login, token.as_ref(), now)?;
            Ok(Allowed { namespace: found, tenant, rooms: rooms.as_ref().map(Rooms::names) })
        });
        if let Err(refusal) = &checked {
            self.record_refused_login(None, namespace, login, *refusal);
        }
        checked
    }

    /// Creates a session for a client in a namespace, or returns the refusal. If the backend decides about logins, the
    /// session is pending. `query` and `auth` are the client's query and auth payload, which the call to the backend
    /// includes.
    pub(crate) fn admit_session(
        &mut self,
        client: ClientKey,
        namespace: NamespaceId,
        login: &Login<'_>,
        query: &str,
        auth: &str,
        now: Now,
    ) -> Result<SessionKey, Refusal> {
        let token = self.read_token(namespace, login, now);
        let checked = match &token {
            Ok(token) => self.check(namespace, login, token.as_ref(), now),
            Err(refusal) => Err(*refusal),
        };
        let Checked { tenant, rooms, userid, username, grant } = match checked {
            Ok(checked) => checked,
            Err(refusal) => {
                let name = self.state.namespaces[namespace as usize].name.clone();
                self.record_refused_login(Some(client), &name, login, refusal);
                return Err(refusal);
            }
        };
        let agent = self.state.agents.intern(login.referer, login.user_agent);
        let session = self.state.sessions.insert(Session {
            client,
            identity: Identity::new(userid, username, login.ext_info, agent, login.ip, now.unix),
            rooms: Default::default(),
            tenant,
            namespace,
            form: login.form,
            // Its message has a name that the client may have chosen.
            wants: Wants::new(login.watch_quit && grant.as_ref().is_none_or(|grant| grant.may_post), login.presence),
            pending: false,
            record: RecordState::Absent,
        });
        if let Some(grant) = grant {
            self.state.set_grant(session, grant, now);
        }
        // Before the backend hears of the session, because a pid changes its name.
        let claim = self.claim(session, login);
        self.claims.insert(session, claim);
        if self.hooks.has_hook(&self.state, namespace, Kind::Connect) {
            self.hooks.connect(&mut self.state, session, rooms.as_ref(), query, auth);
            self.state.trace_session(session, format_args!("the backend is asked whether to admit it"));
            return Ok(session);
        }
        self.state.note_came(session);
        if let Some(rooms) = &rooms {
            self.state.join_all(session, rooms, usize::MAX);
        }
        self.complete_login(session, userid, now);
        Ok(session)
    }

    /// Completes the login of an admitted session: registers its user, counts it, queues its presence record, and
    /// writes the line to `client.log`.
    pub(crate) fn complete_login(&mut self, key: SessionKey, userid: &str, now: Now) {
        self.state.register_user(key, userid);
        self.state.stats.logins += 1;
        self.cluster.session_started(&mut self.state, key);
        if let Some(session) = self.state.sessions.get(key) {
            self.presence.count_login(session.tenant, session.identity.username(), now);
        }
        if self.state.traces.is_on() {
            self.trace_login(key);
        }
        self.record_visit("connect", key, None);
    }

    #[cold]
    fn trace_login(&mut self, key: SessionKey) {
        let Some(session) = self.state.sessions.get(key) else { return };
        let agent = session.identity.agent().clone();
        let (rooms, client) = (self.state.room_names(session).join(","), session.client);
        let transport = match session.form.is_stream() {
            true => protocol(session.form),
            false => self.state.transport_name(Some(client)),
        };
        let namespace = self.state.namespaces[session.namespace as usize].name.clone();
        let mut what = format!("logged in by {transport}: rooms {}, namespace {}", Quoted(&rooms), Quoted(&namespace));
        for (name, text) in [("page", agent.page()), ("browser", &agent.user_agent)] {
            if !text.is_empty() {
                what += &format!(", {name} {}", Quoted(text));
            }
        }
        self.state.trace_session(key, format_args!("{what}"));
    }

    /// Checks the token of a login, if it has one and the namespace admits with a signature.
    fn read_token(&self, namespace: NamespaceId, login: &Login<'_>, now: Now) -> Result<Option<Token>, Refusal> {
        if login.jwt.is_empty() || self.state.namespaces[namespace as usize].config.auth != Auth::Sign {
            return Ok(None);
        }
        check_lengths(login)?;
        if login.source.is_empty() {
            return Err(Refusal::SourceMissing);
        }
        let tenant = self.state.tenant(login.source)?;
        let claims = self.state.verify_token(tenant, login.jwt, now)?;
        let room_ids = match login.room_ids {
            "" => {
                let names: Vec<&str> =
                    claims.rooms.iter().map(String::as_str).filter(|room| !room.contains('*')).collect();
                names.join(",")
            }
            list => list.to_owned(),
        };
        Ok(Some(Token { tenant, claims, room_ids }))
    }

    /// Checks a login. The order is fixed, because clients compare the texts of refusals (docs/protocol.md, Order of
    /// checks).
    fn check<'a>(
        &self,
        namespace: NamespaceId,
        login: &Login<'a>,
        token: Option<&'a Token>,
        now: Now,
    ) -> Result<Checked<'a>, Refusal> {
        let (userid, username) = (login.userid, login.username);
        if let Some(Token { tenant, claims, room_ids }) = token {
            let rooms = self.login_rooms(room_ids)?;
            let grant = Grant::of_token(claims);
            if !rooms.iter().all(|room| grant.allows(room.as_str())) {
                return Err(Refusal::RoomNotAllowed);
            }
            let username = claims.username.as_deref().unwrap_or(username);
            let (tenant, userid) = (*tenant, claims.userid.as_str());
            return Ok(Checked { tenant, rooms: Some(rooms), userid, username, grant: Some(grant) });
        }
        check_lengths(login)?;
        let namespace = &self.state.namespaces[namespace as usize];
        if namespace.config.auth != Auth::Sign {
            let tenant = self.state.any_tenant(namespace.open_source()).ok_or(Refusal::SourceUnknown)?;
            // Without a signature, `room_ids` is used only if clients may choose their rooms. With auth = "hook" it is
            // sent to the backend, which decides.
            let uses_rooms = namespace.config.join || namespace.config.auth == Auth::Hook;
            let rooms = match uses_rooms && !login.room_ids.is_empty() {
                true => Some(self.login_rooms(login.room_ids)?),
                false => None,
            };
            return Ok(Checked { tenant, rooms, userid, username, grant: None });
        }
        if login.source.is_empty() {
            return Err(Refusal::SourceMissing);
        }
        if login.signature.hex.is_empty() {
            return Err(Refusal::ConnectSignMissing);
        }
        let rooms = self.login_rooms(login.room_ids)?;
        let tenant = self.state.tenant(login.source)?;
        let grant = self.state.verify_login(tenant, &login.subject(), &login.signature, now)?;
        Ok(Checked { tenant, rooms: Some(rooms), userid, username, grant })
    }

    /// Parses the list of rooms of a login, join or leave.
    pub(crate) fn login_rooms<'a>(&self, list: &'a str) -> Result<Rooms<'a>, Refusal> {
        let limits = &self.config().limits;
        let rooms = Rooms::parse_login(list, limits.room_id as usize, limits.rooms_per_session as usize);
        rooms.map_err(|error| Refusal::from_name(error, Refusal::RoomsMissing))
    }

    /// Counts a refused login, and writes it to `error.log` and, unless there are too many, to the log.
    #[cold]
    pub(crate) fn record_refused_login(
        &mut self,
        client: Option<ClientKey>,
        namespace: &str,
        login: &Login<'_>,
        refusal: Refusal,
    ) {
        self.state.stats.logins_refused += 1;
        let (why, reason) = (refusal.text(), refusal.reason());
        if let Ok(tenant) = self.state.tenant(login.source) {
            let why = Reason::new(|language| refusal.words(language));
            self.state.journal.note_refused_login(self.state.now.time, (tenant.0, login.userid), &why);
        }
        self.log.error("connect", &why, |line| {
            line.nonempty("source", login.source);
            line.nonempty("nsp", namespace);
            line.nonempty("room_ids", login.room_ids);
            line.nonempty("userid", login.userid);
            line.nonempty("username", login.username);
            line.nonempty("ext_info", login.ext_info);
            if let Some(ip) = login.ip {
                line.display("ip", ip);
            }
            line.nonempty("referer", login.referer);
            line.nonempty("user_agent", login.user_agent);
        });
        let source = login.source;
        let transport = match login.form.is_stream() {
            true => protocol(login.form),
            false => self.state.transport_name(client),
        };
        let refused = Refused {
            what: "login",
            source,
            is_known: self.state.tenant(source).is_ok(),
            why: &why,
            reason: reason.as_deref(),
            ip: login.ip,
            facts: &[
                ("user", login.userid),
                ("username", login.username),
                ("rooms", login.room_ids),
                ("namespace", namespace),
                ("transport", transport),
                ("page", page(login.referer)),
            ],
        };
        self.state.log_refusal(&refused);
    }

    /// Writes a line about a session to `client.log`. `end` is how many seconds it lasted, and why it has ended.
    pub(super) fn record_visit(&mut self, event: &'static str, key: SessionKey, end: Option<(u64, CloseReason)>) {
        let Some(session) = self.state.sessions.get(key).filter(|_| self.log.is_on()) else { return };
        self.log.client(event, |line| {
            line.text("source", &self.state.tenants[session.tenant.index()].name);
            self.state.info(key, session).write(line);
            if let Some((seconds, reason)) = end {
                line.display("seconds", seconds);
                line.text("reason", reason.name());
            }
        });
    }
}

/// Checks the fields of a login that may have any characters.
fn check_lengths(login: &Login<'_>) -> Result<(), Refusal> {
    let fields = [
        ("userid", login.userid, MAX_NAME_LEN),
        ("username", login.username, MAX_NAME_LEN),
        ("ext_info", login.ext_info, MAX_EXT_INFO_LEN),
    ];
    match fields.iter().find(|(_, value, max)| value.len() > *max) {
        Some((name, _, max)) => Err(Refusal::FieldTooLong(name, *max)),
        None => Ok(()),
    }
}

/// Longest `userid` and `username`, in bytes.
pub const MAX_NAME_LEN: usize = 512;

/// Longest `ext_info`, in bytes.
const MAX_EXT_INFO_LEN: usize = 8192;

/// Whether `parseInt(value) == 1` in JavaScript, which is how node-socket-im read `watch_quit`.
pub fn is_one(value: &str) -> bool {
    let value = value.trim_start();
    let value = value.strip_prefix('+').unwrap_or(value);
    let (digits, radix) = match value.strip_prefix("0x").or(value.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None => (value, 10),
    };
    let digits = digits.find(|c: char| !c.is_digit(radix)).map_or(digits, |end| &digits[..end]);
    digits.trim_start_matches('0') == "1"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_int() {
        for one in ["1", "01", "1abc", " 1", "1.9", "0x1", "+1"] {
            assert!(is_one(one), "{one}");
        }
        for other in ["", "0", "2", "11", "true", "-1", "x1", "0x", "0x11"] {
            assert!(!is_one(other), "{other}");
        }
    }
}
