//! The two connections to Redis: one subscribes, the other sends commands. This file decides when to open and drop them
//! and what to send in which order, and handles replies. The server does the I/O.

use core::time::Duration;

use log::info;

use super::{
    channel::Channel,
    context::{Context, Shared},
    hold::Hold,
    placement::Placement,
    refused::Refused,
    scans::Scans,
    send_queue::{SendQueue, Unproven},
    status::{LONGEST_WHY, Status},
    tag::Tag,
    upkeep::Upkeep,
};
use crate::{
    clock::Time,
    config::{Redis, RedisUrl},
    redis::{Event, Failure, Link, Reply, Role, resp},
    state::State,
    text::truncate,
    tls::ClientTls,
};

/// The connections, and what is sent on them.
#[derive(Default)]
pub struct Connections {
    settings: Option<Redis>,
    /// This relay's name.
    node: Box<str>,
    /// The size limit of a publication, in bytes. Longer ones are skipped.
    longest: u64,
    /// By [`Role`].
    ends: [Connection; 2],
    pub(super) queue: SendQueue,
    upkeep: Upkeep,
    scans: Scans,
    status: Status,
    /// The number of connections that were lost or refused so far; seeds the random part of the pause.
    failures: u64,
    /// The number of other relays when the connection was lost.
    others: usize,
    hold: Option<Hold>,
    placement: Placement,
    /// When the next write may be sent to prove publications, and whether one is unanswered.
    next_proof: Time,
    proving: bool,
}

#[derive(Default)]
struct Connection {
    link: Option<Link<Tag>>,
    /// When it became ready.
    ready: Option<Time>,
    retry: Time,
    backoff: Duration,
    /// Why the last one ended.
    why: Option<String>,
    /// Whether it was closed to be opened again on another server.
    moving: bool,
}

/// Input from a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A publication. There may be more input.
    Publication {
        /// The channel.
        channel: Channel,
        /// The publication.
        payload: Vec<u8>,
    },
    /// All input is handled.
    NeedMore,
    /// The connection was dropped.
    Closed,
}

impl Connections {
    /// Applies a new configuration. Returns whether both connections were dropped because the server, the channel, the
    /// key prefix or the heartbeat changed.
    pub fn configure(&mut self, redis: &Redis, longest: u64, cx: &mut Context<'_>) -> bool {
        let other = self.settings.as_ref().is_none_or(|old| !old.has_connection_of(redis));
        let on = redis.url.is_some();
        self.queue.configure(redis.buffer as usize, redis.buffer_age);
        self.settings = Some(redis.clone());
        self.node = cx.shared.publisher.node().into();
        self.longest = longest;
        self.upkeep.configure(redis, &self.node);
        self.scans.configure(redis);
        if other {
            for role in ROLES {
                self.drop_connection(role, Unproven::Drop, cx);
                self.ends[role as usize] = Connection::default();
            }
            self.upkeep = Upkeep::default();
            self.upkeep.configure(redis, &self.node);
            (self.others, self.hold, self.placement) = (0, None, Placement::default());
            if !on {
                self.queue = SendQueue::default();
            }
            self.status.reset(on);
            self.show_status(cx.shared);
        }
        // After the connections are dropped: dropping them puts unconfirmed records back, which this discards if the
        // cluster is off.
        cx.shared.records.switch(on, cx.state);
        other
    }

    /// The server to connect to; `None` if the cluster is off.
    pub fn url(&self) -> Option<&RedisUrl> {
        self.settings.as_ref()?.url.as_ref()
    }

    /// The settings of TLS, if the connections use it.
    pub fn tls(&self) -> Option<&ClientTls> {
        self.settings.as_ref()?.tls.as_ref()
    }

    /// Whether a connection should be opened now.
    pub fn should_connect(&self, role: Role, now: Time) -> bool {
        let end = &self.ends[role as usize];
        self.url().is_some() && end.link.is_none() && end.retry <= now
    }

    /// Reports that a connection is being opened.
    pub fn begin_connection(&mut self, role: Role, now: Time) {
        let Some((settings, url)) = self.settings.as_ref().and_then(|redis| Some((redis, redis.url.as_ref()?))) else {
            return;
        };
        let (name, channels) = match role {
            Role::Subscriber => {
                let own = [Channel::Messages, Channel::Commands, Channel::Relay(self.node.clone())];
                (format!("relay-{}-in", self.node), own.map(|channel| channel.name(&settings.channel)).to_vec())
            }
            Role::Publisher => (format!("relay-{}", self.node), Vec::new()),
        };
        let channels: Vec<&str> = channels.iter().map(String::as_str).collect();
        let link = Link::new(role, url, &name, &channels, self.longest, settings.heartbeat, now);
        self.ends[role as usize].link = Some(link);
    }

