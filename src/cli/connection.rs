//! A connection that blocks, with time-outs: over TCP, TLS or a Unix socket.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use crate::tls::{self, ClientTls};

/// A connection that blocks.
pub enum Connection {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over TLS.
    Tls(Box<tls::Stream<TcpStream>>),
    /// Over a Unix socket.
    Unix(UnixStream),
}

impl Connection {
    /// Connects to a socket of this machine. Reads and writes fail after `timeout`.
    pub fn unix(path: &Path, timeout: Duration) -> io::Result<Connection> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Connection::Unix(stream))
    }

    /// Connects to the first of these addresses that accepts, each within `patience`. Reads and writes fail after `timeout`.
    pub fn tcp(
        addresses: impl IntoIterator<Item = SocketAddr>,
        patience: Duration,
        timeout: Duration,
    ) -> io::Result<Connection> {
        let mut last = io::Error::other("the name has no address");
        for address in addresses {
            match TcpStream::connect_timeout(&address, patience) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(timeout))?;
                    stream.set_write_timeout(Some(timeout))?;
                    return Ok(Connection::Tcp(stream));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Makes the handshake of TLS with a server of this name on a connection over TCP; others stay as they are.
    pub fn secure(self, tls: &ClientTls, host: &str) -> io::Result<Connection> {
        let Connection::Tcp(socket) = self else { return Ok(self) };
        let client = tls.connect(host).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        let mut stream = tls::Stream::new(socket, client);
        match stream.handshake()? {
            true => Ok(Connection::Tls(Box::new(stream))),
            false => Err(io::Error::new(ErrorKind::TimedOut, NO_HANDSHAKE)),
        }
    }

    /// The socket, if it is one of TCP.
    fn socket(&self) -> Option<&TcpStream> {
        match self {
            Connection::Tcp(socket) => Some(socket),
            Connection::Tls(stream) => Some(stream.socket()),
            Connection::Unix(_) => None,
        }
    }

    /// Whether the peer is on this machine: then both ends have the same address.
    pub fn is_local(&self) -> bool {
        let Some(socket) = self.socket() else { return true };
        let of = |address: io::Result<SocketAddr>| address.map(|address| address.ip()).ok();
        let (own, peer) = (of(socket.local_addr()), of(socket.peer_addr()));
        peer.is_some_and(|peer| peer.is_loopback() || own == Some(peer))
    }

    /// How many certificates the peer has sent, and until when its own is valid, as a Unix time.
    pub fn certificates(&self) -> Option<(usize, u64)> {
        match self {
            Connection::Tls(stream) => stream.peer_certificates(),
            Connection::Tcp(_) | Connection::Unix(_) => None,
        }
    }

    /// Whether anyone could have caused the end of the input: TLS announces an end, and this one was not announced.
    pub fn is_truncated(&self) -> bool {
        matches!(self, Connection::Tls(stream) if stream.is_truncated())
    }

    /// Makes reads fail after this time.
    pub fn set_read_timeout(&self, time: Duration) -> io::Result<()> {
        match self {
            Connection::Tcp(socket) => socket.set_read_timeout(Some(time)),
            Connection::Tls(stream) => stream.socket().set_read_timeout(Some(time)),
            Connection::Unix(socket) => socket.set_read_timeout(Some(time)),
        }
    }

    /// Makes the next read wait until `deadline` at most.
    pub fn wait_until(&self, deadline: Instant) -> io::Result<()> {
        // A time-out of zero would be none.
        self.set_read_timeout(deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)))
    }

    /// Reads what comes until `deadline`. Fails with [`ErrorKind::TimedOut`] if nothing does.
    pub fn read_until(&mut self, piece: &mut [u8], deadline: Instant) -> io::Result<usize> {
        loop {
            if Instant::now() >= deadline {
                return Err(io::Error::new(ErrorKind::TimedOut, "no answer in time"));
            }
            self.wait_until(deadline)?;
            match self.read(piece) {
                Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => stream.read(buffer),
            Connection::Tls(stream) => stream.read(buffer),
            Connection::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => stream.write(bytes),
            Connection::Tls(stream) => stream.write(bytes),
            Connection::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Connection::Tls(stream) => stream.flush(),
            Connection::Tcp(_) | Connection::Unix(_) => Ok(()),
        }
    }
}

/// Whether nothing came in time.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

const NO_HANDSHAKE: &str = "no TLS handshake in time: does it speak TLS at this port?";
