//! Coming in: what a login says, whether it is right, and what it brings (contract section 3).

use core::net::IpAddr;

use super::{Client, Form, Hub, Refusal, Session, SpaceId, TenantId, client::Identity, roster::Listing};
use crate::{
    clock::Now,
    config::Auth,
    key::{ClientKey, ConnKey, SessionKey},
    names::Rooms,
    sign::{Signature, Subject},
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
        let Some(space) = self.find_space(namespace) else {
            self.refused_login(namespace, login, &Refusal::NamespaceUnknown.text());
            return Err(Refusal::NamespaceUnknown);
        };
        let client = self.clients.insert(Client { conn: Some(conn), ..Client::default() });
        match self.admit_session(client, space, login, query, "", now) {
            Ok(session) => {
                let pending = self.sessions.get(session).is_some_and(|session| session.pending);
                if !pending {
                    self.welcome(session, "{}");
                }
                self.clients.get_mut(client).expect("it was put there a moment ago").session = Some(session);
                Ok((client, pending))
            }
            Err(refusal) => {
                self.clients.remove(client);
                Err(refusal)
            }
        }
    }

    /// Lets a client into a namespace, or says why not.
    pub(super) fn admit_session(
        &mut self,
        client: ClientKey,
        space: SpaceId,
        login: &Login<'_>,
        query: &str,
        auth: &str,
        now: Now,
    ) -> Result<SessionKey, Refusal> {
        let (tenant, rooms) = match self.check(space, login, now) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                self.refused_login(&self.spaces[space as usize].name.clone(), login, &refusal.text());
                return Err(refusal);
            }
        };
        let agent = self.agents.intern(login.referer, login.user_agent);
        let session = self.sessions.insert(Session {
            client,
            identity: Identity::new(login.userid, login.username, login.ext_info, agent, login.ip, now.unix),
            rooms: Default::default(),
            tenant: tenant.0,
            space,
            form: login.form,
            watch_quit: login.watch_quit,
            pending: false,
            listing: Listing::Off,
        });
        if self.tells(space, "connect") {
            self.ask_to_connect(session, rooms.as_ref(), query, auth, now);
            return Ok(session);
        }
        for room in rooms.iter().flat_map(Rooms::iter) {
            self.join(session, room);
        }
        self.let_in(session, login.userid, now);
        Ok(session)
    }

    /// A session is in from here on.
    pub(super) fn let_in(&mut self, key: SessionKey, userid: &str, now: Now) {
        self.register_user(key, userid);
        self.stats.logins += 1;
        self.enroll(key);
        if let Some(session) = self.sessions.get(key) {
            self.tenants[session.tenant as usize].today.count(session.identity.username(), now);
        }
        self.record_visit("connect", key, None);
    }

    /// The checks, in the order in which the old server made them.
    fn check<'a>(&self, space: SpaceId, login: &Login<'a>, now: Now) -> Result<(TenantId, Option<Rooms<'a>>), Refusal> {
        let fields = [
            ("userid", login.userid, LONGEST_NAME),
            ("username", login.username, LONGEST_NAME),
            ("ext_info", login.ext_info, LONGEST_EXT_INFO),
        ];
        if let Some((name, _, most)) = fields.iter().find(|(_, value, most)| value.len() > *most) {
            return Err(Refusal::FieldTooLong(name, *most));
        }
        let space = &self.spaces[space as usize];
        if space.config.auth != Auth::Sign {
            let tenant = *self.by_name.get(space.open_source()).ok_or(Refusal::SourceUnknown)?;
            // Rooms of their own choice, if that is allowed here.
            let free = space.config.join || space.config.auth == Auth::Hook;
            // (With auth = "hook" the backend is told which it wants.)
            let rooms = match free && !login.room_ids.is_empty() {
                true => Some(self.login_rooms(login.room_ids)?),
                false => None,
            };
            return Ok((TenantId(tenant), rooms));
        }
        if login.source.is_empty() {
            return Err(Refusal::SourceMissing);
        }
        if login.signature.hex.is_empty() {
            return Err(Refusal::ConnectSignMissing);
        }
        let rooms = self.login_rooms(login.room_ids)?;
        let tenant = self.tenant(login.source)?;
        let subject = Subject::Connect { source: login.source, userid: login.userid, room_ids: login.room_ids };
        if !self.verify(tenant, &subject, &login.signature, now) {
            return Err(Refusal::ConnectSignWrong);
        }
        Ok((tenant, Some(rooms)))
    }

    pub(super) fn login_rooms<'a>(&self, list: &'a str) -> Result<Rooms<'a>, Refusal> {
        let limits = &self.config.limits;
        let rooms = Rooms::parse_login(list, limits.room_id as usize, limits.rooms_per_session as usize);
        rooms.map_err(|error| Refusal::from_name(error, Refusal::RoomsMissing))
    }
}

/// Bytes of a user's id and name: they stand in lists, in the log, and in what rooms are told.
pub const LONGEST_NAME: usize = 512;
/// Bytes of what else a page says of its user.
const LONGEST_EXT_INFO: usize = 8192;