    /// Whether a connection is open, or being opened.
    pub fn has_link(&self, role: Role) -> bool {
        self.ends[role as usize].link.is_some()
    }

    /// Whether the handshake of a connection is complete.
    pub fn is_ready(&self, role: Role) -> bool {
        self.ends[role as usize].ready.is_some()
    }

    /// The bytes to be written to a connection.
    pub fn output(&self, role: Role) -> &[u8] {
        self.ends[role as usize].link.as_ref().map_or(&[], Link::output)
    }

    /// Reports that `count` bytes of the output were written.
    pub fn advance_output(&mut self, role: Role, count: usize) {
        if let Some(link) = &mut self.ends[role as usize].link {
            link.advance_output(count);
        }
    }

    /// Handles input up to the next publication.
    pub fn poll_input(&mut self, role: Role, input: &mut &[u8], cx: &mut Context<'_>) -> Input {
        loop {
            let Some(link) = &mut self.ends[role as usize].link else { return Input::Closed };
            let event = match link.poll_event(input, cx.state.now.time) {
                Ok(Some(event)) => event,
                Ok(None) => return Input::NeedMore,
                Err(failure) => {
                    self.fail(role, &failure, cx);
                    return Input::Closed;
                }
            };
            match event {
                Event::Ready => self.handle_ready(role, cx),
                Event::Message { channel, payload: Reply::Bulk(payload) } => {
                    let main = self.settings.as_ref().map_or("", |settings| &settings.channel);
                    let channel = Channel::from_name(&channel, main, &self.node);
                    return Input::Publication { channel, payload };
                }
                Event::Message { payload: Reply::TooLong(bytes), .. } => {
                    cx.refuse(&Refused::TooLong { bytes, longest: self.longest }, "");
                }
                Event::Message { .. } => {}
                Event::Reply(tag, reply) => {
                    if let Err(failure) = self.handle_reply(tag, reply, cx) {
                        self.fail(role, &failure, cx);
                        return Input::Closed;
                    }
                }
            }
        }
    }

    /// Reports that a connection has ended or could not be opened.
    pub fn handle_end(&mut self, role: Role, why: &str, cx: &mut Context<'_>) {
        self.fail(role, &Failure::Lost(why.into()), cx);
    }

    fn handle_ready(&mut self, role: Role, cx: &mut Context<'_>) {
        let now = cx.state.now.time;
        cx.state.stats.redis_connects += 1;
        let end = &mut self.ends[role as usize];
        (end.ready, end.why, end.moving) = (Some(now), None, false);
        if self.ends[Role::Publisher as usize].ready.is_some() {
            self.placement.begin(now);
        }
        if role == Role::Publisher {
            (self.next_proof, self.proving) = (now, false);
            self.upkeep.begin(cx.state);
            cx.shared.publisher.hello(cx.state);
            // No other relay pauses longer than this before it reconnects. After a short outage all pause for less, but a
            // relay on a busy machine may come late, and would miss what is published before.
            self.hold = (self.others > 0).then(|| Hold::new(self.others, LAST_BACKOFF * 3 / 2, now));
        }
        self.update_status(cx);
    }

    fn handle_reply(&mut self, tag: Tag, reply: Reply, cx: &mut Context<'_>) -> Result<(), Failure> {
        let now = cx.state.now.time;
        if tag == Tag::Subscribers {
            self.hold.take_if(|hold| hold.handle_count(reply, now));
            return Ok(());
        }
        if tag == Tag::OwnSubscription {
            let subscribed = self.ends[Role::Subscriber as usize].ready;
            if self.placement.handle_count(reply, subscribed, self.heartbeat(), now) {
                self.move_subscription(cx);
            }
            return Ok(());
        }
        let publication = matches!(tag, Tag::Publish(_));
        if let Reply::Error(why) = &reply {
            if let Some(failure) = Failure::of_command(why) {
                return Err(failure);
            }
            cx.state.stats.redis_errors += 1;
            self.status.handle_error(why, publication, now);
            self.update_status(cx);
        } else if publication && self.status.handle_published() {
            self.update_status(cx);
        }
        let Some(link) = &mut self.ends[Role::Publisher as usize].link else { return Ok(()) };
        match tag {
            Tag::Publish(number) => self.queue.confirm(number),
            Tag::Proof(number) => {
                // Even an error proves it: a replica would have said READONLY.
                self.proving = false;
                self.queue.prove(number);
            }
            Tag::Scan(topic, number) => self.scans.handle_part((topic, number), reply, link, cx),
            Tag::Count(number, index) => self.scans.handle_count(number, index, &reply, cx),
            tag => self.upkeep.handle_reply(tag, reply, link, cx),
        }
        Ok(())
    }

