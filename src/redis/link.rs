//! One connection to Redis: authentication, then either commands and replies or subscriptions, and a time-out for a
//! server that does not respond.

use core::time::Duration;
use std::{collections::VecDeque, mem};

use super::{
    failure::Failure,
    resp::{self, Reader, Reply},
};
use crate::{
    clock::Time,
    config::{RedisUrl, Secret},
};

/// The role of a connection: in RESP2, a connection with subscriptions cannot send other commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Receives published messages.
    Subscriber,
    /// Sends commands.
    Publisher,
}

/// An event in the input of a connection. `T` is the tag by which the owner identifies its commands.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<T> {
    /// The connection is ready: it may send commands, or its subscriptions are confirmed.
    Ready,
    /// A message was published.
    Message {
        /// The channel.
        channel: Vec<u8>,
        /// The message: [`Reply::Bulk`], or [`Reply::TooLong`].
        payload: Reply,
    },
    /// The reply to the command with this tag.
    Reply(T, Reply),
}

/// The state of a connection.
pub struct Link<T> {
    role: Role,
    reader: Reader,
    ready: bool,
    /// Bytes to send, of which `written` are sent.
    output: Vec<u8>,
    written: usize,
    /// The replies that will arrive, in order, and when their commands were sent.
    expected: VecDeque<(Expected<T>, Time)>,
    /// Subscriptions that are not confirmed.
    unconfirmed: usize,
    /// When the last bytes arrived.
    heard: Time,
    /// When an unanswered PING was sent.
    pinged: Option<Time>,
    heartbeat: Duration,
    tls: bool,
    /// The password, to remove it from error texts.
    password: Option<Secret>,
}

/// A reply that will arrive.
enum Expected<T> {
    /// Of the handshake: an error makes the connection unusable.
    Needed,
    /// Of the handshake: an error is ignored.
    Ignored,
    /// Of the handshake: the description of the server. A server without HELLO (Redis 5) answers with an error.
    Hello,
    /// The last one of the handshake: makes the connection ready.
    Last,
    /// The reply to a command of the owner.
    Own(T),
}

impl<T> Link<T> {
    /// A connection that was opened at `now`. Queues the handshake: AUTH, CLIENT SETNAME with `name`, SELECT, HELLO, and
    /// SUBSCRIBE to `channels` or PING. Strings of more than `max_string` bytes are skipped. A server that sends nothing for two
    /// `heartbeat`s counts as lost.
    pub fn new(
        role: Role,
        url: &RedisUrl,
        name: &str,
        channels: &[&str],
        max_string: u64,
        heartbeat: Duration,
        now: Time,
    ) -> Link<T> {
        let mut link = Link {
            role,
            reader: Reader::new(max_string),
            ready: false,
            output: Vec::new(),
            written: 0,
            expected: VecDeque::new(),
            unconfirmed: channels.len(),
            heard: now,
            pinged: None,
            heartbeat,
            tls: url.tls,
            password: url.password.clone(),
        };
        if let Some(password) = &url.password {
            let password = password.expose().as_bytes();
            match url.user.as_str() {
                "" => link.handshake(&[b"AUTH", password], Expected::Needed, now),
                user => link.handshake(&[b"AUTH", user.as_bytes(), password], Expected::Needed, now),
            }
        }
        // The name helps operators who list the clients. The user may lack the permission, so an error is ignored.
        link.handshake(&[b"CLIENT", b"SETNAME", name.as_bytes()], Expected::Ignored, now);
        if url.database != 0 {
            link.handshake(&[b"SELECT", url.database.to_string().as_bytes()], Expected::Needed, now);
        }
        // Says whether the server is a master. It needs no permission.
        link.handshake(&[b"HELLO", b"2"], Expected::Hello, now);
        match role {
            Role::Publisher => link.handshake(&[b"PING"], Expected::Last, now),
            Role::Subscriber => {
                resp::begin(&mut link.output, channels.len() + 1);
                resp::part(&mut link.output, b"SUBSCRIBE");
                channels.iter().for_each(|channel| resp::part(&mut link.output, channel.as_bytes()));
            }
        }
        link
    }

    /// Queues a command of the handshake.
    fn handshake(&mut self, parts: &[&[u8]], expected: Expected<T>, now: Time) {
        resp::command(&mut self.output, parts);
        self.expected.push_back((expected, now));
    }

