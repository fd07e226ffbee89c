//! One connected peer, and what it costs.
//!
//! An idle plain WebSocket client costs, beside its connection: [`Client`] 64 bytes, [`Session`](super::Session) 72, one
//! allocation for the strings of its login, 24 bytes in each of its rooms; nothing to read into, no protocol state, no queue.

use super::{rate::Rate, socket::Socket};
use crate::{
    engineio::engine::Transport as EngineTransport,
    key::{ConnKey, SessionKey},
    outbox::Outbox,
};

/// One peer with one outbox. It will outlive its connections where a transport has several.
#[derive(Default)]
pub struct Client {
    /// What waits for it.
    pub outbox: Outbox,
    /// What carries it.
    pub conn: Option<ConnKey>,
    /// Its session; none while it takes its leave, or if it speaks Socket.IO.
    pub session: Option<SessionKey>,
    /// What it has if it speaks Socket.IO, with its sessions.
    pub socket: Option<Box<Socket>>,
    /// The message rate it has used.
    pub rate: Rate,
    /// Whether it stands in the list of those to be flushed.
    pub dirty: bool,
    /// Whether it is being closed: nothing is queued for it any more.
    pub ending: bool,
    /// How often it was not let into a namespace. (This and the next are Socket.IO's, and here because here they cost nothing.)
    pub refusals: u8,
    /// How often it joined or left a namespace.
    pub moves: u8,
}

const _: () = assert!(size_of::<Client>() <= 64);

/// What carries a client's messages at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A WebSocket.
    Socket(ConnKey),
    /// A poll that is waiting for packets.
    Poll(ConnKey),
    /// Nothing: what is queued stays queued.
    Nothing,
}

impl Client {
    /// What brings it its messages.
    pub fn carrier(&self) -> Carrier {
        let poll = |poll: Option<ConnKey>| poll.map_or(Carrier::Nothing, Carrier::Poll);
        match self.socket.as_ref().map(|socket| &socket.engine.transport) {
            Some(EngineTransport::Polling(conn)) => poll(*conn),
            // Once the probe was answered, whatever is queued waits for the WebSocket.
            Some(EngineTransport::Probing(probing)) => poll(probing.poll.filter(|_| !probing.answered)),
            Some(EngineTransport::WebSocket(_)) | None => self.conn.map_or(Carrier::Nothing, Carrier::Socket),
        }
    }
}
