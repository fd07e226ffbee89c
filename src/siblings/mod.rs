//! The link to siblings (contract section 10): when to connect to Redis and when to give a connection up, what is sent on
//! it in which order, and what its replies mean. Pure: the world moves the bytes and keeps the time.
//!
//! One connection subscribes and one does everything else. Local members never wait for either.

pub mod keys;
pub mod outgoing;
pub mod presence;
pub mod reading;

use core::time::Duration;

use log::{info, warn};

use self::{outgoing::Outgoing, presence::Presence, reading::Reading};
use crate::{
    clock::{Now, Time},
    config::{Redis, RedisUrl},
    hub::{
        Hub,
        census::Topic,
        siblings::{Channel, Health},
    },
    redis::{Event, Link, Reply, Role, link::Failure, resp},
};

/// What a reply belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tag {
    /// A publication.
    Publish(u64),
    /// A write of which only a failure matters.
    Write,
    /// A write of a batch of presence.
    Batch,
    /// Whether our key was still there.
    Alive,
    /// Whether one of our records was.
    Held,
    /// The list of relays.
    Nodes,
    /// Whether one of them lives.
    Breath(Box<str>),
    /// Whether it is we who clear up after one.
    Lock(Box<str>),
    /// Whether that one is still dead.
    StillDead,
    /// A piece of a list that is cleared up.
    Sweep,
    /// The day of a source's logins of today.
    Day(Box<str>),
    /// The same, taken over.
    NewDay(Box<str>),
    /// A piece of what somebody asked for, and which reading of it that is.
    Read(Topic, u64),
    /// A source's number in such a reading.
    Count(u64, usize),
    /// How many relays listen.
    Listeners,
}

/// The link.
#[derive(Default)]
pub struct Siblings {
    setup: Option<Redis>,
    url: Option<RedisUrl>,
    node: Box<str>,
    /// By [`Role`].
    ends: [End; 2],
    outgoing: Outgoing,
    presence: Presence,
    reading: Reading,
    /// What Redis refused last, and when.
    trouble: Option<(String, Time)>,
    /// That was to publish something: it is not well before something is published.
    mute: bool,
    health: Health,
    dials: u64,
    /// How many siblings there were when Redis was lost, and when that was.
    lost: Option<(usize, Time)>,
    hold: Option<Hold>,
}

/// What waits is not published before siblings, who lost Redis at the same time, are back to hear it.
struct Hold {
    /// How many have to listen, this relay included.
    listeners: usize,
    /// By then they have tried again.
    until: Time,
    /// When to look; nothing while that is being answered, or cannot be.
    look: Option<Time>,
}

/// One of the two connections.
#[derive(Default)]
struct End {
    link: Option<Link<Tag>>,
    /// When it introduced itself.
    ready: Option<Time>,
    retry: Time,
    backoff: Duration,
    why: Option<String>,
}

impl Siblings {
    /// Takes a new configuration. Whether the connections must be made anew: drop the sockets then.
    pub fn configure(&mut self, redis: &Redis, hub: &mut Hub, longest: u64) -> bool {
        let heart =
            |redis: &Redis| (redis.url.clone(), redis.channel.clone(), redis.key_prefix.clone(), redis.heartbeat);
        let other = self.setup.as_ref().is_none_or(|old| heart(old) != heart(redis));
        let on = redis.url.is_some();
        let secret = redis.secret.as_ref().map(|secret| secret.expose().as_bytes());
        let window = hub.config().sign_window.as_secs();
        hub.link_siblings(on.then_some((redis.trust_from_sys, secret, window)));
        self.outgoing.configure(redis.buffer as usize, redis.buffer_age);
        self.url = redis.url.clone();
        self.node = hub.siblings.node().into();
        self.setup = Some(redis.clone());
        self.presence.configure(redis, &self.node);
        self.reading.configure(redis, longest);
        if other {
            for role in [Role::Subscriber, Role::Publisher] {
                self.drop_end(role, hub, Time::START);
                self.ends[role as usize] = End::default();
            }
            self.presence = Presence::default();
            self.presence.configure(redis, &self.node);
            (self.lost, self.hold) = (None, None);
            (self.trouble, self.mute) = (None, false);
            self.health = Health::Off;
            if on {
                self.health = Health::Failing("not connected yet".into());
            } else {
                self.outgoing = Outgoing::default();
            }
            self.show_health(hub);
        }
        // Behind the end of the link, which takes back what was to be written.
        hub.roster.switch(on);
        other
    }

