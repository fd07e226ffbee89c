//! A connection of the load: what has come but is not whole, and what the socket has not taken yet.

use std::io::{self, ErrorKind, Read, Write};

use mio::{
    Interest, Registry, Token,
    event::Source,
    net::{TcpStream, UnixStream},
};

/// A socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// A TCP socket that sends small pieces at once.
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

/// A connection that is being opened, or open.
#[derive(Debug)]
pub struct Link {
    stream: Stream,
    rest: Vec<u8>,
    out: Vec<u8>,
}

impl Link {
    /// A connection whose events have that token.
    pub fn new(mut stream: Stream, registry: &Registry, token: Token) -> io::Result<Link> {
        let source: &mut dyn Source = match &mut stream {
            Stream::Tcp(stream) => stream,
            Stream::Unix(stream) => stream,
        };
        registry.register(source, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Link { stream, rest: Vec::new(), out: Vec::new() })
    }

    /// Queues bytes; [`Link::flush`] sends them.
    pub fn push(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// How many bytes the socket has not taken.
    pub fn backlog(&self) -> usize {
        self.out.len()
    }

    /// Writes what the socket takes; the rest goes when it is writable again.
    pub fn flush(&mut self) -> Result<(), String> {
        let mut sent = 0;
        while sent < self.out.len() {
            match self.stream.write(&self.out[sent..]) {
                Ok(length) => sent += length,
                // The last is what a socket says that is still being connected.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        self.out.drain(..sent);
        Ok(())
    }

    /// Reads what is there and hands it to `take`, together with what was left over; `take` says how many of the bytes it
    /// has used. Whether there may be more, which no event tells of: who never stops sending must not keep the run from its
    /// end. The error says why the connection is over.
    pub fn read(
        &mut self,
        buffer: &mut [u8],
        take: &mut dyn FnMut(&[u8]) -> Result<usize, String>,
    ) -> Result<bool, String> {
        for _ in 0..READS {
            let length = match self.stream.read(buffer) {
                Ok(0) => return Err("closed by the server".into()),
                Ok(length) => length,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(false);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.to_string()),
            };
            // Mostly what comes is whole and is used where it lies.
            if self.rest.is_empty() {
                let used = take(&buffer[..length])?;
                self.rest.extend_from_slice(&buffer[used..length]);
            } else {
                self.rest.extend_from_slice(&buffer[..length]);
                let used = take(&self.rest)?;
                self.rest.drain(..used);
            }
            if self.rest.len() > MOST_REST {
                return Err(format!("{} bytes and no end of what began", self.rest.len()));
            }
            // A short read took all there was, and what comes later is a new event (epoll(7), question 9).
            if length < buffer.len() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// How often a socket is read in a row.
const READS: usize = 16;
/// Bytes of what is not whole. Nothing is: a message has a million at most, and a poll's answer what a slow client may owe.
const MOST_REST: usize = 32 << 20;
