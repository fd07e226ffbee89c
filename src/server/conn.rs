//! A connection: a socket, the state of its protocol, and a deadline.

use core::time::Duration;
use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::fd::AsRawFd,
};

use mio::{
    Interest, Registry, Token,
    event::Source,
    net::{TcpStream, UnixStream},
};

use crate::{
    clock::Time,
    http::{Exchange, parked::Parked},
    key::{ClientKey, OriginKey},
    outbox::Flushed,
    websocket::peer::Peer,
};

/// A TCP or Unix connection. An idle WebSocket costs these 64 bytes and an entry of 16 bytes in the timers.
pub struct Conn {
    /// The socket.
    pub socket: Socket,
    /// The protocol and its state.
    pub state: State,
    /// The time of this connection's entry in the timers; entries with another time are stale.
    pub armed: Time,
    /// Whether the last write was incomplete. The next one waits until the socket is writable.
    pub blocked: bool,
    /// Whether reading is paused, because a request is parked or too many replies are unsent.
    pub paused: bool,
    /// Whether the peer has closed its sending side. Reads must then continue to the end of the stream, because epoll
    /// reports no further edge.
    pub hung_up: bool,
    /// Whether it is in the list of connections to read in the next turn. It may be there only once, because each entry
    /// gets a read budget.
    pub read_scheduled: bool,
    /// Whether it is to be closed and freed at the end of the turn.
    pub dropped: bool,
    /// Whether it is over the limit, and stays open only until the refusal is sent.
    pub refused: bool,
    /// Whether it will use TLS after the header of the PROXY protocol.
    pub awaits_tls: bool,
    /// Whether it uses TLS: its session is in the table of [`Tls`](super::tls::sessions::Tls), and the socket carries sealed bytes.
    pub tls: bool,
    /// Whether it is looked at for a [stall](super::stalls).
    pub watched: bool,
    /// Bytes that were written for its client while clients were tracked, modulo 2^32.
    pub sent: u32,
}

// With debug assertions, mio's sockets are larger.
#[cfg(not(debug_assertions))]
const _: () = assert!(size_of::<Conn>() <= 64);

/// The protocol of a connection.
pub enum State {
    /// HTTP.
    Http(Box<Exchange>),
    /// A client's WebSocket, or its stream ([`Phase::Stream`]).
    WebSocket(WebSocket),
    /// A WebSocket that probes, to take over an Engine.IO session from polling.
    Probe(Box<Probe>),
    /// A probe that has ended.
    Ending(Box<Ending>),
}

/// The state of a WebSocket or a stream: 32 bytes. `peer` is one pointer, which is null between messages.
pub struct WebSocket {
    /// The client it carries.
    pub client: ClientKey,
    /// The decoder, with incomplete input.
    pub peer: Peer,
    /// When to send a ping or close the connection.
    pub deadline: Time,
    /// Whether it is open, closing or closed.
    pub phase: Phase,
    /// Bytes of input that were discarded after its end.
    pub discarded: u32,
}

const _: () = assert!(size_of::<WebSocket>() <= 32);

impl WebSocket {
    /// An open WebSocket that is pinged at `deadline`.
    pub fn new(client: ClientKey, deadline: Time) -> WebSocket {
        WebSocket { client, peer: Peer::default(), deadline, phase: Phase::Open, discarded: 0 }
    }
}

/// A probing WebSocket. The session still uses polling, so the probe has its own output buffer.
pub struct Probe {
    /// The client whose session it may take over.
    pub client: ClientKey,
    /// The decoder, with incomplete input.
    pub peer: Peer,
    /// The unsent bytes.
    pub output: Vec<u8>,
    /// Its entry in the table of addresses, if it is counted there.
    pub origin: Option<OriginKey>,
    /// Whether `2probe` was answered. It is answered only once, to bound `output`.
    pub answered: bool,
}

