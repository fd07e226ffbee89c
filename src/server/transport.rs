//! The socket of a connection that relay opens, to Redis, a Sentinel or the backend, with TLS or without.

use std::io::{self, ErrorKind, Read, Write};

use crate::{
    server::conn::Socket,
    tls::{ClientTls, Stream},
};

/// A socket, with TLS or without.
pub enum Transport {
    /// The bytes are sent as they are.
    Plain(Socket),
    /// They are encrypted.
    Tls(Box<Stream<Socket>>),
}

impl Transport {
    /// A socket that was opened. With `tls`, a client of `host`.
    pub fn new(socket: Socket, tls: Option<(&ClientTls, &str)>) -> io::Result<Transport> {
        Ok(match tls {
            None => Transport::Plain(socket),
            Some((tls, host)) => {
                let client = tls.connect(host).map_err(io::Error::other)?;
                Transport::Tls(Box::new(Stream::new(socket, client)))
            }
        })
    }

    /// The socket.
    pub fn socket(&mut self) -> &mut Socket {
        match self {
            Transport::Plain(socket) => socket,
            Transport::Tls(stream) => stream.socket_mut(),
        }
    }

    /// Whether a read that does not fill the buffer may leave input that no event reports.
    pub fn reads_partly(&self) -> bool {
        matches!(self, Transport::Plain(Socket::Unix(_)) | Transport::Tls(_))
    }

    /// Continues the handshake of TLS on a connected socket. Returns whether it is complete.
    pub fn handshake(&mut self) -> io::Result<bool> {
        match self {
            Transport::Plain(_) => Ok(true),
            Transport::Tls(stream) => stream.handshake(),
        }
    }

    /// Whether the end of the input may have been forged: TLS announces an end, and this one was not announced.
    pub fn is_truncated(&self) -> bool {
        match self {
            Transport::Plain(_) => false,
            Transport::Tls(stream) => stream.is_truncated(),
        }
    }

    /// Writes what TLS has still to send. Returns whether more can be written.
    pub fn flush(&mut self) -> io::Result<bool> {
        match self {
            Transport::Plain(_) => Ok(true),
            Transport::Tls(stream) => match stream.flush() {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
                Err(error) => Err(error),
            },
        }
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => socket.read(buffer),
            Transport::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => socket.write(bytes),
            Transport::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Transport::flush(self).map(drop)
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        if let Transport::Tls(stream) = self {
            stream.close();
        }
    }
}
