//! One Engine.IO session: its transport, its heartbeat and its upgrade from polling to a WebSocket.
//!
//! An [`Engine`] is a state machine without I/O. It says what a packet, a request or a timeout means; its owner, which
//! has the outbox, acts on it. Each session has one outbox, and at most one connection drains it. During an upgrade no
//! connection drains it between the answered probe and the upgrade packet, and afterwards the WebSocket does. So no
//! message of the session is lost, duplicated or reordered.

use core::time::Duration;

use super::{error::Error, latin1, packet::Packet, payload::Bodies, revision::Revision};
use crate::{clock::Time, key::ConnKey};

/// The intervals of the heartbeat, as announced in the handshake.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The time between two pings.
    pub ping_interval: Duration,
    /// The time within which a ping must be answered.
    pub ping_timeout: Duration,
    /// How long a session may be open without being in a namespace.
    pub connect_timeout: Duration,
}

/// How far the heartbeat of a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// The client has shown that it is alive.
    Alive,
    /// It was sent a ping.
    Asked,
    /// Its answer, or in revision 3 its ping, is late.
    Overdue,
}

impl Timing {
    /// How late a sign of life may be before it is [overdue](Expired::Overdue): less than it takes either side to give up.
    fn slack(&self) -> Duration {
        (self.ping_timeout / 2).min(SLACK)
    }
}

/// The transport of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// HTTP polling, with the pending poll if there is one.
    Polling(Option<ConnKey>),
    /// HTTP polling, while a WebSocket probes. Boxed, because this state does not last long.
    Probing(Box<Probing>),
    /// A WebSocket.
    WebSocket(ConnKey),
}

const _: () = assert!(size_of::<Transport>() <= 16);

/// An upgrade in progress from polling to a WebSocket (Engine.IO protocol, "Upgrade").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probing {
    /// The pending poll.
    pub poll: Option<ConnKey>,
    /// The connection of the WebSocket.
    pub probe: ConnKey,
    /// Whether relay has answered its ping. From then on polls get no messages.
    pub answered: bool,
    /// Whether the client wants binary data as base64 in text frames.
    base64: bool,
    /// When the upgrade must be complete.
    until: Time,
}

/// The state of a session.
#[derive(Debug)]
pub struct Engine {
    /// The revision of the protocol.
    pub revision: Revision,
    /// The bodies in which a client of revision 3 wants the answers to its polls.
    pub bodies: Bodies,
    /// Whether binary data goes over the WebSocket as base64 in text frames: it was opened with `b64`.
    pub base64: bool,
    /// Whether a proxy or TLS is between relay and the client.
    pub proxied: bool,
    /// Whether the client has posted text that was encoded once: it is not a client before Socket.IO 2.0.
    encodes_once: bool,
    /// The transport.
    pub transport: Transport,
    /// The earliest timer that the owner has set for this session.
    pub armed: Time,
    /// When the next ping is due, or when the session times out.
    heartbeat: Time,
    /// Whether no poll was answered yet.
    first_poll: bool,
    /// How far the heartbeat is.
    sign: Sign,
    /// Whether the session is in a namespace.
    connected: bool,
    /// When the session must be in a namespace, or the attachments of a packet must be complete.
    deadline: Time,
}

const _: () = assert!(size_of::<Engine>() <= 48);

/// The action that a packet asks of the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing.
    Nothing,
    /// Handle the message in it.
    Message,
    /// Send a pong with the data of the ping.
    Pong,
    /// End the session: the client closes it.
    Close,
}

/// The action that [`Engine::handle_timeout`] asks of the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// Nothing.
    Nothing,
    /// Send a ping.
    Ping,
    /// The client has not answered a ping, or has not sent one, though it was due a while ago.
    Overdue,
    /// End the session: it timed out.
    Dead,
    /// Close this WebSocket: it probed, but did not complete the upgrade.
    Probe(ConnKey),
}

/// The action that a poll asks of the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// Flush the outbox into it; if that is empty, the poll waits.
    Waits,
    /// Answer it with a noop at once, so that the WebSocket can take over.
    Noop,
}

