//! Lines about what is traced: sessions, clients, sources.

use core::{fmt, net::IpAddr};

use super::{refusal_log::Refused, registry::State, session::Session, tenant::TenantId};
use crate::{
    key::{ClientKey, SessionKey},
    trace::{Party, Quoted},
};

impl State {
    /// Writes a line about a session if it is traced.
    #[inline]
    pub fn trace_session(&mut self, key: SessionKey, what: fmt::Arguments<'_>) {
        if self.traces.is_on() {
            self.write_about_session(key, what);
        }
    }

    /// Writes a line about a client if it is traced: about its first session, or about its address before its login.
    #[inline]
    pub fn trace_client(&mut self, key: ClientKey, what: fmt::Arguments<'_>) {
        if self.traces.is_on() {
            self.write_about_client(key, what);
        }
    }

    /// Writes a line about a user of a source, or about the source alone, if it is traced.
    #[inline]
    pub fn trace_source(&mut self, tenant: TenantId, userid: &str, what: fmt::Arguments<'_>) {
        if self.traces.is_on() {
            let source = self.tenants[tenant.index()].name.clone();
            self.write_about(&Party { source: &source, userid, ip: None }, what);
        }
    }

    /// Writes a line about an address if it is traced.
    #[inline]
    pub fn trace_address(&mut self, ip: Option<IpAddr>, what: fmt::Arguments<'_>) {
        if self.traces.is_on() {
            self.write_about(&Party { ip, ..Party::default() }, what);
        }
    }

    /// Logs a refusal, or counts it for the next report, and writes a line if it is traced.
    pub fn log_refusal(&mut self, refused: &Refused<'_>) {
        self.refusals.add(refused, self.now.time);
        if self.traces.is_on() {
            let userid = refused.facts.iter().find(|(name, _)| *name == "user").map_or("", |(_, userid)| userid);
            let party = Party { source: refused.source, userid, ip: refused.ip };
            let reason = refused.reason.map(|reason| format!(" ({})", Quoted(reason))).unwrap_or_default();
            let (what, why) = (refused.what, Quoted(refused.why));
            self.traces.write(&party, self.now.time, format_args!("{what} refused: {why}{reason}: {refused}"));
        }
    }

    /// A session in a line of the log: its source, user and address, and its `socket_id`. Empty if it is gone.
    pub fn described(&self, key: SessionKey) -> String {
        self.sessions.get(key).map_or_else(String::new, |session| self.describe(key, &self.party(key, session)))
    }

    fn party<'a>(&'a self, key: SessionKey, session: &'a Session) -> Party<'a> {
        let source = &*self.tenants[session.tenant.index()].name;
        Party { source, userid: self.user_of(key), ip: session.identity.ip() }
    }

    fn describe(&self, key: SessionKey, party: &Party<'_>) -> String {
        // Not the id of an Engine.IO session, which is a secret.
        format!("{party}, session {}", self.sids.socket(self.name_of(key)))
    }

    #[cold]
    fn write_about_session(&mut self, key: SessionKey, what: fmt::Arguments<'_>) {
        let Some(session) = self.sessions.get(key) else { return };
        let party = self.party(key, session);
        let who = self.describe(key, &party);
        let Party { source, userid, ip } = party;
        let (source, userid) = (source.to_owned(), userid.to_owned());
        let party = Party { source: &source, userid: &userid, ip };
        self.traces.write(&party, self.now.time, format_args!("{who}: {what}"));
    }

    #[cold]
    fn write_about_client(&mut self, key: ClientKey, what: fmt::Arguments<'_>) {
        match self.sessions_of(key).first() {
            Some(session) => self.write_about_session(*session, what),
            None => {
                let socket = self.clients.get(key).and_then(|client| client.socket.as_ref());
                let ip = socket.and_then(|socket| socket.handshake.split(' ').next()?.parse().ok());
                self.write_about(&Party { ip, ..Party::default() }, what);
            }
        }
    }

    #[cold]
    fn write_about(&mut self, party: &Party<'_>, what: fmt::Arguments<'_>) {
        self.traces.write(party, self.now.time, format_args!("{party}: {what}"));
    }
}
