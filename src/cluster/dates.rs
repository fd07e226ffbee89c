//! The date of the login counts in Redis. Counting starts again at midnight: the first relay that writes the new date
//! deletes the old counts.

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
    /// The local day at the last check.
    day: Option<i64>,
    /// The sources whose date was read.
    known: BTreeSet<Box<str>>,
}

impl Dates {
    /// Applies a new configuration.
    pub fn configure(&mut self, keys: &Keys) {
        self.keys = keys.clone();
    }

    /// Reads the date of sources that are new here, and replaces that of the others after the day has changed.
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

    /// Handles the reply with the date of a source's counts.
    pub fn handle_date(&self, source: Box<str>, reply: &Reply, link: &mut Link<Tag>, now: Now) {
        let today = now.local().date().to_string();
        let key = self.keys.date(&source);
        match reply.text() {
            // The day ended while no relay was running.
            Some(date) if date < today.as_str() => {
                link.command(&[b"GETSET", key.as_bytes(), today.as_bytes()], Tag::OldDate(source), now.time);
            }
            Some(_) => {}
            // Counts without a date are those of old servers, and may be from today: keep them.
            None => link.command(&[b"SET", key.as_bytes(), today.as_bytes()], Tag::Write, now.time),
        }
    }

    /// Handles the reply with the date that was replaced. Only one relay gets an older date; it deletes the counts.
    pub fn handle_old_date(&self, source: &str, reply: &Reply, link: &mut Link<Tag>, now: Now) {
        let today = now.local().date().to_string();
        if reply.text().is_some_and(|date| date < today.as_str()) {
            link.command(&[b"DEL", self.keys.today(source).as_bytes()], Tag::Write, now.time);
        }
    }
}
