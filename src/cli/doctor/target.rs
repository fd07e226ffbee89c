//! The address at which clients reach relay, and connections to it.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::tls::{self, ClientTls};

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
        let socket = TcpStream::connect_timeout(&self.address, TIMEOUT)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        let Some(tls) = &self.tls else { return Ok(Connection::Plain(socket)) };
        let client = tls.connect(&self.target.host).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        let mut stream = tls::Stream::new(socket, client);
        match stream.handshake()? {
            true => Ok(Connection::Tls(Box::new(stream))),
            false => Err(io::Error::new(ErrorKind::TimedOut, "no TLS handshake in time")),
        }
    }
}

/// A connection that blocks, with time-outs.
pub enum Connection {
    /// Over TCP.
    Plain(TcpStream),
    /// Over TLS.
    Tls(Box<tls::Stream<TcpStream>>),
}

impl Connection {
    fn socket(&self) -> &TcpStream {
        match self {
            Connection::Plain(socket) => socket,
            Connection::Tls(stream) => stream.socket(),
        }
    }

    /// Makes the next read wait until `deadline` at most.
    pub fn wait_until(&self, deadline: Instant) -> io::Result<()> {
        // A time-out of zero would be none.
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.socket().set_read_timeout(Some(left))
    }

    /// Whether the peer is on this machine.
    pub fn is_local(&self) -> bool {
        let of = |address: io::Result<SocketAddr>| address.map(|address| address.ip()).ok();
        let (own, peer): (Option<IpAddr>, _) = (of(self.socket().local_addr()), of(self.socket().peer_addr()));
        own == peer || peer.is_some_and(|peer| peer.is_loopback())
    }

    /// How many certificates the peer has sent, and until when its own is valid, as a Unix time.
    pub fn certificates(&self) -> Option<(usize, u64)> {
        match self {
            Connection::Plain(_) => None,
            Connection::Tls(stream) => stream.peer_certificates(),
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Plain(socket) => socket.read(buffer),
            Connection::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Connection::Plain(socket) => socket.write(bytes),
            Connection::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Connection::Plain(_) => Ok(()),
            Connection::Tls(stream) => stream.flush(),
        }
    }
}

/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;
/// For connecting, for each part of a handshake, and for a name.
pub const TIMEOUT: Duration = Duration::from_secs(10);

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
