//! Questions to siblings: has one of them this user? The event that was for him is on its way to them at the same time;
//! who sent it is told only if nobody has him.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    Hub,
    emission::{Emission, Target},
    siblings::Reach,
};
use crate::{
    clock::{Now, Time},
    key::SessionKey,
};

impl Hub {
    /// Asks siblings something about a user, if there are any: `wish` is carried out when one has him or none does.
    pub(super) fn inquire(
        &mut self,
        (tenant, namespace, userid): (u16, &str, &str),
        wish: Wish,
        emission: Option<(&Emission<'_>, bool)>,
        now: Now,
    ) -> Result<(), Wish> {
        let siblings = &mut self.siblings;
        if siblings.known.is_empty() || userid.is_empty() {
            return Err(wish);
        }
        let waiting = siblings.known.clone();
        let number = match wish {
            // The number under which answers come is the same.
            Wish::Reach { ask: Some(ask), .. } => ask,
            _ => siblings.inquiries.fresh(),
        };
        siblings.inquiries.open(number, wish, waiting, now.time)?;
        match emission {
            Some((emission, ack)) => {
                let target = Target::User(userid);
                self.share_emission((tenant, namespace), Reach::Target(&target), emission, (Some(number), ack));
            }
            None => self.share_question(tenant, namespace, userid, number),
        }
        Ok(())
    }

    /// A sibling says how many sessions of a user it has.
    pub(super) fn handle_found(&mut self, node: &str, number: u64, sessions: u64) {
        if let Some((wish, found)) = self.siblings.inquiries.answer(number, node, sessions > 0) {
            self.fulfil(wish, found);
        }
    }

    /// When somebody is told that nobody answered.
    pub(super) fn inquiry_deadline(&self) -> Time {
        self.siblings.inquiries.due.front().map_or(Time::NEVER, |(due, _)| *due)
    }

    pub(super) fn expire_inquiries(&mut self, now: Time) {
        for wish in self.siblings.inquiries.expired(now) {
            self.fulfil(wish, false);
        }
    }

    pub(super) fn fulfil(&mut self, wish: Wish, found: bool) {
        match wish {
            Wish::Reach { .. } if found => {}
            Wish::Reach { session, ack, ask } => {
                // It may have been answered, though the word of who was found is lost.
                if ask.is_some_and(|ask| self.asks.cancel(ask).is_none()) {
                    return;
                }
                self.say_not_there(session, ack.as_deref());
            }
            Wish::Status { session, ack } => self.say_status(session, ack.as_deref(), found),
        }
    }
}

/// What somebody wants to know of siblings.
#[derive(Debug)]
pub(super) enum Wish {
    /// An event is on its way to a user; its sender is told if he is nowhere.
    Reach {
        /// The sender.
        session: SessionKey,
        /// The acknowledgement that it wants of the user.
        ack: Option<Box<str>>,
        /// The number under which that is awaited.
        ask: Option<u64>,
    },
    /// Whether a user is there.
    Status {
        /// Who asks.
        session: SessionKey,
        /// The acknowledgement that it wants.
        ack: Option<Box<str>>,
    },
}

/// Questions to siblings, by their number.
#[derive(Default)]
pub(super) struct Inquiries {
    last: u64,
    open: BTreeMap<u64, (Wish, BTreeSet<Box<str>>)>,
    due: VecDeque<(Time, u64)>,
}

impl Inquiries {
    /// A number that no acknowledgement has.
    pub fn fresh(&mut self) -> u64 {
        self.last += 1;
        self.last | 1 << 48
    }

    fn open(&mut self, number: u64, wish: Wish, waiting: BTreeSet<Box<str>>, now: Time) -> Result<(), Wish> {
        if self.open.len() >= MOST_INQUIRIES {
            return Err(wish);
        }
        self.open.insert(number, (wish, waiting));
        self.due.push_back((now.after(PATIENCE), number));
        Ok(())
    }

    /// One of them answers: the wish and whether it is fulfilled, once that is known.
    fn answer(&mut self, number: u64, node: &str, found: bool) -> Option<(Wish, bool)> {
        let (_, waiting) = self.open.get_mut(&number)?;
        waiting.remove(node);
        if !found && !waiting.is_empty() {
            return None;
        }
        let (wish, _) = self.open.remove(&number)?;
        while self.due.front().is_some_and(|(_, number)| !self.open.contains_key(number)) {
            self.due.pop_front();
        }
        Some((wish, found))
    }

    /// All of them, for there will be no answers.
    pub fn drain(&mut self) -> Vec<Wish> {
        self.due.clear();
        core::mem::take(&mut self.open).into_values().map(|(wish, _)| wish).collect()
    }

    fn expired(&mut self, now: Time) -> Vec<Wish> {
        let mut expired = Vec::new();
        while let Some((_, number)) = self.due.pop_front_if(|(due, _)| *due <= now) {
            expired.extend(self.open.remove(&number).map(|(wish, _)| wish));
        }
        expired
    }
}

/// Questions that may be open.
const MOST_INQUIRIES: usize = 10_000;
/// How long siblings get to say whether they have a user: a second is long on a LAN.
const PATIENCE: Duration = Duration::from_secs(1);