    /// Queues new publications, and sends what can be sent.
    pub fn pump(&mut self, cx: &mut Context<'_>) {
        let now = cx.state.now.time;
        let Some(settings) = &self.settings else { return };
        let subscribed = self.ends[Role::Subscriber as usize].ready;
        let end = &mut self.ends[Role::Publisher as usize];
        for publication in cx.shared.publisher.take() {
            if publication.volatile && end.ready.is_none() {
                cx.state.stats.redis_dropped += 1;
                continue;
            }
            let mut command = Vec::with_capacity(publication.payload.len() + 64);
            let channel = publication.channel.name(&settings.channel);
            resp::command(&mut command, &[b"PUBLISH", channel.as_bytes(), &publication.payload]);
            let sending = end.ready.is_some() && self.hold.is_none();
            self.queue.push(command, publication.volatile, sending, now);
        }
        if let (Some(link), Some(_)) = (&mut end.link, end.ready) {
            self.hold.take_if(|hold| hold.is_over(now) || self.upkeep.is_stopping());
            match &mut self.hold {
                Some(hold) => {
                    if hold.take_look(now) {
                        let channel = Channel::Commands.name(&settings.channel);
                        link.command(&[b"PUBSUB", b"NUMSUB", channel.as_bytes()], Tag::Subscribers, now);
                    }
                }
                None => self.queue.expire(now),
            }
            while self.hold.is_none()
                && !link.is_full()
                && let Some((command, number)) = self.queue.poll_send()
            {
                link.send(command, Tag::Publish(number), now);
            }
            if let Some(number) = self.queue.unproven().filter(|_| !self.proving && self.next_proof <= now) {
                (self.next_proof, self.proving) = (now.after(settings.heartbeat.min(PROOF)), true);
                self.upkeep.prove(number, link, now);
            }
            if self.placement.take_check(subscribed, settings.heartbeat, now) {
                let channel = Channel::Relay(self.node.clone()).name(&settings.channel);
                link.command(&[b"PUBSUB", b"NUMSUB", channel.as_bytes()], Tag::OwnSubscription, now);
            }
            self.upkeep.pump(link, cx);
            self.scans.pump(link, cx);
        }
        cx.state.stats.redis_dropped += self.queue.take_dropped();
    }

    /// When to call [`Connections::pump`] and [`Connections::handle_timeout`] next. With `dials`, also when to open a
    /// connection.
    pub fn deadline(&self, dials: bool) -> Time {
        if self.url().is_none() {
            return Time::NEVER;
        }
        let retry = |end: &Connection| if dials { end.retry } else { Time::NEVER };
        let end = |end: &Connection| end.link.as_ref().map_or_else(|| retry(end), Link::poll_timeout);
        let mut next = self.ends.iter().map(end).min().unwrap_or(Time::NEVER).min(self.scans.deadline());
        if self.ends[Role::Publisher as usize].ready.is_some() {
            next = next.min(self.upkeep.deadline()).min(self.placement.deadline());
            if !self.proving && self.queue.unproven().is_some() {
                next = next.min(self.next_proof);
            }
            next = next.min(self.hold.as_ref().map_or(Time::NEVER, Hold::deadline));
        }
        next
    }

