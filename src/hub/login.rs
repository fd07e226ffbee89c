//! Logins (docs/protocol.md, Logins): the checks, and what a session that is admitted brings about.

use core::net::IpAddr;

use super::Hub;
use crate::{
    clock::Now,
    config::Auth,
    hooks::Kind,
    key::{ClientKey, ConnKey, SessionKey},
    message::Form,
    names::Rooms,
    sign::{Signature, Subject},
    state::{Client, NamespaceId, Refusal, Session, TenantId, identity::Identity, record::RecordState},
};

/// A request to be let in, as it came.
#[derive(Clone, Debug)]
pub struct Login<'a> {
    /// The tenant.
    pub source: &'a str,
    /// Comma separated.
    pub room_ids: &'a str,
    /// The proof.
    pub signature: Signature<'a>,
    /// What the page says about its user.
    pub userid: &'a str,
    /// Likewise.
    pub username: &'a str,
    /// Likewise.
    pub ext_info: &'a str,
    /// Whether its rooms want to know when it leaves.
    pub watch_quit: bool,
    /// How it wants its messages.
    pub form: Form,
    /// The peer's address; none for a peer of a Unix socket.
    pub ip: Option<IpAddr>,
    /// The page.
    pub referer: &'a str,
    /// The browser.
    pub user_agent: &'a str,
}

impl Hub {
    /// Lets a plain WebSocket client into a namespace, or says why not; and whether it has to wait until the backend says
    /// so, with [`super::Effect::Admit`] or [`super::Effect::Refuse`].
    pub fn admit(
        &mut self,
        namespace: &str,
        login: &Login<'_>,
        query: &str,
        conn: ConnKey,
        now: Now,
    ) -> Result<(ClientKey, bool), Refusal> {
        let Some(namespace) = self.state.find_namespace(namespace) else {
            self.refused_login(namespace, login, &Refusal::NamespaceUnknown.text());
            return Err(Refusal::NamespaceUnknown);
        };
        let client = self.state.clients.insert(Client { conn: Some(conn), ..Client::default() });
        match self.admit_session(client, namespace, login, query, "", now) {
            Ok(session) => {
                let pending = self.state.sessions.get(session).is_some_and(|session| session.pending);
                if !pending {
                    self.state.welcome(session, "{}");
                }
                self.state.clients.get_mut(client).expect("it was put there a moment ago").session = Some(session);
                Ok((client, pending))
            }
            Err(refusal) => {
                self.state.clients.remove(client);
                Err(refusal)
            }
        }
    }