    /// Where to connect to; nothing: this relay is alone.
    pub fn url(&self) -> Option<&RedisUrl> {
        self.url.as_ref()
    }

    /// Whether that connection should be opened now.
    pub fn wants_dial(&self, role: Role, now: Time) -> bool {
        let end = &self.ends[role as usize];
        self.url.is_some() && end.link.is_none() && end.retry <= now
    }

    /// It is being opened.
    pub fn dialled(&mut self, role: Role, now: Time) {
        let (Some(url), Some(setup)) = (&self.url, &self.setup) else { return };
        let name = match role {
            Role::Subscriber => format!("relay-{}-in", self.node),
            Role::Publisher => format!("relay-{}", self.node),
        };
        let commands = format!("{}{COMMANDS}", setup.channel);
        let own = format!("{commands}:{}", self.node);
        let channels = [setup.channel.as_str(), &commands, &own];
        let channels: &[&str] = if role == Role::Subscriber { &channels } else { &[] };
        let longest = self.reading.longest();
        let link = Link::new(role, url, &name, channels, longest, setup.heartbeat, now);
        self.ends[role as usize].link = Some(link);
    }

    /// Whether that connection is open, or being opened.
    pub fn has_link(&self, role: Role) -> bool {
        self.ends[role as usize].link.is_some()
    }

    /// What is to be written there.
    pub fn output(&self, role: Role) -> &[u8] {
        self.ends[role as usize].link.as_ref().map_or(&[], Link::output)
    }

    /// So much of it was.
    pub fn wrote(&mut self, role: Role, count: usize) {
        if let Some(link) = &mut self.ends[role as usize].link {
            link.wrote(count);
        }
    }

    /// Takes what came, until there is no more or clients should be written to first. Whether the connection stands.
    pub fn handle_input(&mut self, role: Role, input: &mut &[u8], hub: &mut Hub, now: Now) -> bool {
        loop {
            let Some(link) = &mut self.ends[role as usize].link else { return false };
            let event = match link.poll_event(input, now.time) {
                Ok(Some(event)) => event,
                Ok(None) => return true,
                Err(failure) => {
                    self.fail(role, failure, hub, now.time);
                    return false;
                }
            };
            match event {
                Event::Ready => self.handle_ready(role, hub, now),
                Event::Message { channel, payload } => {
                    let channel = self.channel(&channel);
                    match payload {
                        Reply::Bulk(bytes) => hub.handle_published(&channel, &bytes, now),
                        Reply::TooLong(bytes) => hub.handle_too_long(bytes),
                        _ => {}
                    }
                }
                Event::Reply(tag, reply) => {
                    if let Err(failure) = self.handle_reply(tag, reply, hub, now) {
                        self.fail(role, failure, hub, now.time);
                        return false;
                    }
                }
            }
            if hub.is_pressed() {
                return true;
            }
        }
    }

    /// Which of ours a channel is.
    fn channel(&self, name: &[u8]) -> Channel {
        let main = self.setup.as_ref().map_or("", |setup| &setup.channel);
        match name.strip_prefix(main.as_bytes()) {
            Some(b"") => Channel::Messages,
            Some(rest) if rest == COMMANDS.as_bytes() => Channel::Commands,
            _ => Channel::Relay(self.node.clone()),
        }
    }

    /// A connection is over, or did not come about.
    pub fn handle_end(&mut self, role: Role, why: &str, hub: &mut Hub, now: Time) {
        self.fail(role, Failure::Lost(why.into()), hub, now);
    }

