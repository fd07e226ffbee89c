//! One session of Engine.IO: what carries it, its heartbeat, its change from polling to a WebSocket.
//!
//! The engine decides and queues nothing itself: it says what a packet, a request or the clock means, and its owner, who
//! has the outbox, does it. There is one outbox and at most one connection that drains it, so nothing can be lost, doubled
//! or reordered while the transport changes: from the probe on nobody drains, from the upgrade on the WebSocket does.

use core::time::Duration;

use super::{Error, Revision, packet::Packet};
use crate::{clock::Time, key::ConnKey};

/// The intervals that a session announces.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// From one ping to the next.
    pub ping_interval: Duration,
    /// How long the other side may take to answer.
    pub ping_timeout: Duration,
    /// How long a session may be in no namespace.
    pub connect_timeout: Duration,
}

/// What carries a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Requests, of which one may be waiting for something to answer.
    Polling(Option<ConnKey>),
    /// The same, while a WebSocket tries to take over. Boxed, since it lasts a moment.
    Probing(Box<Probing>),
    /// A WebSocket.
    WebSocket(ConnKey),
}

const _: () = assert!(size_of::<Transport>() == 16);

/// The change from polling to a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probing {
    /// The request that waits.
    pub poll: Option<ConnKey>,
    /// The WebSocket.
    pub probe: ConnKey,
    /// Whether its probe was answered: from then on no poll brings messages.
    pub answered: bool,
    /// When it must have taken over.
    until: Time,
}

/// A session.
#[derive(Debug)]
pub struct Engine {
    /// Which protocol.
    pub revision: Revision,
    /// Whether binary packets must be base64 in bodies (revision 3, `b64=1`).
    pub base64: bool,
    /// What carries it.
    pub transport: Transport,
    /// The earliest look at it that is due already.
    pub armed: Time,
    /// The next ping, or the end if nothing is heard.
    heartbeat: Time,
    /// Whether no poll was answered yet.
    fresh: bool,
    /// Whether a ping waits for its answer.
    pinged: bool,
    /// When it must be in a namespace, or the attachments of a packet must have come.
    patience: Time,
}

const _: () = assert!(size_of::<Engine>() <= 48);

/// What its owner is to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing.
    Nothing,
    /// It is a message.
    Message,
    /// Send a pong with the ping's data.
    Pong,
    /// The client ends the session.
    Close,
}

/// What a deadline means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// Not yet.
    Nothing,
    /// Send a ping.
    Ping,
    /// The client is gone, or never came.
    Dead,
    /// The WebSocket that probed does not take over: close it.
    Probe(ConnKey),
}

/// What becomes of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// It waits for packets: flush the outbox into it.
    Waits,
    /// It is answered with a noop at once, so that the WebSocket can take over.
    Noop,
}

impl Engine {
    /// A session that was opened just now.
    pub fn new(revision: Revision, base64: bool, transport: Transport, timing: &Timing, now: Time) -> Engine {
        let mut engine = Engine {
            revision,
            base64,
            transport,
            armed: Time::NEVER,
            heartbeat: now,
            fresh: true,
            pinged: false,
            patience: now.after(timing.connect_timeout),
        };
        engine.heard(timing, now);
        engine
    }

    /// A packet came.
    pub fn handle_packet(&mut self, packet: &Packet<'_>, timing: &Timing, now: Time) -> Result<Meaning, Error> {
        if self.revision == Revision::V3 {
            // Its heartbeat is the client's, and whatever it says is a sign of life.
            self.heard(timing, now);
        }
        match (packet, self.revision) {
            (Packet::Text(_) | Packet::Binary(_), _) => Ok(Meaning::Message),
            (Packet::Ping(_), Revision::V3) => Ok(Meaning::Pong),
            (Packet::Pong(_), Revision::V4) => {
                self.heard(timing, now);
                Ok(Meaning::Nothing)
            }
            (Packet::Close, _) => Ok(Meaning::Close),
            (Packet::Noop | Packet::Upgrade, _) => Ok(Meaning::Nothing),
            (Packet::Ping(_), Revision::V4) | (Packet::Pong(_), Revision::V3) => {
                Err(Error::Malformed("the heartbeat goes the other way"))
            }
            (Packet::Open(_), _) => Err(Error::Malformed("that packet makes no sense here")),
        }
    }

