//! Connections to servers that relay itself connects to: Redis, or the backend of hooks.

use std::{io, net::ToSocketAddrs, time::Duration};

use crate::{cli::connection::Connection, config::Place, tls::ClientTls};

/// Connects, with TLS if there are settings for it. Reads and writes fail after `timeout`.
pub fn connect(place: &Place, tls: Option<&ClientTls>, timeout: Duration) -> io::Result<Connection> {
    let (host, port) = match place {
        Place::Unix(path) => return Connection::unix(path, timeout),
        Place::Tcp(host, port) => (host.as_str(), *port),
    };
    let connection = Connection::tcp((host, port).to_socket_addrs()?, timeout, timeout)?;
    match tls {
        Some(tls) => connection.secure(tls, host),
        None => Ok(connection),
    }
}

/// A place for a sentence.
pub fn name(place: &Place) -> String {
    match place {
        Place::Unix(path) => format!("unix:{}", path.display()),
        Place::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
        Place::Tcp(host, port) => format!("{host}:{port}"),
    }
}