    fn handle_ready(&mut self, role: Role, hub: &mut Hub, now: Now) {
        hub.stats.redis_connects += 1;
        let end = &mut self.ends[role as usize];
        (end.ready, end.why) = (Some(now.time), None);
        if role == Role::Publisher {
            self.presence.begin(hub, now.time);
            hub.tell_presence(true);
            self.hold = self.lost.filter(|(siblings, _)| *siblings > 0).map(|(siblings, since)| {
                // Who waits twice as long each time has not waited longer than this, give or take what is random.
                let patience = (now.time.since(since) * 2 + FIRST_BACKOFF * 2).min(LAST_BACKOFF * 3 / 2);
                // What Redis has not seen the end of is gone after the first moment.
                let look = Some(now.time.after(LOOK));
                Hold { listeners: siblings + 1, until: now.time.after(patience), look }
            });
        }
        self.judge(hub, now.time);
    }

    fn handle_reply(&mut self, tag: Tag, reply: Reply, hub: &mut Hub, now: Now) -> Result<(), Failure> {
        if tag == Tag::Listeners {
            // Who may not ask waits for as long as it takes.
            if let (Some(hold), Some(count)) = (&mut self.hold, listeners(reply)) {
                hold.look = Some(now.time.after(LOOK));
                if count >= hold.listeners {
                    self.hold = None;
                }
            }
            return Ok(());
        }
        if let Reply::Error(why) = &reply {
            // It will be well in a moment: until then it is as if it were away.
            if ["LOADING", "MASTERDOWN", "TRYAGAIN"].iter().any(|word| why.starts_with(word)) {
                return Err(Failure::Lost(why.clone()));
            }
            hub.stats.redis_errors += 1;
            // Other commands may be refused too, but this is what siblings feel.
            let publish = matches!(tag, Tag::Publish(_));
            if publish || !self.mute {
                self.trouble = Some((why[..why.floor_char_boundary(LONGEST_WHY)].to_owned(), now.time));
                self.mute = publish;
            }
            self.judge(hub, now.time);
        } else if self.mute && matches!(tag, Tag::Publish(_)) {
            (self.mute, self.trouble) = (false, None);
            self.judge(hub, now.time);
        }
        let Some(link) = &mut self.ends[Role::Publisher as usize].link else { return Ok(()) };
        match tag {
            Tag::Publish(serial) => self.outgoing.confirm(serial),
            Tag::Read(topic, number) => self.reading.handle_piece((topic, number), reply, link, hub, now),
            Tag::Count(number, index) => self.reading.handle_count(number, index, &reply, hub, now),
            tag => self.presence.handle_reply(tag, reply, link, hub, now),
        }
        Ok(())
    }

    /// Takes what the hub wants to have told, and sends what can be sent.
    pub fn pump(&mut self, hub: &mut Hub, now: Now) {
        let Some(setup) = &self.setup else { return };
        for out in hub.siblings.take() {
            let mut command = Vec::with_capacity(out.payload.len() + 64);
            let channel = match &out.channel {
                Channel::Messages => setup.channel.clone(),
                Channel::Commands => format!("{}{COMMANDS}", setup.channel),
                Channel::Relay(node) => format!("{}{COMMANDS}:{node}", setup.channel),
            };
            resp::command(&mut command, &[b"PUBLISH", channel.as_bytes(), &out.payload]);
            if out.volatile && self.ends[Role::Publisher as usize].ready.is_none() {
                hub.stats.redis_dropped += 1;
            } else {
                let sending = self.ends[Role::Publisher as usize].ready.is_some() && self.hold.is_none();
                self.outgoing.push(command, out.volatile, sending, now.time);
            }
        }
        let end = &mut self.ends[Role::Publisher as usize];
        if let (Some(link), Some(_)) = (&mut end.link, end.ready) {
            self.hold.take_if(|hold| hold.until <= now.time || self.presence.is_leaving());
            match &mut self.hold {
                Some(hold) => {
                    if hold.look.take_if(|look| *look <= now.time).is_some() {
                        let channel = format!("{}{COMMANDS}", setup.channel);
                        link.command(&[b"PUBSUB", b"NUMSUB", channel.as_bytes()], Tag::Listeners, now.time);
                    }
                }
                None => self.outgoing.expire(now.time),
            }
            while self.hold.is_none()
                && !link.is_full()
                && let Some((command, serial)) = self.outgoing.poll_send()
            {
                link.send(command, Tag::Publish(serial), now.time);
            }
            self.presence.pump(link, hub, now);
            self.reading.pump(link, hub, now);
        }
        hub.stats.redis_dropped += self.outgoing.take_dropped();
    }

