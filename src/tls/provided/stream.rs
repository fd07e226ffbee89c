//! TLS over a socket that does not block.

use std::io::{self, ErrorKind, Read, Write};

use rustls::Connection;

use super::{
    identity::{parse, validity},
    problem::{explain, refuses_certificate},
};

/// A TLS connection and its socket. Reading and writing behave as with the socket itself: they fail with
/// [`ErrorKind::WouldBlock`] until it is readable or writable, also during the handshake. After each event of the
/// socket call both [`Stream::read`] and [`Stream::flush`], because TLS has messages of its own in both directions.
pub struct Stream<S> {
    socket: S,
    tls: Connection,
    /// Whether the socket ended without the `close_notify` of TLS.
    truncated: bool,
}

impl<S: Read + Write> Stream<S> {
    /// A connection over a new socket: for a client `rustls::ClientConnection`, for a server
    /// `rustls::ServerConnection`.
    pub fn new(socket: S, tls: impl Into<Connection>) -> Stream<S> {
        Stream { socket, tls: tls.into(), truncated: false }
    }

    /// The socket.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// The socket.
    pub fn socket_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    /// The certificates of the peer: how many it has sent, and until when its own is valid, as a Unix time. `None` before it
    /// has sent any.
    pub fn peer_certificates(&self) -> Option<(usize, u64)> {
        let chain = self.tls.peer_certificates()?;
        let (_, not_after) = validity(&parse(chain.first()?).ok()?).ok()?;
        Some((chain.len(), not_after))
    }

    /// Continues the handshake. Returns whether it is complete. Fails with [`ErrorKind::InvalidData`] and an explanation if
    /// one side does not accept the other.
    pub fn handshake(&mut self) -> io::Result<bool> {
        while self.tls.is_handshaking() {
            // A socket that blocks would wait for an answer to what was not sent.
            match self.flush() {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
            match self.receive() {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, ENDED)),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Reads. Returns 0 at the end, also without the `close_notify` of TLS: the protocol above must know where its
    /// messages end, or ask [`Stream::is_truncated`]. Fails with [`ErrorKind::PermissionDenied`] if the server refuses the
    /// client's certificate, which in TLS 1.3 it does after the handshake, and with [`ErrorKind::InvalidData`] if TLS failed
    /// otherwise.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    self.truncated = true;
                    return Ok(0);
                }
                done => return done,
            }
            self.receive()?;
        }
    }

    /// Whether the end that [`Stream::read`] returned was not announced by the peer's TLS.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Reads from the socket and handles what came. Returns the number of bytes.
    fn receive(&mut self) -> io::Result<usize> {
        let read = self.tls.read_tls(&mut self.socket);
        if let Err(error) = self.tls.process_new_packets() {
            // The alert that tells the peer why.
            let _ = self.flush();
            let kind = match refuses_certificate(&error) {
                true => ErrorKind::PermissionDenied,
                false => ErrorKind::InvalidData,
            };
            return Err(io::Error::new(kind, explain(&error)));
        }
        match self.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => read,
        }
    }

    /// Writes a part of `bytes`, at most 16 KiB, once everything before it is written.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        if self.tls.is_handshaking() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let written = self.tls.writer().write(&bytes[..bytes.len().min(MAX_RECORD)])?;
        match self.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(written),
        }
    }

    /// Writes what TLS has accepted. Fails with [`ErrorKind::WouldBlock`] if a part of it is left.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.socket) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Announces the end to the peer, as far as the socket accepts it.
    pub fn close(&mut self) {
        self.tls.send_close_notify();
        let _ = self.flush();
    }
}

const ENDED: &str = "the connection ended in the TLS handshake: does the server speak TLS at this port?";
/// The longest record of TLS.
const MAX_RECORD: usize = 16 * 1024;
