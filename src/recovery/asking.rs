//! Logins that wait for word of older sessions: a login that looks like a live session may be another tab of the same user, or
//! the return of one that relay does not know to be lost. The older session is asked for a sign of life. Taking it over at once
//! would make two tabs fight.

use std::collections::{HashMap, VecDeque};

use crate::{
    clock::Time,
    key::{ClientKey, SessionKey},
    message::MessageId,
};

/// The logins that wait, and the clients that are asked.
#[derive(Default)]
pub struct Asking {
    waits: HashMap<SessionKey, Wait>,
    asked: HashMap<ClientKey, Asked>,
    /// When clients have been silent for too long. The oldest question is the first.
    due: VecDeque<(Time, ClientKey)>,
}

/// A login that waits.
struct Wait {
    /// How many clients have not answered.
    left: usize,
    /// See [`Resolved::name`].
    name: Option<Named>,
}

/// The name of the session that a login goes on with, and the last message that its client has, as it says.
pub type Named = (SessionKey, Option<MessageId>);

/// A client that is asked.
struct Asked {
    /// Until when others wait for it. [`Time::NEVER`] if none does.
    until: Time,
    waiters: Vec<SessionKey>,
    /// Those of its own sessions that wait until it shows a sign of life.
    own: Vec<SessionKey>,
}

impl Default for Asked {
    fn default() -> Self {
        Asked { until: Time::NEVER, waiters: Vec::new(), own: Vec::new() }
    }
}

/// A login that does not wait any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Its session.
    pub session: SessionKey,
    /// What it goes on with, if it has said so.
    pub name: Option<Named>,
}

impl Asking {
    /// Lets a login wait for the clients that are asked next.
    pub fn begin(&mut self, session: SessionKey, name: Option<Named>) {
        self.waits.insert(session, Wait { left: 0, name });
    }

    /// Whether a login waits.
    pub fn waits(&self, session: SessionKey) -> bool {
        self.waits.contains_key(&session)
    }

    /// Asks a client on behalf of a login that waits. Returns whether the client must be asked now: if not, it was asked a
    /// moment ago.
    pub fn ask(&mut self, client: ClientKey, session: SessionKey, until: Time) -> bool {
        let Some(wait) = self.waits.get_mut(&session) else { return false };
        wait.left += 1;
        let asked = self.asked.entry(client).or_default();
        asked.waiters.push(session);
        let is_new = asked.until == Time::NEVER;
        if is_new {
            asked.until = until;
            self.due.push_back((until, client));
        }
        is_new
    }

    /// Lets a login wait for a sign of life of its own client, however long that takes: it may have been given up.
    pub fn ask_itself(&mut self, client: ClientKey, session: SessionKey) {
        let Some(wait) = self.waits.get_mut(&session) else { return };
        wait.left += 1;
        self.asked.entry(client).or_default().own.push(session);
    }

    /// Whether a client is asked.
    pub fn is_asked(&self, client: ClientKey) -> bool {
        self.asked.contains_key(&client)
    }

    /// Notes that a client has answered, or is gone. Returns the logins that do not wait any more, in their order.
    pub fn answered(&mut self, client: ClientKey) -> Vec<Resolved> {
        let Some(asked) = self.asked.remove(&client) else { return Vec::new() };
        self.resolve([asked.own, asked.waiters].concat())
    }

    /// Notes that a client is silent. Returns the logins of others that do not wait any more, in their order.
    pub fn silent(&mut self, client: ClientKey) -> Vec<Resolved> {
        let Some(asked) = self.asked.get_mut(&client) else { return Vec::new() };
        asked.until = Time::NEVER;
        let waiters = core::mem::take(&mut asked.waiters);
        if asked.own.is_empty() {
            self.asked.remove(&client);
        }
        self.resolve(waiters)
    }

    fn resolve(&mut self, waiters: Vec<SessionKey>) -> Vec<Resolved> {
        let mut resolved = Vec::new();
        for session in waiters {
            let Some(wait) = self.waits.get_mut(&session) else { continue };
            wait.left -= 1;
            if wait.left == 0 {
                resolved.push(Resolved { session, name: wait.name });
                self.waits.remove(&session);
            }
        }
        resolved
    }

    /// Forgets a login, because its session has ended. Returns whether it waited.
    pub fn cancel(&mut self, session: SessionKey) -> bool {
        self.waits.remove(&session).is_some()
    }