    /// When something is to be done, though nothing comes; unless it `dials`, no connection can be opened now.
    pub fn deadline(&self, dials: bool) -> Time {
        if self.url.is_none() {
            return Time::NEVER;
        }
        let retry = |end: &End| if dials { end.retry } else { Time::NEVER };
        let end = |end: &End| end.link.as_ref().map_or_else(|| retry(end), Link::poll_timeout);
        let mut next = self.ends.iter().map(end).min().unwrap_or(Time::NEVER).min(self.reading.deadline());
        if self.ends[Role::Publisher as usize].ready.is_some() {
            next = next.min(self.presence.deadline());
            if let Some(hold) = &self.hold {
                next = next.min(hold.until).min(hold.look.unwrap_or(Time::NEVER));
            }
        }
        next
    }

    /// Does what time brings; the connections that were given up by it are gone: [`Siblings::has_link`].
    pub fn handle_timeout(&mut self, hub: &mut Hub, now: Now) {
        if self.url.is_none() {
            return;
        }
        for role in [Role::Subscriber, Role::Publisher] {
            if let Some(link) = &mut self.ends[role as usize].link
                && let Err(failure) = link.handle_timeout(now.time)
            {
                self.fail(role, failure, hub, now.time);
            }
        }
        self.outgoing.expire(now.time);
        hub.stats.redis_dropped += self.outgoing.take_dropped();
        let heartbeat = self.setup.as_ref().map_or(Duration::ZERO, |setup| setup.heartbeat);
        if self.mute
            && let Some((_, since)) = &mut self.trouble
            && now.time.since(*since) >= heartbeat
        {
            *since = now.time;
            hub.try_to_tell();
        }
        self.reading.expire(hub, now);
        hub.census.sweep(now.time);
        self.judge(hub, now.time);
    }

    /// Relay takes its leave: its records are taken out, and siblings are told.
    pub fn leave(&mut self, hub: &mut Hub) {
        if !self.presence.is_leaving() {
            hub.tell_presence(false);
            self.presence.leave();
        }
    }

    /// Whether nothing more is to be told that can be told.
    pub fn is_done(&self, hub: &Hub) -> bool {
        let ready = self.ends[Role::Publisher as usize].ready.is_some();
        self.url.is_none() || !ready || (self.outgoing.is_empty() && self.presence.has_left(hub))
    }