    fn heard(&mut self, timing: &Timing, now: Time) {
        self.pinged = false;
        self.heartbeat = match self.revision {
            Revision::V3 => now.after(timing.ping_interval + timing.ping_timeout),
            Revision::V4 => now.ping_after(timing.ping_interval),
        };
    }

    /// Whether the session is in some namespace now, which it must be before long, and whether it owes attachments.
    pub fn set_state(&mut self, connected: bool, assembling: bool, timing: &Timing, now: Time) {
        self.patience = match (connected, assembling) {
            (_, true) => now.after(ASSEMBLY_PATIENCE),
            (true, false) => Time::NEVER,
            (false, false) => now.after(timing.connect_timeout),
        };
    }

    /// When to call [`Engine::handle_timeout`].
    pub fn poll_timeout(&self) -> Time {
        let probe = match &self.transport {
            Transport::Probing(probing) => probing.until,
            _ => Time::NEVER,
        };
        self.heartbeat.min(self.patience).min(probe)
    }

    /// The clock has moved. Ask again until nothing is due.
    pub fn handle_timeout(&mut self, timing: &Timing, now: Time) -> Expired {
        if self.patience <= now {
            return Expired::Dead;
        }
        if self.heartbeat <= now {
            if self.revision == Revision::V3 || self.pinged {
                return Expired::Dead;
            }
            self.pinged = true;
            // From when it was due, not from when we got to it: both sides count on the sum.
            self.heartbeat = self.heartbeat.after(timing.ping_timeout);
            return Expired::Ping;
        }
        match &self.transport {
            Transport::Probing(probing) if probing.until <= now => {
                let Probing { poll, probe, .. } = **probing;
                self.transport = Transport::Polling(poll);
                Expired::Probe(probe)
            }
            _ => Expired::Nothing,
        }
    }

    /// A poll came on a connection. A second one beside it is an error that ends the session.
    pub fn handle_poll(&mut self, conn: ConnKey) -> Result<Polled, Error> {
        let (poll, answered) = match &mut self.transport {
            Transport::Polling(poll) => (poll, false),
            Transport::Probing(probing) => (&mut probing.poll, probing.answered),
            Transport::WebSocket(_) => return Err(Error::BadRequest("the session has another transport")),
        };
        if poll.is_some() {
            return Err(Error::BadRequest("two polls at once"));
        }
        if answered {
            return Ok(Polled::Noop);
        }
        *poll = Some(conn);
        Ok(Polled::Waits)
    }

    /// Whether packets may come by POST now.
    pub fn takes_posts(&self) -> bool {
        !matches!(self.transport, Transport::WebSocket(_))
    }

    /// How many packets the next poll's answer may have. The first brings the handshake and, in revision 3, that `/` was
    /// joined: some clients are not ready for more before they have handled it.
    pub fn most_packets(&self) -> usize {
        match (self.fresh, self.revision) {
            (true, Revision::V3) => 2,
            (true, Revision::V4) => 1,
            (false, _) => MOST_PACKETS,
        }
    }

    /// The poll that waits, taken to be answered.
    pub fn take_poll(&mut self) -> Option<ConnKey> {
        self.fresh = false;
        match &mut self.transport {
            Transport::Polling(poll) => poll.take(),
            Transport::Probing(probing) => probing.poll.take(),
            Transport::WebSocket(_) => None,
        }
    }

