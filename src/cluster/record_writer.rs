//! Writing presence records to Redis, a batch at a time.

use core::time::Duration;
use std::{collections::BTreeMap, mem};

use super::{
    context::Context,
    keys::Keys,
    records::{RecordBatch, Removed},
    tag::Tag,
};
use crate::{
    clock::Time,
    redis::{Link, Reply},
};

/// Writes one batch at a time: the next one once the last is confirmed.
#[derive(Default)]
pub struct RecordWriter {
    /// The number of unconfirmed writes of the last batch; below, the records that it removes.
    unconfirmed: usize,
    removing: Vec<Removed>,
    /// Whether one of the writes was refused.
    refused: bool,
    /// Whether the last complete batch was refused.
    last_refused: bool,
    next: Time,
}

impl RecordWriter {
    /// Handles a new connection.
    pub fn begin(&mut self, now: Time) {
        self.next = now;
    }

    /// Handles the loss of the connection. Returns the records whose removal is not confirmed.
    pub fn handle_end(&mut self) -> Vec<Removed> {
        self.unconfirmed = 0;
        mem::take(&mut self.removing)
    }

    /// Whether everything that was sent is confirmed.
    pub fn is_idle(&self) -> bool {
        self.unconfirmed == 0
    }

    /// Whether Redis took the last complete batch.
    pub fn accepts_writes(&self) -> bool {
        !self.last_refused
    }

    /// When the next batch is due.
    pub fn deadline(&self) -> Time {
        if self.is_idle() { self.next } else { Time::NEVER }
    }

    /// Sends the next batch if it is due, or at once while relay is stopping. Returns whether everything is written and
    /// confirmed.
    pub fn pump(&mut self, keys: &Keys, link: &mut Link<Tag>, cx: &mut Context<'_>, stopping: bool) -> bool {
        let now = cx.state.now;
        if !self.is_idle() {
            return false;
        }
        if link.is_full() {
            self.next = now.time.after(GATHER);
            return false;
        }
        if !cx.shared.records.has_changes(cx.state) {
            self.next = Time::NEVER;
            return true;
        }
        // The first change waits a little for others. While more changes than fit into one batch are queued, batches
        // follow without a pause.
        if self.next == Time::NEVER && !stopping {
            self.next = now.time.after(GATHER);
        }
        if self.next <= now.time || stopping {
            let own = (cx.shared.publisher.node(), cx.shared.publisher.ip());
            let batch = cx.shared.records.take_batch(cx.state, own, BATCH, now);
            self.write(keys, batch, own.1, link, now.time);
            self.next = if cx.shared.records.has_changes(cx.state) { now.time } else { Time::NEVER };
        }
        false
    }

    fn write(&mut self, keys: &Keys, batch: RecordBatch, ip: &str, link: &mut Link<Tag>, now: Time) {
        let mut command = |parts: &[&[u8]]| {
            self.unconfirmed += 1;
            link.command(parts, Tag::Batch, now);
        };
        let mut written: BTreeMap<String, Vec<&[u8]>> = BTreeMap::new();
        for (source, name, record) in &batch.written {
            written.entry(keys.online(source)).or_default().extend([name.as_bytes(), record.as_bytes()]);
        }
        for (key, fields) in &written {
            command(&[&[b"HSET", key.as_bytes()], fields.as_slice()].concat());
            command(&[b"EXPIRE", key.as_bytes(), EXPIRES]);
        }
        let mut removed: BTreeMap<&str, Vec<&[u8]>> = BTreeMap::new();
        for (source, name) in &batch.removed {
            removed.entry(source).or_default().push(name.as_bytes());
        }
        for (source, names) in &removed {
            let key = keys.online(source);
            command(&[&[b"HDEL", key.as_bytes()], names.as_slice()].concat());
        }
        for (source, user, count) in &batch.logins_by_user {
            let key = keys.today(source);
            command(&[b"HINCRBY", key.as_bytes(), user.as_bytes(), count.to_string().as_bytes()]);
            command(&[b"EXPIRE", key.as_bytes(), EXPIRES]);
        }
        for (key, count) in [(keys.logins(), batch.logins), (keys.messages(), batch.messages)] {
            if count > 0 {
                command(&[b"HINCRBY", key.as_bytes(), ip.as_bytes(), count.to_string().as_bytes()]);
            }
        }
        self.removing = batch.removed;
    }

    /// Counts further writes that must be confirmed.
    pub fn expect(&mut self, writes: usize) {
        self.unconfirmed += writes;
    }

    /// Handles the reply to a write. Returns whether the batch is complete and Redis refused a part of it. Then the
    /// next batch waits for `pause`, and the caller must write all records again, because it is unknown which ones were
    /// refused.
    pub fn handle_reply(&mut self, reply: &Reply, pause: Duration, cx: &mut Context<'_>) -> bool {
        self.unconfirmed = self.unconfirmed.saturating_sub(1);
        self.refused |= matches!(reply, Reply::Error(_));
        if self.unconfirmed > 0 {
            return false;
        }
        let removing = mem::take(&mut self.removing);
        let refused = mem::take(&mut self.refused);
        self.last_refused = refused;
        if refused {
            cx.shared.records.remove_again(removing);
            self.next = cx.state.now.time.after(pause);
        }
        refused
    }
}

/// Seconds after the last write at which a hash expires, as in node-socket-im.
pub const EXPIRES: &[u8] = b"43200";
/// The most sessions in a batch: about 80 kB.
const BATCH: usize = 200;
/// How long the first change waits for others.
const GATHER: Duration = Duration::from_millis(50);
