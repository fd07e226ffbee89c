//! The date of the counts of logins in Redis: at midnight they begin anew, and the first relay to notice deletes the
//! old ones.

use std::collections::BTreeSet;

use super::{keys::Keys, tag::Tag};
use crate::{
    clock::Now,
    redis::{Link, Reply},
    state::State,
};

/// The date of the counts of today's logins.
#[derive(Default)]
pub struct Dates {
    keys: Keys,
    /// The local day at the last look.
    day: Option<i64>,
    /// The sources whose date was read.
    known: BTreeSet<Box<str>>,
}

impl Dates {
    /// Applies a new configuration.
    pub fn configure(&mut self, keys: &Keys) {
        self.keys = keys.clone();
    }

    /// Reads the date of new sources, and updates that of all others when the day has changed.
    pub fn look(&mut self, link: &mut Link<Tag>, state: &State) {
        let now = state.now;
        let date = now.local().date().to_string();
        let changed = self.day.replace(now.day()).is_some_and(|day| day != now.day());
        for source in state.source_names() {
            let key = self.keys.date(&source);
            if self.known.insert(source.clone()) {
                link.command(&[b"GET", key.as_bytes()], Tag::Date(source), now.time);
            } else if changed {
                link.command(&[b"GETSET", key.as_bytes(), date.as_bytes()], Tag::OldDate(source), now.time);
            }
        }
    }

    /// The date of a source's counts.
    pub fn handle_date(&self, source: Box<str>, reply: &Reply, link: &mut Link<Tag>, now: Now) {
        let today = now.local().date().to_string();
        let key = self.keys.date(&source);
        match reply.text() {
            // A day ended while no relay was running.
            Some(date) if date < today.as_str() => {
                link.command(&[b"GETSET", key.as_bytes(), today.as_bytes()], Tag::OldDate(source), now.time);
            }
            Some(_) => {}
            // Old servers may have counted today; their counts stay.
            None => link.command(&[b"SET", key.as_bytes(), today.as_bytes()], Tag::Write, now.time),
        }
    }

    /// The date that was replaced by today's. Only one relay gets an older one, and deletes the counts.
    pub fn handle_old_date(&self, source: &str, reply: &Reply, link: &mut Link<Tag>, now: Now) {
        let today = now.local().date().to_string();
        if reply.text().is_some_and(|date| date < today.as_str()) {
            link.command(&[b"DEL", self.keys.today(source).as_bytes()], Tag::Write, now.time);
        }
    }
}
