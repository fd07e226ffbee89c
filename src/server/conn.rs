//! One connection: a socket, what is spoken on it, and a deadline.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
};

use mio::{
    Interest, Registry, Token,
    event::Source,
    net::{TcpStream, UnixStream},
};

use crate::{
    clock::Time,
    http::{Exchange, exchange::Parked},
    key::ClientKey,
    outbox::Flushed,
    websocket::peer::Peer,
};

/// A TCP or Unix connection. An idle WebSocket costs this, 64 bytes, and nothing else on this floor but an entry of 16
/// bytes among the timers.
pub struct Conn {
    /// The socket.
    pub socket: Socket,
    /// What is spoken on it.
    pub state: State,
    /// The earliest entry among the timers that still counts for this connection.
    pub armed: Time,
    /// A write was not finished: the socket's becoming writable is awaited.
    pub blocked: bool,
    /// Reading was put off while the peer did not read its replies.
    pub paused: bool,
    /// The peer will send no more: read until the end is seen, since there will be no other event.
    pub hung_up: bool,
    /// It stands in the list of those with more to read: once, or it would get as many turns' budgets as it stands there.
    pub read_scheduled: bool,
    /// It is to be freed at the end of the turn.
    pub dropped: bool,
    /// It was accepted only to be told that there is no place.
    pub refused: bool,
}

// With debug assertions mio keeps more in its sockets.
#[cfg(not(debug_assertions))]
const _: () = assert!(size_of::<Conn>() <= 64);

/// What is spoken on a connection.
pub enum State {
    /// Requests and replies.
    Http(Box<Exchange>),
    /// A client's WebSocket.
    WebSocket(WebSocket),
    /// A WebSocket that tries to take over from polling.
    Probe(Box<Probe>),
}

/// A WebSocket's place: 32 bytes, of which `peer` is one pointer that is null between messages.
pub struct WebSocket {
    /// Whose it is.
    pub client: ClientKey,
    /// What stays of unfinished input.
    pub peer: Peer,
    /// When to ping, or to give up.
    pub deadline: Time,
    /// How far it has come.
    pub phase: Phase,
}

/// A WebSocket on trial. The client's messages still go elsewhere, so it has an output of its own.
pub struct Probe {
    /// Whose it is to become.
    pub client: ClientKey,
    /// What stays of unfinished input.
    pub peer: Peer,
    /// What is to be sent.
    pub output: Vec<u8>,
    /// Whether it has probed.
    pub answered: bool,
}

impl Probe {
    /// Writes what is to be sent.
    pub fn write_to(&mut self, out: &mut impl Write) -> io::Result<Flushed> {
        while !self.output.is_empty() {
            match out.write(&self.output) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => drop(self.output.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Flushed::Blocked),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Flushed::All)
    }
}

/// The life of a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Messages go both ways.
    Open,
    /// The same, but a ping waits for a sign of life.
    Pinged,
    /// Our close is queued or sent: the peer's, or the end of its patience, is awaited.
    Closing,
    /// The peer broke the protocol: what it still sends means nothing and is thrown away until it reads our close.
    Broken,
    /// Both closes were said: the connection ends when the outbox is empty.
    Closed,
}

impl Conn {
    /// A connection that begins with HTTP.
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
        }
    }

    /// When it wants to be looked at again.
    pub fn poll_timeout(&self) -> Time {
        match &self.state {
            State::Http(exchange) => exchange.poll_timeout(),
            State::WebSocket(websocket) => websocket.deadline,
            // Its engine knows.
            State::Probe(_) => Time::NEVER,
        }
    }

    /// The client it carries, or that awaits something of it.
    pub fn owner(&self) -> Option<ClientKey> {
        match &self.state {
            State::Http(exchange) => match exchange.parked() {
                Some(Parked::Poll { client, .. } | Parked::Login { client, .. }) => Some(*client),
                Some(Parked::Page) | None => None,
            },
            State::Probe(probe) => Some(probe.client),
            State::WebSocket(websocket) => Some(websocket.client),
        }
    }

    /// The client it carries.
    pub fn client(&self) -> Option<ClientKey> {
        match &self.state {
            State::Http(_) | State::Probe(_) => None,
            State::WebSocket(websocket) => Some(websocket.client),
        }
    }
}

/// A stream of either family; eight bytes.
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix domain socket.
    Unix(UnixStream),
}

impl Socket {
    /// Asks for both directions' edges, once and for all: one `epoll_ctl` in a connection's life, since closing the
    /// descriptor takes it out again.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match self {
            Socket::Tcp(stream) => stream.register(registry, token, both),
            Socket::Unix(stream) => stream.register(registry, token, both),
        }
    }

    /// Asks for no edges any more.
    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.deregister(registry),
            Socket::Unix(stream) => stream.deregister(registry),
        }
    }

    /// Says that nothing more will be sent.
    pub fn shutdown(&self) {
        // It fails only if the peer is gone already, which the next read will tell.
        let _ = match self {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Whether connecting is done (`connect(2)`, EINPROGRESS).
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