    /// A WebSocket wants to take over.
    pub fn handle_probe(&mut self, probe: ConnKey, now: Time) -> Result<(), Error> {
        match self.transport {
            Transport::Polling(poll) => {
                let until = now.after(UPGRADE_PATIENCE);
                self.transport = Transport::Probing(Box::new(Probing { poll, probe, answered: false, until }));
                Ok(())
            }
            Transport::Probing(_) => Err(Error::BadRequest("another WebSocket is about to take over")),
            Transport::WebSocket(_) => Err(Error::BadRequest("the session has a WebSocket already")),
        }
    }

    /// The probe's ping came, and gets its pong; the poll that waits is to be answered with a noop.
    pub fn answer_probe(&mut self) -> Option<ConnKey> {
        let Transport::Probing(probing) = &mut self.transport else { return None };
        probing.answered = true;
        probing.poll.take()
    }

    /// The WebSocket takes over. It must have been answered; a poll that waits even so is to be answered with a noop.
    pub fn upgrade(&mut self) -> Result<Option<ConnKey>, Error> {
        match &self.transport {
            Transport::Probing(probing) if probing.answered => {
                let Probing { poll, probe, .. } = **probing;
                self.transport = Transport::WebSocket(probe);
                Ok(poll)
            }
            _ => Err(Error::Malformed("an upgrade without a probe")),
        }
    }

    /// A connection is gone: whether the session goes with it. A WebSocket that only probed leaves polling as it was.
    pub fn handle_end(&mut self, conn: ConnKey) -> bool {
        match &self.transport {
            Transport::Probing(probing) if probing.probe == conn => {
                self.transport = Transport::Polling(probing.poll);
                false
            }
            Transport::Probing(probing) => probing.poll == Some(conn),
            Transport::Polling(poll) => *poll == Some(conn),
            Transport::WebSocket(carrier) => *carrier == conn,
        }
    }
}

