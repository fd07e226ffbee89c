//! A non-blocking connection with its buffers: received bytes that are incomplete, and bytes to send.

use std::io::{self, ErrorKind, Read, Write};

use mio::{
    Interest, Registry, Token,
    event::Source,
    net::{TcpStream, UnixStream},
};

use crate::error::ConnectionError;

/// A socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// A TCP socket with `TCP_NODELAY`.
    pub fn tcp(stream: TcpStream) -> io::Result<Stream> {
        stream.set_nodelay(true)?;
        Ok(Stream::Tcp(stream))
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }
}

/// A connection, open or being opened.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    /// Received bytes of an incomplete response or frame.
    rest: Vec<u8>,
    /// Bytes that the socket has not accepted yet.
    out: Vec<u8>,
}

impl Connection {
    /// Registers a socket; its events carry `token`.
    pub fn new(mut stream: Stream, registry: &Registry, token: Token) -> io::Result<Connection> {
        let source: &mut dyn Source = match &mut stream {
            Stream::Tcp(stream) => stream,
            Stream::Unix(stream) => stream,
        };
        registry.register(source, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Connection { stream, rest: Vec::new(), out: Vec::new() })
    }

    /// Queues bytes; [`Connection::flush`] sends them.
    pub fn push(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// The number of bytes that the socket has not accepted yet.
    pub fn backlog(&self) -> usize {
        self.out.len()
    }

    /// Writes what the socket accepts. The rest is sent when it is writable again.
    pub fn flush(&mut self) -> Result<(), ConnectionError> {
        let mut sent = 0;
        while sent < self.out.len() {
            match self.stream.write(&self.out[sent..]) {
                Ok(length) => sent += length,
                // A socket that is still connecting reports NotConnected.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.out.drain(..sent);
        Ok(())
    }

    /// Reads what is available and calls `parse` with it, preceded by what `parse` left over the last time; `parse` returns
    /// how many bytes it used. Returns `true` if there may be more to read, for which no event arrives: the number of reads is
    /// bounded, so that a server that never stops sending cannot keep a run from ending.
    pub fn read(
        &mut self,
        buffer: &mut [u8],
        parse: &mut dyn FnMut(&[u8]) -> Result<usize, ConnectionError>,
    ) -> Result<bool, ConnectionError> {
        for _ in 0..READS {
            let length = match self.stream.read(buffer) {
                Ok(0) => return Err(ConnectionError::Closed),
                Ok(length) => length,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(false);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            // Mostly everything is complete, and is parsed without a copy.
            if self.rest.is_empty() {
                let used = parse(&buffer[..length])?;
                self.rest.extend_from_slice(&buffer[used..length]);
            } else {
                self.rest.extend_from_slice(&buffer[..length]);
                let used = parse(&self.rest)?;
                self.rest.drain(..used);
            }
            if self.rest.len() > MAX_REST {
                return Err(ConnectionError::TooLong(self.rest.len()));
            }
            // A short read emptied the socket; later bytes cause another event (epoll(7), question 9).
            if length < buffer.len() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The maximum number of reads in a row.
const READS: usize = 16;
/// The maximum length of an incomplete response or frame, in bytes: far above a message (1 MB) and above a poll's response,
/// which relay bounds by the client's `unsent` limit.
const MAX_REST: usize = 32 << 20;
