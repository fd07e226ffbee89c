//! The user index of a namespace.

use std::{collections::HashMap, rc::Rc};

use smallvec::SmallVec;

use super::tenant::TenantId;
use crate::key::SessionKey;

/// The sessions of each user in one namespace. A session is registered for the user of its login, or for the user that
/// a later `user_login` names. All operations on one session take constant time, however many sessions its user has.
#[derive(Default)]
pub struct UserIndex {
    by_name: HashMap<Rc<str>, SmallVec<[(TenantId, SessionKey); 1]>>,
    /// The user of each session.
    of: HashMap<SessionKey, Place>,
}

/// The user of a session, and the session's index in the user's list.
struct Place {
    name: Rc<str>,
    index: u32,
}

impl UserIndex {
    /// Registers a session for the user `userid`, or for no user if `userid` is empty.
    pub fn register(&mut self, session: SessionKey, tenant: TenantId, userid: &str) {
        self.remove(session);
        if userid.is_empty() {
            return;
        }
        let name = self.by_name.get_key_value(userid).map_or_else(|| userid.into(), |(name, _)| name.clone());
        let sessions = self.by_name.entry(Rc::clone(&name)).or_default();
        sessions.push((tenant, session));
        self.of.insert(session, Place { index: sessions.len() as u32 - 1, name });
    }

    /// Removes a session. The last session in the list of its user takes its place.
    pub fn remove(&mut self, session: SessionKey) {
        let Some(Place { name, index }) = self.of.remove(&session) else { return };
        let Some(sessions) = self.by_name.get_mut(&name) else { return };
        sessions.swap_remove(index as usize);
        if sessions.is_empty() {
            self.by_name.remove(&name);
            return;
        }
        if let Some(place) = sessions.get(index as usize).and_then(|(_, moved)| self.of.get_mut(moved)) {
            place.index = index;
        }
        if sessions.spilled() && sessions.capacity() > 64 && sessions.len() * 4 < sessions.capacity() {
            let mut smaller = SmallVec::with_capacity(sessions.len() * 2);
            smaller.extend_from_slice(sessions);
            *sessions = smaller;
        }
    }

    /// The user of a session.
    pub fn user(&self, session: SessionKey) -> Option<&str> {
        self.of.get(&session).map(|place| &*place.name)
    }

    /// The sessions of a tenant's user.
    pub fn sessions(&self, tenant: TenantId, userid: &str) -> Vec<SessionKey> {
        let sessions = self.by_name.get(userid).into_iter().flatten();
        sessions.filter(|(known, _)| *known == tenant).map(|(_, session)| *session).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        growth::{assert_linear, processor_time},
        key::Slots,
    };

    const TENANT: TenantId = TenantId(0);

    fn keys(count: usize) -> Vec<SessionKey> {
        let mut slots: Slots<SessionKey, ()> = Slots::new();
        (0..count).map(|_| slots.insert(())).collect()
    }

    fn sorted(index: &UserIndex, userid: &str) -> Vec<SessionKey> {
        let mut found = index.sessions(TENANT, userid);
        found.sort_unstable();
        found
    }

    /// Against a plain list of pairs.
    #[test]
    fn sessions_come_and_go_in_any_order() {
        let (keys, mut index, mut seed) = (keys(60), UserIndex::default(), 7u64);
        let mut model: Vec<(SessionKey, &str)> = Vec::new();
        for _ in 0..5000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (key, user) = (keys[(seed >> 33) as usize % keys.len()], ["", "a", "b"][(seed >> 20) as usize % 3]);
            model.retain(|(known, _)| *known != key);
            index.register(key, TENANT, user);
            if !user.is_empty() {
                model.push((key, user));
            }
            for user in ["a", "b"] {
                let mut expected: Vec<_> =
                    model.iter().filter(|(_, known)| *known == user).map(|(key, _)| *key).collect();
                expected.sort_unstable();
                assert_eq!(sorted(&index, user), expected);
            }
            assert_eq!(index.user(key), (!user.is_empty()).then_some(user));
        }
        keys.iter().for_each(|key| index.remove(*key));
        assert!(index.of.is_empty() && index.by_name.is_empty());
    }

    #[test]
    fn leaving_takes_the_same_time_however_many_sessions_a_user_has() {
        assert_linear(500, |count| {
            let (keys, mut index) = (keys(count), UserIndex::default());
            keys.iter().for_each(|key| index.register(*key, TENANT, "7"));
            let begin = processor_time();
            keys.iter().for_each(|key| index.remove(*key));
            processor_time() - begin
        });
    }
}