    /// Whether the handshake is complete.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Queues an encoded command.
    pub fn send(&mut self, bytes: &[u8], tag: T, now: Time) {
        self.output.extend_from_slice(bytes);
        self.expected.push_back((Expected::Own(tag), now));
    }

    /// Encodes and queues a command.
    pub fn command(&mut self, parts: &[&[u8]], tag: T, now: Time) {
        resp::command(&mut self.output, parts);
        self.expected.push_back((Expected::Own(tag), now));
    }

    /// Whether 256 KiB are unsent: the owner should keep further commands itself.
    pub fn is_full(&self) -> bool {
        self.output.len() - self.written > MAX_UNSENT
    }

    /// The bytes to write to the socket.
    pub fn output(&self) -> &[u8] {
        &self.output[self.written..]
    }

    /// Reports that `count` bytes of [`Link::output`] were written.
    pub fn advance_output(&mut self, count: usize) {
        self.written += count;
        if self.written == self.output.len() {
            self.output.clear();
            self.output.shrink_to(KEPT);
            self.written = 0;
        } else if self.written > MAX_UNSENT {
            self.output.drain(..self.written);
            self.written = 0;
        }
    }

    /// Returns the next event in `input`, the bytes that have arrived. Call it until it returns `None`.
    pub fn poll_event(&mut self, input: &mut &[u8], now: Time) -> Result<Option<Event<T>>, Failure> {
        if !input.is_empty() {
            self.heard = now;
            self.pinged = None;
        }
        loop {
            let reply = self.reader.poll(input).map_err(|malformed| Failure::Lost(malformed.to_string()))?;
            let Some(reply) = reply else { return Ok(None) };
            if let Some(event) = self.handle_reply(reply)? {
                return Ok(Some(event));
            }
        }
    }

    fn handle_reply(&mut self, reply: Reply) -> Result<Option<Event<T>>, Failure> {
        if self.role == Role::Subscriber
            && self.expected.is_empty()
            && let Reply::Array(parts) = reply
        {
            return Ok(self.handle_push(parts));
        }
        let expected = self.expected.pop_front().map(|(expected, _)| expected);
        let refusal = |reply: &Reply| match reply {
            Reply::Error(why) => Some(Failure::Refused(self.without_password(why))),
            _ => None,
        };
        match expected {
            Some(Expected::Own(tag)) => Ok(Some(Event::Reply(tag, reply))),
            // If a password is required and missing, SETNAME fails too; the next reply reports it.
            Some(Expected::Ignored) => Ok(None),
            Some(Expected::Hello) => Failure::of_hello(reply).map_or(Ok(None), Err),
            Some(Expected::Needed) => refusal(&reply).map_or(Ok(None), Err),
            Some(Expected::Last) => match refusal(&reply) {
                Some(failure) => Err(failure),
                None => {
                    self.ready = true;
                    Ok(Some(Event::Ready))
                }
            },
            None => Err(refusal(&reply).unwrap_or_else(|| Failure::Lost("a reply without a command".into()))),
        }
    }

    /// Removes the password from an error of the server: a server that does not know AUTH repeats the arguments in its
    /// error, truncated.
    fn without_password(&self, why: &str) -> String {
        let why = why.split(", with args").next().unwrap_or_default();
        match &self.password {
            Some(password) => why.replace(password.expose(), "***"),
            None => why.into(),
        }
    }

    /// Handles an array that a subscriber receives.
    fn handle_push(&mut self, mut parts: Vec<Reply>) -> Option<Event<T>> {
        let kind = parts.first().and_then(Reply::bytes).unwrap_or_default();
        match (kind, parts.len()) {
            (b"message", 3) => {
                let payload = parts.pop()?;
                let Some(Reply::Bulk(channel)) = parts.pop() else { return None };
                Some(Event::Message { channel, payload })
            }
            (b"subscribe", _) if !self.ready => {
                self.unconfirmed = self.unconfirmed.saturating_sub(1);
                self.ready = self.unconfirmed == 0;
                self.ready.then_some(Event::Ready)
            }
            _ => None,
        }
    }

