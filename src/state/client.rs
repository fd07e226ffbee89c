//! Clients, each with an outbox and the connection that drains it.
//!
//! Memory of an idle plain WebSocket client, besides its connection: 64 bytes for [`Client`], 72 for
//! [`Session`](super::Session), one allocation for the strings of its login, and 20 bytes in each of its rooms (28 from
//! the third on). It has no read buffer, no protocol state and an empty queue.

use super::{flush_queue::Dirty, rate::Rate, socket::Socket};
use crate::{
    engineio::engine::Transport as EngineTransport,
    key::{ConnKey, OriginKey, SessionKey},
    outbox::Outbox,
};

/// A peer with one outbox. An Engine.IO client outlives its connections: each poll is a request of its own, and a
/// WebSocket may replace polling.
#[derive(Default)]
pub struct Client {
    /// Frames that are queued for the client.
    pub outbox: Outbox,
    /// Its WebSocket connection. `None` while an Engine.IO client polls.
    pub conn: Option<ConnKey>,
    /// The session of a plain WebSocket client. `None` once it has ended, and for Socket.IO clients.
    pub session: Option<SessionKey>,
    /// The state of a Socket.IO client, including its sessions.
    pub socket: Option<Box<Socket>>,
    /// How much of `limits.message_rate` it has used.
    pub rate: Rate,
    /// Its entry in the table of addresses, if it is counted there.
    pub origin: Option<OriginKey>,
    /// Whether it is in the queue of clients to flush.
    pub dirty: Dirty,
    /// Which messages are queued for it as they are published.
    pub mode: Mode,
    /// Refused logins of a Socket.IO client. (This field and the next are here and not in [`Socket`], because they fit
    /// into the padding.)
    pub refusals: u8,
    /// How often a Socket.IO client joined or left a namespace; stops counting at 255.
    pub namespace_changes: u8,
}

const _: () = assert!(size_of::<Client>() <= 64);

/// Which messages are queued for a client as they are published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// All.
    #[default]
    Live,
    /// None: they come from the history of its rooms, after what it has missed. Those that no room keeps come then.
    Behind,
    /// None: it is being closed.
    Ending,
}

/// The connection that carries a client's frames at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A WebSocket.
    Socket(ConnKey),
    /// A waiting poll.
    Poll(ConnKey),
    /// No connection: queued frames stay queued.
    Nothing,
}

impl Client {
    /// Whether it is being closed. Nothing more is queued for it.
    pub fn is_ending(&self) -> bool {
        self.mode == Mode::Ending
    }

    /// The connection that carries its frames at the moment.
    pub fn carrier(&self) -> Carrier {
        let poll = |poll: Option<ConnKey>| poll.map_or(Carrier::Nothing, Carrier::Poll);
        match self.socket.as_ref().map(|socket| &socket.engine.transport) {
            Some(EngineTransport::Polling(conn)) => poll(*conn),
            // Once the probe is answered, queued frames wait for the WebSocket.
            Some(EngineTransport::Probing(probing)) => poll(probing.poll.filter(|_| !probing.answered)),
            Some(EngineTransport::WebSocket(_)) | None => self.conn.map_or(Carrier::Nothing, Carrier::Socket),
        }
    }
}