    /// The logins that wait.
    #[cfg(feature = "fuzzing")]
    pub fn waiting(&self) -> impl Iterator<Item = SessionKey> {
        self.waits.keys().copied()
    }

    /// Whether nobody waits, and nobody is asked.
    #[cfg(feature = "fuzzing")]
    pub fn is_empty(&self) -> bool {
        self.waits.is_empty() && self.asked.is_empty()
    }

    /// Asserts that each login waits for as many clients as are asked on its behalf, at least one, and that each that is asked
    /// will be heard or given up.
    #[cfg(feature = "fuzzing")]
    pub fn check(&self) {
        for (session, wait) in &self.waits {
            let asked = self
                .asked
                .values()
                .flat_map(|asked| asked.waiters.iter().chain(&asked.own))
                .filter(|waiter| *waiter == session)
                .count();
            assert!(wait.left == asked && asked > 0, "{session:?} waits for {}, but {asked} are asked", wait.left);
        }
        for (client, asked) in &self.asked {
            let is_due = self.due.contains(&(asked.until, *client));
            assert!(is_due || asked.waiters.is_empty(), "{client:?} is never given up");
        }
    }

    /// When [`Asking::poll_silent`] has something.
    pub fn deadline(&self) -> Time {
        self.due.front().map_or(Time::NEVER, |(until, _)| *until)
    }

    /// The next client that has been silent for too long. It counts as asked until [`Asking::silent`] is called for it.
    pub fn poll_silent(&mut self, now: Time) -> Option<ClientKey> {
        while self.deadline() <= now {
            let (until, client) = self.due.pop_front()?;
            if self.asked.get(&client).is_some_and(|asked| asked.until == until) {
                return Some(client);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Handle, Key};

    fn client(index: u64) -> ClientKey {
        ClientKey::wrap(Key::from_bits((3 << 32) | index).unwrap())
    }

    fn session(index: u64) -> SessionKey {
        SessionKey::wrap(Key::from_bits((5 << 32) | index).unwrap())
    }

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn resolved(index: u64) -> Resolved {
        Resolved { session: session(index), name: None }
    }

    #[test]
    fn a_login_waits_for_all_that_were_asked() {
        let mut asking = Asking::default();
        asking.begin(session(0), None);
        assert!(asking.ask(client(1), session(0), at(2)) && asking.ask(client(2), session(0), at(2)));
        asking.begin(session(1), None);
        assert!(!asking.ask(client(2), session(1), at(3)), "it was asked a moment ago");
        assert_eq!(asking.answered(client(1)), []);
        assert_eq!(asking.answered(client(2)), [resolved(0), resolved(1)]);
        assert_eq!((asking.answered(client(2)), asking.poll_silent(at(9))), (Vec::new(), None));
    }

    #[test]
    fn silence_is_an_answer() {
        let mut asking = Asking::default();
        asking.begin(session(0), Some((session(7), None)));
        asking.ask(client(1), session(0), at(2));
        assert_eq!((asking.deadline(), asking.poll_silent(at(1))), (at(2), None));
        assert_eq!((asking.poll_silent(at(2)), asking.poll_silent(at(2))), (Some(client(1)), None));
        assert_eq!(asking.answered(client(1)), [Resolved { session: session(0), name: Some((session(7), None)) }]);
        assert!(!asking.waits(session(0)));
    }

    /// It may be an attempt that its client has given up: it takes nothing.
    #[test]
    fn who_shows_no_sign_of_life_waits() {
        let mut asking = Asking::default();
        asking.begin(session(0), None);
        asking.ask_itself(client(0), session(0));
        assert_eq!(asking.deadline(), Time::NEVER);
        asking.begin(session(1), None);
        assert!(asking.ask(client(0), session(1), at(2)), "it is asked for the first time");
        assert_eq!((asking.poll_silent(at(2)), asking.silent(client(0))), (Some(client(0)), vec![resolved(1)]));
        assert!(asking.waits(session(0)));
        assert_eq!(asking.answered(client(0)), [resolved(0)]);
    }

    #[test]
    fn a_login_that_has_ended_takes_nothing() {
        let mut asking = Asking::default();
        asking.begin(session(0), None);
        asking.ask(client(1), session(0), at(2));
        assert!(asking.cancel(session(0)) && !asking.cancel(session(0)));
        assert_eq!(asking.answered(client(1)), []);
    }
}
