//! A blocking connection to a server that relay itself connects to: Redis, or the backend of hooks.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use super::exchange::is_timeout;
use crate::{
    cli::endpoint::{ANSWER_MAX, Stream},
    config::Place,
    http::response::{Malformed, Reader},
    tls::{self, ClientTls},
};

/// Connects, with TLS if there are settings for it. Reads and writes fail after `timeout`.
pub fn connect(place: &Place, tls: Option<&ClientTls>, timeout: Duration) -> io::Result<Stream> {
    let (host, port) = match place {
        Place::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
            return Ok(Stream::Unix(stream));
        }
        Place::Tcp(host, port) => (host, *port),
    };
    let mut last = io::Error::other("the name has no address");
    for address in (host.as_str(), port).to_socket_addrs()? {
        let socket = match TcpStream::connect_timeout(&address, timeout) {
            Ok(socket) => socket,
            Err(error) => {
                last = error;
                continue;
            }
        };
        socket.set_read_timeout(Some(timeout))?;
        socket.set_write_timeout(Some(timeout))?;
        let Some(tls) = tls else { return Ok(Stream::Tcp(socket)) };
        let client = tls.connect(host).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        let mut stream = tls::Stream::new(socket, client);
        return match stream.handshake()? {
            true => Ok(Stream::Tls(Box::new(stream))),
            false => Err(io::Error::new(ErrorKind::TimedOut, "no TLS handshake in time")),
        };
    }
    Err(last)
}

/// Sends a request and reads the answer, which must be complete within `time`: its status and its body.
pub fn exchange(stream: &mut Stream, request: &str, time: Duration) -> io::Result<(u16, Vec<u8>)> {
    let invalid = |error: Malformed| io::Error::new(ErrorKind::InvalidData, error);
    let deadline = Instant::now() + time;
    stream.write_all(request.as_bytes())?;
    let (mut reader, mut piece) = (Reader::default(), [0; 4096]);
    loop {
        let length = read(stream, &mut piece, deadline)?;
        let answer = match length {
            0 => Some(reader.handle_end().map_err(invalid)?),
            _ => reader.handle_input(&piece[..length], ANSWER_MAX).map_err(invalid)?,
        };
        if let Some(answer) = answer {
            return Ok((answer.status, answer.body));
        }
    }
}

/// Reads what comes until `deadline`; nothing is an error.
pub fn read(stream: &mut Stream, piece: &mut [u8], deadline: Instant) -> io::Result<usize> {
    let late = || io::Error::new(ErrorKind::TimedOut, "no answer in time");
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(late());
    }
    stream.set_read_timeout(left)?;
    stream.read(piece).map_err(|error| if is_timeout(&error) { late() } else { error })
}

/// A place for a sentence.
pub fn name(place: &Place) -> String {
    match place {
        Place::Unix(path) => format!("unix:{}", path.display()),
        Place::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
        Place::Tcp(host, port) => format!("{host}:{port}"),
    }
}
