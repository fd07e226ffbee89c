//! The schedule of this relay's work in Redis: its heartbeat, its description, the records of its sessions, the check
//! of other relays, and cleaning up after dead ones.
//!
//! In addition to the keys of node-socket-im there are, with the same prefix: `relay_nodes`, a hash of descriptions by
//! relay; `relay_alive:NODE`, which expires unless its relay renews it; `relay_sweep:NODE`, a lock; and
//! `relay_today:SOURCE`, the date of the counts of today's logins.

use core::{mem, time::Duration};

use super::{
    cleanup::Cleanup,
    context::{Context, Shared},
    dates::Dates,
    keys::Keys,
    liveness::Liveness,
    record_writer::{EXPIRES, RecordWriter},
    records::{Records, samples},
    tag::Tag,
};
use crate::{
    clock::Time,
    config::Redis,
    json::ObjectWriter,
    redis::{Link, Reply},
    state::State,
};

/// The work in Redis, and when each part is due.
#[derive(Default)]
pub struct Upkeep {
    keys: Keys,
    node: Box<str>,
    heartbeat: Duration,
    writer: RecordWriter,
    liveness: Liveness,
    cleanup: Cleanup,
    dates: Dates,
    next_beat: Time,
    /// When the hashes' time to live is renewed.
    next_renewal: Time,
    /// When this relay's records are compared with its sessions.
    next_review: Time,
    /// When all records are written again.
    write_all: Option<Time>,
    stopping: Stopping,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stopping {
    #[default]
    No,
    /// Records are being removed.
    Begun,
    /// This relay's heartbeat and description are being removed as well.
    Announced,
}

impl Upkeep {
    /// Applies a new configuration. `node` is this relay's name.
    pub fn configure(&mut self, redis: &Redis, node: &str) {
        self.keys = Keys::new(&redis.key_prefix);
        self.node = node.into();
        self.heartbeat = redis.heartbeat;
        self.liveness.configure(&self.keys, node);
        self.cleanup.configure(&self.keys, node);
        self.dates.configure(&self.keys);
    }

    /// Handles a new connection: the first heartbeat and the first batch are due.
    pub fn begin(&mut self, state: &mut State) {
        let now = state.now.time;
        Records::connect(state);
        self.writer.begin(now);
        (self.next_beat, self.next_renewal) = (now, now.after(RENEWAL));
        // Not at once: Redis may still execute commands of an earlier connection.
        self.next_review = now.after(self.heartbeat * REVIEW);
    }

    /// Handles the loss of the connection: unconfirmed writes will be repeated.
    pub fn handle_end(&mut self, cx: &mut Context<'_>) {
        cx.shared.records.disconnect(cx.state, self.writer.handle_end());
        self.cleanup.handle_end();
        self.liveness.handle_end();
        if self.stopping == Stopping::Announced {
            self.stopping = Stopping::Begun;
        }
    }

    /// When [`Upkeep::pump`] has something to do.
    pub fn deadline(&self) -> Time {
        self.next_beat.min(self.write_all.unwrap_or(Time::NEVER)).min(self.writer.deadline())
    }

    /// Sends what is due.
    pub fn pump(&mut self, link: &mut Link<Tag>, cx: &mut Context<'_>) {
        let now = cx.state.now.time;
        if mem::take(&mut cx.shared.records.deleted_by_old_server) {
            // The old server deletes the records on one connection and announces its start on another, so the order is
            // not known.
            self.write_all = Some(now.after(AFTER_START));
        }
        if self.write_all.take_if(|at| *at <= now).is_some() {
            Records::write_all(cx.state);
        }
        if self.next_beat <= now {
            self.next_beat = now.after(self.heartbeat);
            self.beat(link, cx);
        }
        let written = self.writer.pump(&self.keys, link, cx, self.stopping != Stopping::No);
        if written && self.stopping == Stopping::Begun {
            self.stopping = Stopping::Announced;
            self.writer.expect(2);
            let (alive, nodes) = (self.keys.alive(&self.node), self.keys.nodes());
            link.command(&[b"HDEL", nodes.as_bytes(), self.node.as_bytes()], Tag::Batch, now);
            link.command(&[b"DEL", alive.as_bytes()], Tag::Batch, now);
        }
    }