    /// When to call [`Link::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Time {
        match (self.ready, self.role, self.pinged) {
            (true, Role::Subscriber, None) => self.heard.after(self.heartbeat),
            (true, Role::Subscriber, Some(pinged)) => pinged.after(self.reply_timeout()),
            _ => self.reply_deadline(),
        }
    }

    /// When a server that owes a reply counts as lost.
    fn reply_deadline(&self) -> Time {
        match (self.ready, self.expected.front()) {
            (true, None) => Time::NEVER,
            (true, Some((_, since))) => self.heard.max(*since).after(self.reply_timeout()),
            (false, _) => self.heard.after(self.reply_timeout()),
        }
    }

    /// How long a reply may take.
    fn reply_timeout(&self) -> Duration {
        self.heartbeat * 2
    }

    /// Sends a PING to an idle server. Fails with [`Failure::Lost`] if a reply is overdue.
    pub fn handle_timeout(&mut self, now: Time) -> Result<(), Failure> {
        if self.poll_timeout() > now {
            return Ok(());
        }
        if self.ready && self.role == Role::Subscriber && self.pinged.is_none() {
            resp::command(&mut self.output, &[b"PING"]);
            self.pinged = Some(now);
            return Ok(());
        }
        Err(Failure::Lost(
            match (self.ready, self.tls) {
                (true, _) => "it does not respond",
                (false, false) => "it did not respond to the handshake",
                (false, true) => "it did not respond to the handshake: does it speak TLS at this port?",
            }
            .into(),
        ))
    }

    /// Removes the tags of all unanswered commands and returns them in order.
    pub fn take_unanswered(&mut self) -> impl Iterator<Item = T> {
        mem::take(&mut self.expected).into_iter().filter_map(|(expected, _)| match expected {
            Expected::Own(tag) => Some(tag),
            _ => None,
        })
    }
}

