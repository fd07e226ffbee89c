//! The address of a relay, and a blocking connection to it.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    time::Duration,
};

use super::error::Error;

/// A parsed `--url`.
#[derive(Debug)]
pub struct Endpoint {
    /// `host:port`, for the `Host` header too.
    pub host: String,
    /// What precedes every path, as with a relay behind a proxy; without a slash at the end.
    pub path: String,
    unix: Option<String>,
}

impl Endpoint {
    /// Parses `http://host:port`, `ws://host:port`, `host:port` or `unix:PATH`.
    pub fn parse(url: &str) -> Result<Endpoint, Error> {
        if let Some(path) = url.strip_prefix("unix:") {
            return Ok(Endpoint { host: "localhost".into(), path: String::new(), unix: Some(path.into()) });
        }
        let rest = url.strip_prefix("http://").or(url.strip_prefix("ws://"));
        let Some(rest) = rest.or((!url.contains("://")).then_some(url)) else {
            return Err(Error::Url(url.into()));
        };
        let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let has_port =
            host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
        let host = if has_port { host.into() } else { format!("{host}:80") };
        Ok(Endpoint { host, path: path.trim_end_matches('/').into(), unix: None })
    }

    /// Connects to the first of its addresses that answers. Reads from the connection time out after [`READ_TIMEOUT`].
    pub fn connect(&self) -> Result<Stream, Error> {
        let name = self.unix.as_ref().unwrap_or(&self.host);
        self.try_connect().map_err(|error| Error::Connection(name.clone(), error.to_string()))
    }

    fn try_connect(&self) -> io::Result<Stream> {
        if let Some(path) = &self.unix {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(READ_TIMEOUT))?;
            return Ok(Stream::Unix(stream));
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.host.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(READ_TIMEOUT))?;
                    return Ok(Stream::Tcp(stream));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// A blocking connection.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A relay pings every 25 s by default: after this long without a byte, `relay listen` sends a ping, and after twice as
/// long it gives up.
pub const READ_TIMEOUT: Duration = Duration::from_secs(40);
/// Bytes of an answer that are read.
pub const ANSWER_MAX: u64 = 1 << 20;