    /// Sends a write that a replica refuses: it renews this relay's heartbeat.
    pub fn prove(&self, number: u64, link: &mut Link<Tag>, now: Time) {
        let (alive, lifetime) = (self.keys.alive(&self.node), (self.heartbeat * LIFETIME).as_millis().to_string());
        link.command(&[b"SET", alive.as_bytes(), b"1", b"PX", lifetime.as_bytes(), b"XX"], Tag::Proof(number), now);
    }

    /// Renews this relay's heartbeat and description, and starts the periodic checks.
    fn beat(&mut self, link: &mut Link<Tag>, cx: &mut Context<'_>) {
        if self.stopping == Stopping::Announced {
            return;
        }
        let now = cx.state.now.time;
        let (alive, nodes) = (self.keys.alive(&self.node), self.keys.nodes());
        let lifetime = (self.heartbeat * LIFETIME).as_millis().to_string();
        // XX: only if the key exists. If it does not, this is the first heartbeat, Redis was emptied, or this relay was
        // silent for too long and other relays consider it dead.
        link.command(&[b"SET", alive.as_bytes(), b"1", b"PX", lifetime.as_bytes(), b"XX"], Tag::OwnKey, now);
        let info = describe(cx.shared, cx.state);
        link.command(&[b"HSET", nodes.as_bytes(), self.node.as_bytes(), info.as_bytes()], Tag::Write, now);
        link.command(&[b"EXPIRE", nodes.as_bytes(), EXPIRES], Tag::Write, now);
        if self.writer.is_idle() && !cx.shared.records.has_changes(cx.state) {
            for (source, name) in samples(cx.state) {
                link.command(&[b"HEXISTS", self.keys.online(&source).as_bytes(), name.as_bytes()], Tag::Sample, now);
            }
        }
        if self.next_renewal <= now {
            self.next_renewal = now.after(RENEWAL);
            for source in cx.state.source_names() {
                for key in [self.keys.online(&source), self.keys.today(&source)] {
                    link.command(&[b"EXPIRE", key.as_bytes(), EXPIRES], Tag::Write, now);
                }
            }
        }
        if self.next_review <= now || self.needs_review(cx) {
            self.next_review = now.after(RENEWAL);
            self.cleanup.start(self.node.clone(), cx.state.source_names(), link, now);
        }
        self.liveness.look(link, now);
        self.dates.look(link, cx.state);
    }

    /// Whether the removal of records was given up while Redis refused writes, and Redis takes writes again.
    fn needs_review(&self, cx: &mut Context<'_>) -> bool {
        self.writer.accepts_writes() && cx.shared.records.take_overflow()
    }