    /// Creates a session for a client in a namespace, or returns why it is refused. The session is pending if the backend has
    /// to be asked.
    pub(crate) fn admit_session(
        &mut self,
        client: ClientKey,
        namespace: NamespaceId,
        login: &Login<'_>,
        query: &str,
        auth: &str,
        now: Now,
    ) -> Result<SessionKey, Refusal> {
        let (tenant, rooms) = match self.check(namespace, login, now) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                self.refused_login(&self.state.namespaces[namespace as usize].name.clone(), login, &refusal.text());
                return Err(refusal);
            }
        };
        let agent = self.state.agents.intern(login.referer, login.user_agent);
        let session = self.state.sessions.insert(Session {
            client,
            identity: Identity::new(login.userid, login.username, login.ext_info, agent, login.ip, now.unix),
            rooms: Default::default(),
            tenant,
            namespace,
            form: login.form,
            watch_quit: login.watch_quit,
            pending: false,
            record: RecordState::Absent,
        });
        if self.hooks.asks(&self.state, namespace, Kind::Connect) {
            self.hooks.connect(&mut self.state, session, rooms.as_ref(), query, auth);
            return Ok(session);
        }
        for room in rooms.iter().flat_map(Rooms::iter) {
            self.state.join(session, room);
        }
        self.complete_login(session, login.userid, now);
        Ok(session)
    }

    /// Counts and announces a session that has been admitted.
    pub(crate) fn complete_login(&mut self, key: SessionKey, userid: &str, now: Now) {
        self.state.register_user(key, userid);
        self.state.stats.logins += 1;
        self.cluster.session_started(&mut self.state, key);
        if let Some(session) = self.state.sessions.get(key) {
            self.presence.count_login(session.tenant, session.identity.username(), now);
        }
        self.record_visit("connect", key, None);
    }

    /// Checks a login, in the order in which node-socket-im did: clients compare the texts of refusals.
    fn check<'a>(
        &self,
        namespace: NamespaceId,
        login: &Login<'a>,
        now: Now,
    ) -> Result<(TenantId, Option<Rooms<'a>>), Refusal> {
        let fields = [
            ("userid", login.userid, LONGEST_NAME),
            ("username", login.username, LONGEST_NAME),
            ("ext_info", login.ext_info, LONGEST_EXT_INFO),
        ];
        if let Some((name, _, most)) = fields.iter().find(|(_, value, most)| value.len() > *most) {
            return Err(Refusal::FieldTooLong(name, *most));
        }
        let namespace = &self.state.namespaces[namespace as usize];
        if namespace.config.auth != Auth::Sign {
            let tenant = self.state.any_tenant(namespace.open_source()).ok_or(Refusal::SourceUnknown)?;
            // Rooms of their own choice, if that is allowed here.
            let free = namespace.config.join || namespace.config.auth == Auth::Hook;
            // (With auth = "hook" the backend is told which it wants.)
            let rooms = match free && !login.room_ids.is_empty() {
                true => Some(self.login_rooms(login.room_ids)?),
                false => None,
            };
            return Ok((tenant, rooms));
        }
        if login.source.is_empty() {
            return Err(Refusal::SourceMissing);
        }
        if login.signature.hex.is_empty() {
            return Err(Refusal::ConnectSignMissing);
        }
        let rooms = self.login_rooms(login.room_ids)?;
        let tenant = self.state.tenant(login.source)?;
        let subject = Subject::Connect { source: login.source, userid: login.userid, room_ids: login.room_ids };
        if !self.state.verify(tenant, &subject, &login.signature, now) {
            return Err(Refusal::ConnectSignWrong);
        }
        Ok((tenant, Some(rooms)))
    }

    pub(crate) fn login_rooms<'a>(&self, list: &'a str) -> Result<Rooms<'a>, Refusal> {
        let limits = &self.config().limits;
        let rooms = Rooms::parse_login(list, limits.room_id as usize, limits.rooms_per_session as usize);
        rooms.map_err(|error| Refusal::from_name(error, Refusal::RoomsMissing))
    }

    /// Counts and logs a login that was refused.
    pub(crate) fn refused_login(&mut self, namespace: &str, login: &Login<'_>, why: &str) {
        self.state.stats.logins_refused += 1;
        self.log.error("connect", why, |line| {
            line.cut("source", login.source);
            line.cut("nsp", namespace);
            line.cut("room_ids", login.room_ids);
            line.cut("userid", login.userid);
            line.cut("username", login.username);
            line.cut("ext_info", login.ext_info);
            if let Some(ip) = login.ip {
                line.shown("ip", ip);
            }
            line.some("referer", login.referer);
            line.some("user_agent", login.user_agent);
        });
    }

    /// Writes a line of the visitors' trail: a session began, or ended after so many seconds.
    pub(crate) fn record_visit(&mut self, event: &'static str, key: SessionKey, seconds: Option<u64>) {
        let Some(session) = self.state.sessions.get(key).filter(|_| self.log.is_on()) else { return };
        let info = self.state.info(key, session);
        self.log.client(event, |line| {
            line.text("source", &self.state.tenants[session.tenant.index()].name);
            info.write(line);
            if let Some(seconds) = seconds {
                line.shown("seconds", seconds);
            }
        });
    }
}

/// Bytes of a user's id and name: they stand in lists, in the log, and in what rooms are told.
pub const LONGEST_NAME: usize = 512;

/// Bytes of what else a page says of its user.
const LONGEST_EXT_INFO: usize = 8192;

/// `parseInt(value) == 1`, which is what the old server asked.
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