    fn fail(&mut self, role: Role, failure: Failure, hub: &mut Hub, now: Time) {
        let mut why = failure.to_string();
        why.truncate(why.floor_char_boundary(LONGEST_WHY));
        let ready = self.ends[role as usize].ready;
        if let (Role::Publisher, Some(ready)) = (role, ready) {
            // After a moment with Redis it is not known yet who is there, and who was there before may not be back.
            let heartbeat = self.setup.as_ref().map_or(Duration::ZERO, |setup| setup.heartbeat);
            let (before, since) = match self.lost {
                Some((before, since)) if self.hold.is_some() => (before, since),
                Some((before, _)) if now.since(ready) < heartbeat * 2 => (before, now),
                _ => (0, now),
            };
            self.lost = Some((before.max(hub.siblings.known.len()), since));
        }
        self.drop_end(role, hub, now);
        if role == Role::Publisher {
            // It begins anew, perhaps as one who may: its greeting shows that.
            self.mute = false;
        }
        self.dials += 1;
        let end = &mut self.ends[role as usize];
        // Only what stood for a while shows that all is well.
        let stood = end.ready.take().is_some_and(|since| now.since(since) > LAST_BACKOFF);
        end.backoff = if stood { FIRST_BACKOFF } else { (end.backoff * 2).clamp(FIRST_BACKOFF, LAST_BACKOFF) };
        // Relays that lost Redis at the same time do not come back at the same time.
        let seed = self.node.bytes().fold(self.dials, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let spread = 50 + (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 % 100;
        end.retry = now.after(end.backoff * spread / 100);
        end.why = Some(why);
        self.judge(hub, now);
    }

    /// Forgets a connection, and takes back what was on its way.
    fn drop_end(&mut self, role: Role, hub: &mut Hub, now: Time) {
        self.ends[role as usize].link = None;
        if role == Role::Publisher {
            self.outgoing.restart();
            self.presence.handle_end(hub);
            self.reading.handle_end(hub, now);
            hub.siblings.known.clear();
            hub.census.relays.clear();
        }
    }

    /// How the link does, said once for each change.
    fn judge(&mut self, hub: &mut Hub, now: Time) {
        let Some(url) = &self.url else { return };
        let heartbeat = self.setup.as_ref().map_or(Duration::ZERO, |setup| setup.heartbeat);
        self.trouble.take_if(|(_, since)| !self.mute && now.since(*since) > heartbeat * 2);
        let ready = self.ends.iter().all(|end| end.ready.is_some());
        let why = self.ends.iter().find(|end| end.ready.is_none()).map(|end| end.why.as_deref());
        let health = match (ready, &self.trouble, why) {
            (true, None, _) => Health::Fine,
            (true, Some((why, _)), _) => Health::Failing(format!("it refuses commands: {why}")),
            // Not yet known.
            (false, _, Some(None) | None) => match &self.health {
                Health::Failing(why) => Health::Failing(why.clone()),
                _ => Health::Failing("not connected yet".into()),
            },
            (false, _, Some(Some(why))) => Health::Failing(why.to_owned()),
        };
        match (&self.health, &health) {
            (Health::Failing(_), Health::Fine) => {
                info!("redis: linked to {url} as {}", self.node);
                hub.journal.system("redis", |line| line.text("state", "linked"));
            }
            (Health::Fine, Health::Failing(why)) => {
                warn!("redis: {url}: {why}; members of this relay are served, siblings are not reached");
                hub.journal.system("redis", |line| line.text("state", why));
            }
            (Health::Failing(before), Health::Failing(why)) if before == NOT_YET && why != NOT_YET => {
                warn!("redis: {url}: {why}; trying again");
                hub.journal.system("redis", |line| line.text("state", why));
            }
            _ => {}
        }
        self.health = health;
        self.show_health(hub);
    }

    fn show_health(&self, hub: &mut Hub) {
        // A refusal may name users and keys: that is for the log. Its first word says what is the matter, mostly.
        let brief = |why: &String| {
            let (what, said) = why.split_once(": ").filter(|(what, _)| what.contains("refuse"))?;
            let code = said.split(' ').next().filter(|code| *code != "ERR")?;
            Some(format!("{what}: {code}"))
        };
        hub.siblings.health = match &self.health {
            Health::Failing(why) => Health::Failing(brief(why).unwrap_or_else(|| why.clone())),
            health => health.clone(),
        };
        let linked = self.ends[Role::Publisher as usize].ready.is_some();
        hub.census.switch(self.url.is_some(), linked);
    }
}

/// How many subscribe to the one channel that was asked for.
fn listeners(reply: Reply) -> Option<usize> {
    usize::try_from(reply.array()?.get(1)?.integer()?).ok()
}

/// What the channel of commands is called, beside that of messages.
const COMMANDS: &str = ":relay";
const NOT_YET: &str = "not connected yet";
/// How long to wait before connecting again: twice as long each time.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(5);
/// Bytes of a reason that are shown.
const LONGEST_WHY: usize = 200;
/// How often to look whether siblings are back.
const LOOK: Duration = Duration::from_millis(50);