/// Packets in one body: python-engineio's clients refuse more.
const MOST_PACKETS: usize = 16;
/// How long a WebSocket may probe (engine.io's `upgradeTimeout`).
const UPGRADE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a packet's attachments may take.
const ASSEMBLY_PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Handle, Key};

    const TIMING: Timing = Timing {
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        connect_timeout: Duration::from_millis(1000),
    };

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    fn conn(number: u64) -> ConnKey {
        ConnKey::wrap(Key::from_bits((1 << 32) | number).unwrap())
    }

    fn engine(revision: Revision) -> Engine {
        Engine::new(revision, false, Transport::Polling(None), &TIMING, at(0))
    }

    #[test]
    fn revision_4_is_pinged_and_must_answer_in_time() {
        let mut engine = engine(Revision::V4);
        engine.set_state(true, false, &TIMING, at(0));
        assert_eq!((engine.poll_timeout(), engine.handle_timeout(&TIMING, at(299))), (at(300), Expired::Nothing));
        assert_eq!(engine.handle_timeout(&TIMING, at(310)), Expired::Ping);
        assert_eq!(engine.poll_timeout(), at(500), "counted from when the ping was due");
        assert_eq!(engine.handle_packet(&Packet::Pong(""), &TIMING, at(400)), Ok(Meaning::Nothing));
        assert_eq!(engine.poll_timeout(), at(700));
        assert_eq!(engine.handle_timeout(&TIMING, at(700)), Expired::Ping);
        // Only a pong is an answer.
        assert_eq!(engine.handle_packet(&Packet::Text("x"), &TIMING, at(800)), Ok(Meaning::Message));
        assert_eq!(engine.handle_timeout(&TIMING, at(899)), Expired::Nothing);
        assert_eq!(engine.handle_timeout(&TIMING, at(900)), Expired::Dead);
        assert!(engine.handle_packet(&Packet::Ping(""), &TIMING, at(900)).is_err());
    }

    #[test]
    fn revision_3_pings_by_itself() {
        let mut engine = engine(Revision::V3);
        engine.set_state(true, false, &TIMING, at(0));
        assert_eq!(engine.poll_timeout(), at(500));
        assert_eq!(engine.handle_packet(&Packet::Ping(""), &TIMING, at(300)), Ok(Meaning::Pong));
        assert_eq!(engine.handle_packet(&Packet::Text(""), &TIMING, at(700)), Ok(Meaning::Message));
        assert_eq!(engine.handle_timeout(&TIMING, at(1199)), Expired::Nothing);
        assert_eq!(engine.handle_timeout(&TIMING, at(1200)), Expired::Dead);
        assert!(engine.handle_packet(&Packet::Pong(""), &TIMING, at(0)).is_err());
    }

    #[test]
    fn who_joins_no_namespace_is_gone() {
        let timing = Timing { ping_interval: Duration::from_secs(25), ..TIMING };
        let mut engine = Engine::new(Revision::V4, false, Transport::Polling(None), &timing, at(0));
        assert_eq!(engine.poll_timeout(), at(1000));
        engine.set_state(true, false, &timing, at(500));
        assert_eq!(engine.handle_timeout(&timing, at(1000)), Expired::Nothing);
        engine.set_state(false, false, &timing, at(2000));
        assert_eq!(engine.handle_timeout(&timing, at(2999)), Expired::Nothing);
        assert_eq!(engine.handle_timeout(&timing, at(3000)), Expired::Dead);
        engine.set_state(true, false, &timing, at(3000));
        engine.set_state(true, true, &timing, at(3000));
        assert_eq!(engine.handle_timeout(&timing, at(33_000)), Expired::Dead);
    }

    #[test]
    fn two_polls_at_once_are_one_too_many() {
        let mut engine = engine(Revision::V4);
        assert_eq!(engine.handle_poll(conn(1)), Ok(Polled::Waits));
        assert!(engine.handle_poll(conn(2)).is_err());
        assert_eq!((engine.take_poll(), engine.take_poll()), (Some(conn(1)), None));
        assert_eq!(engine.handle_poll(conn(2)), Ok(Polled::Waits));
        assert!(!engine.handle_end(conn(1)), "that one was answered");
        assert!(engine.handle_end(conn(2)), "an aborted poll ends the session");
    }

    #[test]
    fn an_upgrade() {
        let mut engine = engine(Revision::V4);
        engine.handle_poll(conn(1)).unwrap();
        engine.handle_probe(conn(9), at(0)).unwrap();
        assert!(engine.handle_probe(conn(8), at(0)).is_err());
        assert!(engine.upgrade().is_err(), "not before the probe was answered");
        assert_eq!(engine.answer_probe(), Some(conn(1)));
        assert_eq!(engine.handle_poll(conn(1)), Ok(Polled::Noop));
        assert!(engine.takes_posts());
        assert_eq!(engine.upgrade(), Ok(None));
        assert_eq!(engine.transport, Transport::WebSocket(conn(9)));
        assert!(engine.handle_poll(conn(1)).is_err() && engine.handle_probe(conn(7), at(0)).is_err());
        assert!(!engine.takes_posts() && !engine.handle_end(conn(1)) && engine.handle_end(conn(9)));
    }

    #[test]
    fn a_probe_that_dies_leaves_polling_alive() {
        let mut engine = engine(Revision::V3);
        engine.handle_poll(conn(1)).unwrap();
        engine.handle_probe(conn(9), at(0)).unwrap();
        assert!(!engine.handle_end(conn(9)));
        assert_eq!(engine.transport, Transport::Polling(Some(conn(1))));
        let timing =
            Timing { ping_interval: Duration::from_secs(25), connect_timeout: Duration::from_secs(45), ..TIMING };
        let mut engine = Engine::new(Revision::V4, false, Transport::Polling(None), &timing, at(0));
        engine.handle_probe(conn(9), at(0)).unwrap();
        assert_eq!(engine.poll_timeout(), at(10_000));
        assert_eq!(engine.handle_timeout(&timing, at(10_000)), Expired::Probe(conn(9)));
        assert_eq!(engine.handle_poll(conn(1)), Ok(Polled::Waits));
    }
}