impl Engine {
    /// A session that was opened at `now`.
    pub fn new(revision: Revision, transport: Transport, timing: &Timing, now: Time) -> Engine {
        let mut engine = Engine {
            revision,
            bodies: Bodies::Any,
            base64: false,
            proxied: false,
            encodes_once: false,
            transport,
            armed: Time::NEVER,
            heartbeat: now,
            first_poll: true,
            sign: Sign::Alive,
            connected: false,
            deadline: now.after(timing.connect_timeout),
        };
        engine.reset_heartbeat(timing, now);
        engine
    }

    /// The text of a POST of revision 3, if the client encoded it twice, as those before Socket.IO 2.0 do. Text of later
    /// clients looks like that only if they have posted no other text beyond ASCII before, and all characters of this one
    /// form pairs like `Ã¤`.
    pub fn decode_twice(&mut self, body: &[u8]) -> Option<String> {
        if self.encodes_once || self.revision != Revision::V3 || body.is_ascii() {
            return None;
        }
        let decoded = latin1::decoded_twice(core::str::from_utf8(body).ok()?);
        self.encodes_once = decoded.is_none();
        decoded
    }

    /// Handles a packet. Fails if a client must not send it in this revision.
    pub fn handle_packet(&mut self, packet: &Packet<'_>, timing: &Timing, now: Time) -> Result<Meaning, Error> {
        if self.revision == Revision::V3 {
            // The client sends the pings, and every packet counts as one.
            self.reset_heartbeat(timing, now);
        }
        match (packet, self.revision) {
            (Packet::Text(_) | Packet::Binary(_), _) => Ok(Meaning::Message),
            (Packet::Ping(_), Revision::V3) => Ok(Meaning::Pong),
            (Packet::Pong(_), Revision::V4) => {
                self.reset_heartbeat(timing, now);
                Ok(Meaning::Nothing)
            }
            (Packet::Close, _) => Ok(Meaning::Close),
            (Packet::Noop | Packet::Upgrade, _) => Ok(Meaning::Nothing),
            (Packet::Ping(_), Revision::V4) | (Packet::Pong(_), Revision::V3) => Err(Error::HeartbeatDirection),
            (Packet::Open(_), _) => Err(Error::OpenPacket),
        }
    }

    /// Restarts the heartbeat, because the client is alive.
    fn reset_heartbeat(&mut self, timing: &Timing, now: Time) {
        self.sign = Sign::Alive;
        self.heartbeat = match self.revision {
            Revision::V3 => now.after(timing.ping_interval + timing.slack()),
            Revision::V4 => now.ping_after(timing.ping_interval),
        };
    }

    /// Updates the deadline: `connected` says whether the session is in a namespace, `assembling` whether attachments of a packet
    /// are missing.
    pub fn set_state(&mut self, connected: bool, assembling: bool, timing: &Timing, now: Time) {
        self.connected = connected;
        self.deadline = match (connected, assembling) {
            (_, true) => now.after(ASSEMBLY_TIMEOUT),
            (true, false) => Time::NEVER,
            (false, false) => now.after(timing.connect_timeout),
        };
    }

    /// Whether a sign of life is waited for, and until when: the next ping is due then, or the session times out.
    pub fn heartbeat(&self) -> (bool, Time) {
        (self.sign != Sign::Alive, self.heartbeat)
    }