    /// Handles a reply to one of its commands.
    pub fn handle_reply(&mut self, tag: Tag, reply: Reply, link: &mut Link<Tag>, cx: &mut Context<'_>) {
        let now = cx.state.now;
        match tag {
            Tag::Batch => {
                if self.writer.handle_reply(&reply, self.heartbeat, cx) {
                    self.write_all = Some(now.time.after(self.heartbeat));
                }
            }
            Tag::OwnKey => {
                if reply == Reply::Null {
                    let lifetime = (self.heartbeat * LIFETIME).as_millis().to_string();
                    let alive = self.keys.alive(&self.node);
                    link.command(&[b"SET", alive.as_bytes(), b"1", b"PX", lifetime.as_bytes()], Tag::Write, now.time);
                    Records::write_all(cx.state);
                    // A relay that considers this one dead may still be removing its records, including those written
                    // now.
                    self.write_all = Some(now.time.after(self.heartbeat * 2));
                }
            }
            Tag::Sample => {
                // If that session has just ended, writing all records again is unnecessary, but harmless.
                if reply == Reply::Integer(0) {
                    Records::write_all(cx.state);
                }
            }
            Tag::Nodes => self.liveness.handle_nodes(reply, link, cx),
            Tag::NodeKey(node) => self.liveness.handle_key(node, &reply, link, cx),
            Tag::CleanupLock(node) => {
                if reply.text() == Some("OK")
                    && let Some(sources) = self.liveness.sources_of(&node)
                {
                    self.cleanup.start(node, sources, link, now.time);
                }
            }
            Tag::CleanupCheck => self.cleanup.handle_check(&reply),
            Tag::CleanupScan => self.cleanup.handle_scan(reply, link, cx),
            Tag::Date(source) => self.dates.handle_date(source, &reply, link, now),
            Tag::OldDate(source) => self.dates.handle_old_date(&source, &reply, link, now),
            Tag::Write | Tag::Publish(_) | Tag::Proof(_) | Tag::Scan(..) | Tag::Count(..) => {}
            Tag::Subscribers | Tag::OwnSubscription => {}
        }
    }

    /// Begins the shutdown: records are removed, then this relay's heartbeat and description.
    pub fn stop(&mut self) {
        self.stopping = Stopping::Begun;
    }

    /// Whether the shutdown has begun.
    pub fn is_stopping(&self) -> bool {
        self.stopping != Stopping::No
    }

    /// Whether everything of this relay is removed from Redis.
    pub fn has_stopped(&self, shared: &Shared, state: &State) -> bool {
        self.stopping == Stopping::Announced && self.writer.is_idle() && !shared.records.has_changes(state)
    }
}

/// This relay's description: a JSON object.
pub fn describe(shared: &Shared, state: &State) -> String {
    let mut out = vec![b'{'];
    let mut line = ObjectWriter::within(&mut out);
    line.text("server_ip", shared.publisher.ip());
    line.text("version", env!("CARGO_PKG_VERSION"));
    line.display("uptime", state.now.time.micros() / 1_000_000);
    line.display("sessions", state.session_count());
    line.display("rooms", state.room_count());
    if state.config().presence.events {
        line.raw("presence", |out| {
            let changes = shared.publisher.changes.iter().filter(|(source, _)| state.known_tenant(source).is_some());
            let changes: Vec<_> = changes.map(|(source, number)| format!("\"{source}\":{number}")).collect();
            out.extend_from_slice(format!("{{{}}}", changes.join(",")).as_bytes());
        });
    }
    line.raw("sources", |out| {
        out.push(b'{');
        for (index, (name, sessions, _)) in state.tenants().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            // No character of a source's name needs an escape in JSON.
            out.extend_from_slice(format!("{comma}\"{name}\":{sessions}").as_bytes());
        }
        out.push(b'}');
    });
    out.push(b'}');
    String::from_utf8(out).expect("made of text")
}

/// After how many heartbeats a relay's key expires.
const LIFETIME: u32 = 4;
/// How many heartbeats after the start of a connection this relay reviews its own records.
const REVIEW: u32 = 5;
/// How often the hashes' time to live is renewed, and this relay's own records are reviewed.
const RENEWAL: Duration = Duration::from_secs(600);
/// The time after the start of an old server until it has deleted the records for certain.
const AFTER_START: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    #[test]
    fn a_description() {
        let mut state = testing::state();
        testing::session(&mut state, "demo", "1", "a,b");
        state.now = testing::at(7);
        let mut shared = Shared::default();
        shared.publisher.introduce("abc123".into(), "192.0.2.7");
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            "{{\"server_ip\":\"192.0.2.7\",\"version\":\"{version}\",\"uptime\":7,\"sessions\":1,\"rooms\":2,\
             \"sources\":{{\"demo\":1,\"demo_x\":0,\"open\":0}}}}"
        );
        assert_eq!(describe(&shared, &state), expected);
    }
}
