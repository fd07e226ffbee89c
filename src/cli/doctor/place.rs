//! A blocking connection to a server that relay itself connects to: Redis, or the backend of hooks.

use std::{
    io::{self, ErrorKind},
    net::{TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    time::Duration,
};

use crate::{
    cli::endpoint::Stream,
    config::Place,
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

/// A place for a sentence.
pub fn name(place: &Place) -> String {
    match place {
        Place::Unix(path) => format!("unix:{}", path.display()),
        Place::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
        Place::Tcp(host, port) => format!("{host}:{port}"),
    }
}