/// The end of a probe: its last frames are written, then our side of the connection is closed, and input is discarded
/// until the peer closes its side or the deadline passes.
pub struct Ending {
    /// The unsent bytes.
    pub output: Vec<u8>,
    /// When to close the connection.
    pub deadline: Time,
    /// Its entry in the table of addresses, if it is counted there.
    pub origin: Option<OriginKey>,
    /// Bytes of input that were discarded.
    pub discarded: u32,
    /// Whether the peer has closed its side: the connection ends when the output is written.
    pub left: bool,
}

/// Writes `output` until it is empty or the socket would block.
pub fn write_output(output: &mut Vec<u8>, out: &mut impl Write) -> io::Result<Flushed> {
    while !output.is_empty() {
        match out.write(output) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => drop(output.drain(..written)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Flushed::Blocked),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Flushed::All)
}

/// The phase of a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The peer broke the protocol. When the outbox is empty, with our close frame as the last one, our side of the connection
    /// is closed. Input is discarded.
    Broken,
    /// Both sides have sent a close frame. When the outbox is empty, our side of the connection is closed. Input is
    /// discarded.
    Closed,
    /// The peer has closed its side: the connection ends when the outbox is empty.
    Left,
    /// Messages are exchanged.
    Open,
    /// Messages are exchanged, and a ping is unanswered. Any input counts as an answer.
    Pinged,
    /// It is no WebSocket, but the body of an HTTP response that does not end (`GET /sse`). Input is discarded. Its end has
    /// the phases of a WebSocket: [`Phase::Closed`], then [`Phase::Lingering`].
    Stream,
    /// Our close frame is queued or sent. The peer must answer it before the deadline.
    Closing,
    /// Our side of the connection is closed. Input is discarded until the peer closes its side, because closing the
    /// connection while input is unread resets it, and the reset can overtake our close frame.
    Lingering,
}

impl Conn {
    /// A new connection. Every connection begins with HTTP.
    pub fn new(socket: Socket, exchange: Exchange) -> Conn {
        Conn {
            socket,
            state: State::Http(Box::new(exchange)),
            armed: Time::NEVER,
            blocked: false,
            paused: false,
            hung_up: false,
            read_scheduled: false,
            dropped: false,
            refused: false,
            awaits_tls: false,
            tls: false,
            watched: false,
            sent: 0,
        }
    }

    /// When its deadline passes.
    pub fn poll_timeout(&self) -> Time {
        match &self.state {
            State::Http(exchange) => exchange.poll_timeout(),
            State::WebSocket(websocket) => websocket.deadline,
            // The deadline of its Engine.IO session applies.
            State::Probe(_) => Time::NEVER,
            State::Ending(ending) => ending.deadline,
        }
    }

    /// The client that depends on this connection: its WebSocket, its probe, its poll or its pending login.
    pub fn owner(&self) -> Option<ClientKey> {
        match &self.state {
            State::Http(exchange) => match exchange.parked() {
                Some(Parked::Poll { client, .. } | Parked::Login { client, .. }) => Some(*client),
                Some(Parked::Page(_) | Parked::Receipts { .. }) | None => None,
            },
            State::Probe(probe) => Some(probe.client),
            State::WebSocket(websocket) => Some(websocket.client),
            State::Ending(_) => None,
        }
    }

    /// Whether its address is for metrics only, where no request changes the protocol.
    pub fn is_metrics_only(&self) -> bool {
        matches!(&self.state, State::Http(exchange) if exchange.metrics_only)
    }

    /// The number of the answer with receipts that its request waits for.
    pub fn receipts(&self) -> Option<u64> {
        match &self.state {
            State::Http(exchange) => match exchange.parked() {
                Some(Parked::Receipts { answer, .. }) => Some(*answer),
                _ => None,
            },
            _ => None,
        }
    }

    /// Bytes of memory that its incomplete input takes.
    pub fn input_memory(&self) -> usize {
        match &self.state {
            State::Http(exchange) => exchange.input_memory(),
            State::WebSocket(websocket) => websocket.peer.memory(),
            State::Probe(probe) => probe.peer.memory(),
            State::Ending(_) => 0,
        }
    }

    /// Bytes to read at once: few while a head or a probe arrives, because input that must wait is kept.
    pub fn read_size(&self) -> usize {
        match &self.state {
            State::Http(exchange) if !exchange.is_in_body() => HEAD_READ,
            State::Http(_) | State::WebSocket(_) | State::Ending(_) => READ_BUDGET,
            State::Probe(_) => HEAD_READ,
        }
    }

