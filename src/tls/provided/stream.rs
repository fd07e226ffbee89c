//! TLS over a socket that does not block.

use std::io::{self, ErrorKind, Read, Write};

use rustls::Connection;

use super::problem::explain;

/// A TLS connection and its socket. Reading and writing behave as with the socket itself: they fail with
/// [`ErrorKind::WouldBlock`] until it is readable or writable, also during the handshake. After each event of the
/// socket call both [`Stream::read`] and [`Stream::flush`], because TLS has messages of its own in both directions.
pub struct Stream<S> {
    socket: S,
    tls: Connection,
}

impl<S: Read + Write> Stream<S> {
    /// A connection over a new socket: for a client `rustls::ClientConnection`, for a server
    /// `rustls::ServerConnection`.
    pub fn new(socket: S, tls: impl Into<Connection>) -> Stream<S> {
        Stream { socket, tls: tls.into() }
    }

    /// The socket.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// The socket.
    pub fn socket_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    /// Reads. Returns 0 at the end, also without the `close_notify` of TLS: the protocol above must know where its
    /// messages end.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                done => return done,
            }
            let read = self.tls.read_tls(&mut self.socket);
            if let Err(error) = self.tls.process_new_packets() {
                // The alert that tells the peer why.
                let _ = self.flush();
                return Err(io::Error::new(ErrorKind::InvalidData, explain(&error)));
            }
            match self.flush() {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
            read?;
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

/// The longest record of TLS.
const MAX_RECORD: usize = 16 * 1024;