    /// Whether the session is in a namespace.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// When to call [`Engine::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Time {
        let probe = match &self.transport {
            Transport::Probing(probing) => probing.until,
            _ => Time::NEVER,
        };
        self.heartbeat.min(self.deadline).min(probe)
    }

    /// Checks the deadlines. Call it again until it returns [`Expired::Nothing`].
    pub fn handle_timeout(&mut self, timing: &Timing, now: Time) -> Expired {
        if self.deadline <= now {
            return Expired::Dead;
        }
        if self.heartbeat <= now {
            let slack = timing.slack();
            match (self.sign, self.revision) {
                (Sign::Alive, Revision::V4) => {
                    self.sign = Sign::Asked;
                    // Counted from the time at which the ping was due: the client expects it within `ping_interval +
                    // ping_timeout`.
                    self.heartbeat = self.heartbeat.after(slack);
                    return Expired::Ping;
                }
                (Sign::Overdue, _) => return Expired::Dead,
                (Sign::Alive | Sign::Asked, _) => {}
            }
            self.sign = Sign::Overdue;
            self.heartbeat = self.heartbeat.after(timing.ping_timeout - slack);
            return Expired::Overdue;
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

    /// Handles a poll on the connection `conn`. Fails with [`Error::PollPending`] if another poll is pending, which ends the
    /// session, and with [`Error::OtherTransport`] if the transport is a WebSocket.
    pub fn handle_poll(&mut self, conn: ConnKey) -> Result<Polled, Error> {
        let (poll, answered) = match &mut self.transport {
            Transport::Polling(poll) => (poll, false),
            Transport::Probing(probing) => (&mut probing.poll, probing.answered),
            Transport::WebSocket(_) => return Err(Error::OtherTransport),
        };
        if poll.is_some() {
            return Err(Error::PollPending);
        }
        if answered {
            return Ok(Polled::Noop);
        }
        *poll = Some(conn);
        Ok(Polled::Waits)
    }

    /// Whether the client may send packets by POST.
    pub fn takes_posts(&self) -> bool {
        !matches!(self.transport, Transport::WebSocket(_))
    }

    /// The number of packets that the answer to the next poll may have. The first answer has the handshake and, in revision 3,
    /// the CONNECT of `/`: some clients cannot handle more until they have processed it.
    pub fn max_packets(&self) -> usize {
        match (self.first_poll, self.revision) {
            (true, Revision::V3) => 2,
            (true, Revision::V4) => 1,
            (false, _) => MAX_PACKETS,
        }
    }

    /// Removes the pending poll and returns it, to be answered.
    pub fn take_poll(&mut self) -> Option<ConnKey> {
        self.first_poll = false;
        match &mut self.transport {
            Transport::Polling(poll) => poll.take(),
            Transport::Probing(probing) => probing.poll.take(),
            Transport::WebSocket(_) => None,
        }
    }

    /// Handles a WebSocket that was opened for this session, on the connection `probe`, with `b64` or without. Fails if the
    /// session has one already.
    pub fn handle_probe(&mut self, probe: ConnKey, base64: bool, now: Time) -> Result<(), Error> {
        match self.transport {
            Transport::Polling(poll) => {
                let until = now.after(UPGRADE_TIMEOUT);
                self.transport = Transport::Probing(Box::new(Probing { poll, probe, answered: false, base64, until }));
                Ok(())
            }
            Transport::Probing(_) => Err(Error::ProbePending),
            Transport::WebSocket(_) => Err(Error::HasWebSocket),
        }
    }

    /// Records that the probe's ping is answered. Returns the pending poll, which must be answered with a noop.
    pub fn answer_probe(&mut self) -> Option<ConnKey> {
        let Transport::Probing(probing) = &mut self.transport else { return None };
        probing.answered = true;
        probing.poll.take()
    }

    /// Completes the upgrade. Returns a pending poll, which must be answered with a noop. Fails with
    /// [`Error::UpgradeWithoutProbe`] if no probe was answered.
    pub fn upgrade(&mut self) -> Result<Option<ConnKey>, Error> {
        match &self.transport {
            Transport::Probing(probing) if probing.answered => {
                let Probing { poll, probe, base64, .. } = **probing;
                (self.transport, self.base64) = (Transport::WebSocket(probe), base64);
                Ok(poll)
            }
            _ => Err(Error::UpgradeWithoutProbe),
        }
    }

    /// Handles the end of a connection. Returns whether the session ends as well. It continues if the connection was a
    /// probe, or had no pending poll.
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

/// See [`Timing::slack`].
const SLACK: Duration = Duration::from_secs(1);
/// Packets in one body: clients of python-engineio refuse more.
const MAX_PACKETS: usize = 16;
/// The time for an upgrade (`upgradeTimeout` of engine.io).
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// The time for the attachments of a packet.
const ASSEMBLY_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