    /// Takes its entry in the table of addresses. A WebSocket has none: its client is counted.
    pub fn take_origin(&mut self) -> Option<OriginKey> {
        match &mut self.state {
            State::Http(exchange) => exchange.origin.take(),
            State::Probe(probe) => probe.origin.take(),
            State::Ending(ending) => ending.origin.take(),
            State::WebSocket(_) => None,
        }
    }

    /// The client whose WebSocket this is.
    pub fn client(&self) -> Option<ClientKey> {
        match &self.state {
            State::Http(_) | State::Probe(_) | State::Ending(_) => None,
            State::WebSocket(websocket) => Some(websocket.client),
        }
    }

    /// Whether its WebSocket ends once the outbox is empty. Asked after each write: these are the first phases, so that it
    /// costs one comparison.
    #[inline]
    pub fn ends_when_flushed(&self) -> bool {
        matches!(self.state, State::WebSocket(WebSocket { phase: Phase::Broken | Phase::Closed | Phase::Left, .. }))
    }
}

/// Bytes that are read from one connection in a turn. Without this limit, a client that floods relay delays others by
/// 1.5 s.
pub const READ_BUDGET: usize = 64 * 1024;

/// Bytes that are read at once while a request's head arrives.
const HEAD_READ: usize = 16 * 1024;
/// Clients that are written to in a turn. A write takes about 8 µs, so others wait for 2 ms.
pub const WRITES_PER_TURN: usize = 256;

/// A TCP or Unix stream; eight bytes.
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix domain socket.
    Unix(UnixStream),
}

impl Socket {
    /// Registers for edges of both directions. This is the only `epoll_ctl` call for a client's connection: closing the
    /// descriptor removes it from epoll.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match self {
            Socket::Tcp(stream) => stream.register(registry, token, both),
            Socket::Unix(stream) => stream.register(registry, token, both),
        }
    }

    /// Removes the socket from epoll, so that it reports no events.
    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.deregister(registry),
            Socket::Unix(stream) => stream.deregister(registry),
        }
    }

    /// Lets the kernel end the connection if the peer confirms no bytes for this long. A failure does no harm: the kernel then
    /// gives up after some minutes.
    pub fn set_user_timeout(&self, timeout: Duration) {
        if let Socket::Tcp(stream) = self {
            let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(timeout));
        }
    }

    /// Bytes that were written and that the peer has not confirmed. `None` if that cannot be known.
    pub fn unconfirmed(&self) -> Option<u32> {
        let Socket::Tcp(stream) = self else { return None };
        let mut bytes: libc::c_int = 0;
        // SAFETY: the descriptor is open as long as the stream, and the kernel writes one int to the pointer.
        #[allow(unsafe_code)]
        let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
        if result == 0 { u32::try_from(bytes).ok() } else { None }
    }

    /// Makes the end of the connection a reset: what the peer has not confirmed is not sent again.
    pub fn reset_at_end(&self) {
        if let Socket::Tcp(stream) = self {
            // A failure leaves the end as it was: then some messages may arrive twice.
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Closes the sending side.
    pub fn shutdown(&self) {
        // This fails only if the peer has gone; the next read reports that.
        let _ = match self {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Whether a non-blocking connect has finished (`connect(2)`, EINPROGRESS). Fails if the connect has failed.
    pub fn is_connected(&self) -> io::Result<bool> {
        match self {
            Socket::Tcp(stream) => {
                if let Some(error) = stream.take_error()? {
                    return Err(error);
                }
                match stream.peer_addr() {
                    Ok(_) => Ok(true),
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
                    Err(error) => Err(error),
                }
            }
            Socket::Unix(stream) => stream.take_error()?.map_or(Ok(true), Err),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(buffer),
            Socket::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write(bytes),
            Socket::Unix(stream) => stream.write(bytes),
        }
    }
    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write_vectored(slices),
            Socket::Unix(stream) => stream.write_vectored(slices),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