/// Unsent bytes above which the owner should keep further commands itself.
const MAX_UNSENT: usize = 256 * 1024;
/// Bytes of an empty buffer that are kept for the next commands.
const KEPT: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    fn link(role: Role, url: &str) -> Link<u32> {
        let url = RedisUrl::parse(url).unwrap();
        let channels: &[&str] = if role == Role::Subscriber { &["a", "b"] } else { &[] };
        Link::new(role, &url, "relay-x", channels, 1000, Duration::from_secs(1), at(0))
    }

    fn sent(link: &mut Link<u32>) -> String {
        let text = String::from_utf8(link.output().to_vec()).unwrap();
        link.advance_output(text.len());
        text.split("\r\n")
            .filter(|line| !line.starts_with(['$', '*']) && !line.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn events(link: &mut Link<u32>, mut input: &[u8], millis: u64) -> Result<Vec<Event<u32>>, Failure> {
        let mut found = Vec::new();
        while let Some(event) = link.poll_event(&mut input, at(millis))? {
            found.push(event);
        }
        Ok(found)
    }

    #[test]
    fn handshakes() {
        let mut publisher = link(Role::Publisher, "redis://me:pw@h/3");
        assert_eq!(sent(&mut publisher), "AUTH me pw CLIENT SETNAME relay-x SELECT 3 HELLO 2 PING");
        assert_eq!(events(&mut publisher, b"+OK\r\n-NOPERM no\r\n+OK\r\n-ERR unknown\r\n", 1), Ok(vec![]));
        assert_eq!(events(&mut publisher, b"+PONG\r\n", 1), Ok(vec![Event::Ready]));
        let mut subscriber = link(Role::Subscriber, "redis://:pw@h");
        assert_eq!(sent(&mut subscriber), "AUTH pw CLIENT SETNAME relay-x HELLO 2 SUBSCRIBE a b");
        let confirmed = b"+OK\r\n+OK\r\n*2\r\n$4\r\nrole\r\n$6\r\nmaster\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n";
        assert_eq!(events(&mut subscriber, confirmed, 1), Ok(vec![]));
        let rest = b"*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n";
        let message = Event::Message { channel: b"a".to_vec(), payload: Reply::Bulk(b"hi".to_vec()) };
        assert_eq!(events(&mut subscriber, rest, 1), Ok(vec![Event::Ready, message]));
    }

    #[test]
    fn refusals() {
        for url in ["redis://:pw@h", "redis://h/99"] {
            let failure = match url.contains("pw") {
                true => events(&mut link(Role::Publisher, url), b"-WRONGPASS no\r\n", 1),
                false => events(&mut link(Role::Publisher, url), b"+OK\r\n-ERR index\r\n", 1),
            };
            assert!(matches!(failure, Err(Failure::Refused(_))), "{url}");
        }
        let noauth = events(&mut link(Role::Publisher, "redis://h"), b"-NOAUTH a\r\n-NOAUTH a\r\n-NOAUTH a\r\n", 1);
        assert_eq!(noauth, Err(Failure::Refused("NOAUTH a".into())));
        let subscriber = events(&mut link(Role::Subscriber, "redis://h"), b"+OK\r\n*0\r\n-NOPERM channel\r\n", 1);
        assert_eq!(subscriber, Err(Failure::Refused("NOPERM channel".into())));
        let said = b"-ERR unknown command 'AUTH', with args beginning with: 'se\r\n";
        let censored = events(&mut link(Role::Publisher, "redis://:secret@h"), said, 1);
        assert_eq!(censored, Err(Failure::Refused("ERR unknown command 'AUTH'".into())));
        assert!(matches!(
            events(&mut link(Role::Publisher, "redis://h"), b"HTTP/1.1 400\r\n", 1),
            Err(Failure::Lost(_))
        ));
    }

    /// A server that is not a master is not used; one that does not say what it is, is.
    #[test]
    fn roles() {
        for role in [Role::Publisher, Role::Subscriber] {
            let hello = |pairs: &[&str]| {
                let mut reply = b"+OK\r\n".to_vec();
                resp::command(&mut reply, &pairs.iter().map(|part| part.as_bytes()).collect::<Vec<_>>());
                events(&mut link(role, "redis://h"), &reply, 1)
            };
            assert_eq!(hello(&["server", "redis", "mode", "standalone", "role", "replica"]), Err(Failure::Replica));
            assert_eq!(hello(&["role", "slave"]), Err(Failure::Replica));
            assert!(matches!(hello(&["mode", "sentinel"]), Err(Failure::Lost(why)) if why.contains("sentinel://")));
            assert_eq!(hello(&["mode", "standalone", "role", "master", "modules"]), Ok(vec![]));
            assert_eq!(hello(&["server", "other"]), Ok(vec![]));
            assert_eq!(events(&mut link(role, "redis://h"), b"+OK\r\n-ERR unknown command\r\n", 1), Ok(vec![]));
        }
    }

    #[test]
    fn replies_have_the_order_of_commands() {
        let mut link = link(Role::Publisher, "redis://h");
        events(&mut link, b"+OK\r\n*0\r\n+PONG\r\n", 1).unwrap();
        for tag in 0..3 {
            link.command(&[b"GET", b"k"], tag, at(1));
        }
        let found = events(&mut link, b":1\r\n-ERR x\r\n", 2).unwrap();
        assert_eq!(found, [Event::Reply(0, Reply::Integer(1)), Event::Reply(1, Reply::Error("ERR x".into()))]);
        assert_eq!(link.take_unanswered().collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_silent_server_is_lost() {
        let mut silent = link(Role::Publisher, "redis://h");
        assert_eq!(silent.poll_timeout(), at(2000));
        assert!(silent.handle_timeout(at(1999)).is_ok() && silent.handle_timeout(at(2000)).is_err());

        let mut publisher = link(Role::Publisher, "redis://h");
        events(&mut publisher, b"+OK\r\n*0\r\n+PONG\r\n", 10).unwrap();
        assert_eq!(publisher.poll_timeout(), Time::NEVER);
        publisher.command(&[b"PING"], 1, at(5000));
        assert_eq!(publisher.poll_timeout(), at(7000));
        assert!(publisher.handle_timeout(at(7000)).is_err());

        let mut subscriber = link(Role::Subscriber, "redis://h");
        let hello =
            b"+OK\r\n*0\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n";
        events(&mut subscriber, hello, 10).unwrap();
        sent(&mut subscriber);
        assert_eq!(subscriber.poll_timeout(), at(1010));
        subscriber.handle_timeout(at(1010)).unwrap();
        assert_eq!((sent(&mut subscriber).as_str(), subscriber.poll_timeout()), ("PING", at(3010)));
        assert_eq!(events(&mut subscriber, b"*2\r\n$4\r\npong\r\n$0\r\n\r\n", 1500), Ok(vec![]));
        assert_eq!(subscriber.poll_timeout(), at(2500));
        subscriber.handle_timeout(at(2500)).unwrap();
        assert!(subscriber.handle_timeout(at(4499)).is_ok() && subscriber.handle_timeout(at(4500)).is_err());
    }
}
