//! The address at which clients reach relay, and requests to it.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::{
    cli::{
        client::{Answer, Limits, NoAnswer, Opened, Request, Server, USUAL},
        connection::Connection,
    },
    tls::ClientTls,
};

/// The address of `relay doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whether it begins with `https://` or `wss://`.
    pub secure: bool,
    /// The name or the address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What precedes every path, without a slash at the end.
    pub prefix: String,
    /// The address to connect to in place of those of the name.
    pub address: Option<IpAddr>,
}

impl Target {
    /// Parses `https://host[:port][/prefix/]`, also with `http`, `wss` and `ws`.
    pub fn parse(url: &str) -> Option<Target> {
        let (scheme, rest) = url.split_once("://")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" | "wss" => true,
            "http" | "ws" => false,
            _ => return None,
        };
        let is_plain = rest.bytes().all(|byte| byte.is_ascii_graphic()) && !rest.contains(['?', '#', '@', '"', '\\']);
        let (authority, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port != 0)?),
            _ => (authority, if secure { 443 } else { 80 }),
        };
        let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_valid = match v6 {
            Some(v6) => v6.parse::<core::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && !host.contains([':', '[', ']']),
        };
        (is_plain && is_valid).then(|| Target {
            secure,
            host: v6.unwrap_or(host).to_owned(),
            port,
            prefix: prefix.trim_end_matches('/').to_owned(),
            address: None,
        })
    }

    /// The `Host` header; with the scheme's own port there is none in it.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// The origin of pages at this address.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.secure { "https" } else { "http" }, self.authority())
    }

    /// The addresses of the name. The system's own time-out may be longer than ours, so that a thread asks.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        if let Some(address) = self.address {
            return Ok(vec![(address, self.port).into()]);
        }
        let (send, receive) = mpsc::channel();
        let name = (self.host.clone(), self.port);
        thread::spawn(move || send.send(name.to_socket_addrs().map(Vec::from_iter)));
        let mut found = receive.recv_timeout(TIMEOUT).map_err(|_| io::Error::from(ErrorKind::TimedOut))??;
        found.dedup();
        found.truncate(MAX_ADDRESSES);
        Ok(found)
    }
}

/// How to connect: an address that has answered, and the settings of TLS.
#[derive(Clone, Debug)]
pub struct Route {
    /// The address that was given.
    pub target: Target,
    /// One of its addresses.
    pub address: SocketAddr,
    /// `None` without TLS.
    pub tls: Option<ClientTls>,
}

impl Route {
    /// Opens a connection, with TLS if the address has it.
    pub fn connect(&self) -> io::Result<Connection> {
        let connection = Connection::tcp([self.address], TIMEOUT, TIMEOUT)?;
        match &self.tls {
            Some(tls) => connection.secure(tls, &self.target.host),
            None => Ok(connection),
        }
    }

    /// Makes a request on a new connection, and reads the answer to its end.
    pub fn ask(&self, request: Request<'_>) -> Result<Answer, NoAnswer> {
        let host = self.target.authority();
        let server = Server { host: &host, prefix: &self.target.prefix };
        let mut connection = self.connect().map_err(NoAnswer::Connection)?;
        request.with("User-Agent", AGENT).ask(&mut connection, server, &LIMITS)
    }

    /// Makes a request on a new connection, whose answer need not end within `time`: see [`Request::open`].
    pub fn open(
        &self,
        request: Request<'_>,
        time: Duration,
        is_enough: impl Fn(&Answer) -> bool,
    ) -> Result<Opened, NoAnswer> {
        let host = self.target.authority();
        let server = Server { host: &host, prefix: &self.target.prefix };
        let limits = Limits { answer: time, ..LIMITS };
        let connection = self.connect().map_err(NoAnswer::Connection)?;
        request.with("User-Agent", AGENT).open(connection, server, &limits, is_enough)
    }
}

/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;
/// For connecting, for each part of a handshake, and for a name.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// A body can be large.
const LIMITS: Limits = Limits { sending: Duration::from_secs(60), answer: TIMEOUT, ..USUAL };
/// What logs show of a check.
pub const AGENT: &str = concat!("relay-doctor/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (url, authority, prefix, origin) in [
            ("https://shop.example.org/", "shop.example.org", "", "https://shop.example.org"),
            ("wss://shop.example.org/relay/", "shop.example.org", "/relay", "https://shop.example.org"),
            ("HTTP://h:8080/a/b", "h:8080", "/a/b", "http://h:8080"),
            ("ws://[::1]:80", "[::1]", "", "http://[::1]"),
            ("https://[::1]", "[::1]", "", "https://[::1]"),
        ] {
            let target = Target::parse(url).expect(url);
            assert_eq!(
                (&*target.authority(), &*target.prefix, &*target.origin()),
                (authority, prefix, origin),
                "{url}"
            );
        }
        for url in [
            "shop.example.org",
            "ftp://h",
            "https://",
            "http://h:0",
            "http://h:x",
            "http://u@h",
            "http://h/?a",
            "http://::1",
            "http://h /",
        ] {
            assert_eq!(Target::parse(url), None, "{url}");
        }
    }
}