    /// Handles deadlines that have passed, and drops connections on which a reply is overdue.
    pub fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        if self.url().is_none() {
            return;
        }
        let now = cx.state.now.time;
        for role in ROLES {
            if let Some(link) = &mut self.ends[role as usize].link
                && let Err(failure) = link.handle_timeout(now)
            {
                self.fail(role, &failure, cx);
            }
        }
        self.queue.expire(now);
        cx.state.stats.redis_dropped += self.queue.take_dropped();
        if self.status.wants_probe(self.heartbeat(), now) {
            cx.shared.publisher.probe(cx.state);
        }
        self.scans.expire(cx);
        cx.shared.cached.expire(now);
        self.update_status(cx);
    }

    /// Begins to leave the cluster at shutdown: publishes `bye`, and removes this relay's records from Redis.
    pub fn leave(&mut self, shared: &mut Shared, state: &mut State) {
        if !self.upkeep.is_stopping() {
            shared.publisher.bye(state);
            self.upkeep.stop();
        }
    }

    /// Whether nothing is left to send after [`Connections::leave`], or nothing can be sent.
    pub fn is_done(&self, shared: &Shared, state: &State) -> bool {
        let ready = self.ends[Role::Publisher as usize].ready.is_some();
        self.url().is_none() || !ready || (self.queue.is_empty() && self.upkeep.has_stopped(shared, state))
    }

    fn heartbeat(&self) -> Duration {
        self.settings.as_ref().map_or(Duration::ZERO, |settings| settings.heartbeat)
    }

    fn fail(&mut self, role: Role, failure: &Failure, cx: &mut Context<'_>) {
        let now = cx.state.now.time;
        let why = truncate(&failure.to_string(), LONGEST_WHY).to_owned();
        if let (Role::Publisher, Some(ready)) = (role, self.ends[role as usize].ready) {
            // Shortly after connecting, the list of relays is incomplete, because some have not reconnected yet. So
            // keep the number from before.
            let incomplete = self.hold.is_some() || now.since(ready) < self.heartbeat() * 2;
            let before = if incomplete { self.others } else { 0 };
            self.others = before.max(cx.shared.nodes.alive.len());
        }
        let demoted = *failure == Failure::Replica;
        self.drop_connection(role, if demoted { Unproven::Repeat } else { Unproven::Drop }, cx);
        if role == Role::Publisher {
            self.status.handle_end();
            self.placement.handle_end(demoted);
        }
        self.failures += 1;
        let end = &mut self.ends[role as usize];
        // Only a connection that lasted for a while resets the pause.
        let lasted = end.ready.take().is_some_and(|since| now.since(since) > LAST_BACKOFF);
        end.backoff = if lasted { FIRST_BACKOFF } else { (end.backoff * 2).clamp(FIRST_BACKOFF, LAST_BACKOFF) };
        // Relays that lost Redis at the same time should not reconnect at the same time.
        let seed = self.node.bytes().fold(self.failures, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let percent = 50 + (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 % 100;
        end.retry = now.after(end.backoff * percent / 100);
        (end.why, end.moving) = (Some(why), false);
        self.update_status(cx);
    }

    /// Opens the subscription again, because it is on another server than the connection for commands. The link counts
    /// as complete meanwhile, unless that fails.
    fn move_subscription(&mut self, cx: &mut Context<'_>) {
        if let Some(url) = self.url() {
            info!("redis: {url}: the subscription is on a different server than the commands; subscribing again");
        }
        self.drop_connection(Role::Subscriber, Unproven::Drop, cx);
        let end = &mut self.ends[Role::Subscriber as usize];
        (end.ready, end.retry, end.moving) = (None, cx.state.now.time, true);
    }

    /// Drops a connection. Publications and records that Redis did not confirm are kept for the next connection.
    fn drop_connection(&mut self, role: Role, unproven: Unproven, cx: &mut Context<'_>) {
        self.ends[role as usize].link = None;
        if role == Role::Publisher {
            self.queue.restart(unproven);
            self.upkeep.handle_end(cx);
            self.scans.handle_end(cx);
            cx.shared.nodes.disconnect();
        }
    }

    fn update_status(&mut self, cx: &mut Context<'_>) {
        let heartbeat = self.heartbeat();
        let Some(url) = self.settings.as_ref().and_then(|settings| settings.url.as_ref()) else { return };
        let unready = self.ends.iter().find(|end| end.ready.is_none() && !end.moving).map(|end| end.why.as_deref());
        self.status.update(unready, heartbeat, (url, &self.node), cx.log, cx.state.now.time);
        self.show_status(cx.shared);
    }

    fn show_status(&self, shared: &mut Shared) {
        shared.health = self.status.public();
        let connected = self.ends[Role::Publisher as usize].ready.is_some();
        shared.cached.switch(self.url().is_some(), connected);
    }
}

const ROLES: [Role; 2] = [Role::Subscriber, Role::Publisher];
/// The pause before reconnecting doubles from `FIRST_BACKOFF` to `LAST_BACKOFF`.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(5);
/// The time between writes that prove publications, unless heartbeats are more frequent.
const PROOF: Duration = Duration::from_secs(1);
