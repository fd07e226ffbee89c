//! The address of a relay, and a blocking connection to it.

use core::fmt;
use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use super::error::Error;
use crate::config::{Address, Config};

/// Where a relay is reached.
#[derive(Debug)]
pub struct Endpoint {
    /// `host:port`, for the `Host` header.
    pub host: String,
    /// What precedes every path, as with a relay behind a proxy; without a slash at the end.
    pub path: String,
    /// The path of plain WebSockets.
    pub websocket: String,
    /// The addresses to try, in this order.
    places: Vec<Place>,
    /// What names the address, for messages.
    origin: String,
}

#[derive(Debug)]
enum Place {
    /// `host:port`.
    Tcp(String),
    /// The path of a socket.
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(address) => f.write_str(address),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The first address, as `--url` would have it.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.places.first() {
            Some(place @ Place::Tcp(_)) => write!(f, "http://{place}{}", self.path),
            Some(place) => place.fmt(f),
            None => f.write_str("no address"),
        }
    }
}

impl Endpoint {
    /// Parses `http://host:port`, `ws://host:port`, `host:port` or `unix:PATH`.
    pub fn parse(url: &str) -> Result<Endpoint, Error> {
        let origin = "address from --url".to_owned();
        let websocket = "/ws".to_owned();
        if let Some(path) = url.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            let places = vec![Place::Unix(path.into())];
            return Ok(Endpoint { host: "localhost".into(), path: String::new(), websocket, places, origin });
        }
        let rest = url.strip_prefix("http://").or(url.strip_prefix("ws://"));
        let is_place = |rest: &&str| !rest.starts_with(['/', ':']) && *rest != "unix:";
        let rest = rest.or((!url.contains("://")).then_some(url)).filter(is_place);
        let Some(rest) = rest.filter(|rest| !rest.is_empty() && !rest.contains([' ', '?', '#', '@'])) else {
            return Err(Error::Url(url.into()));
        };
        let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let has_port =
            host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
        let host = if has_port { host.into() } else { format!("{host}:80") };
        let places = vec![Place::Tcp(host.clone())];
        Ok(Endpoint { host, path: path.trim_end_matches('/').into(), websocket, places, origin })
    }

    /// The addresses that a relay with this configuration, which messages call `name`, listens on.
    pub fn listening(config: &Config, name: String) -> Result<Endpoint, Error> {
        // Only proxies can connect to the others.
        let direct = config.listen.iter().filter(|listen| !listen.proxied);
        let places: Vec<Place> = direct.flat_map(|listen| places(&listen.address)).collect();
        let tcp = places.iter().find_map(|place| match place {
            Place::Tcp(address) => Some(address.clone()),
            Place::Unix(_) => None,
        });
        if places.is_empty() {
            return Err(Error::NoAddress(name));
        }
        let origin = format!("address from `listen` of {name}");
        let websocket = config.websocket.path.clone();
        Ok(Endpoint { host: tcp.unwrap_or("localhost".into()), path: String::new(), websocket, places, origin })
    }

    /// Connects to the first of its addresses that answers. Reads from the connection time out after [`READ_TIMEOUT`].
    pub fn connect(&self) -> Result<Stream, Error> {
        let mut first = None;
        for place in &self.places {
            match place.connect() {
                Ok(stream) => return Ok(stream),
                Err(error) => first = first.or(Some((place, error))),
            }
        }
        let (place, error) = first.expect("there is an address");
        let nobody = [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound].contains(&error.kind());
        let hint = match nobody {
            true => format!(
                ": is relay running and listening on this address? ({}; --url names another address)",
                self.origin
            ),
            false => format!(" ({})", self.origin),
        };
        Err(Error::Connection(place.to_string(), format!("{error}{hint}")))
    }
}

/// The addresses at which this machine reaches a listening socket. Port 0 means a different port at each start.
fn places(address: &Address) -> Vec<Place> {
    match address {
        Address::Unix(path) => vec![Place::Unix(path.clone())],
        Address::Tcp(text) => {
            let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
            let tcp = |host: &str| Place::Tcp(format!("{host}:{port}"));
            match host {
                _ if port.bytes().all(|digit| digit == b'0') => Vec::new(),
                "0.0.0.0" => vec![tcp("127.0.0.1")],
                "*" | "[::]" => vec![tcp("127.0.0.1"), tcp("[::1]")],
                host => vec![tcp(host)],
            }
        }
    }
}

impl Place {
    fn connect(&self) -> io::Result<Stream> {
        let host = match self {
            Place::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(READ_TIMEOUT))?;
                return Ok(Stream::Unix(stream));
            }
            Place::Tcp(host) => host,
        };
        let mut last = io::Error::other("the name has no address");
        for address in host.to_socket_addrs()? {
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

/// Sends a request and reads until the server closes the connection: the status and the body of the answer.
pub fn exchange(stream: &mut Stream, request: &str) -> io::Result<(u16, Vec<u8>)> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    let malformed = |_| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP");
    match parsed.parse(&answer).map_err(malformed)? {
        httparse::Status::Complete(head) => Ok((parsed.code.unwrap_or(0), answer.split_off(head))),
        httparse::Status::Partial => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ListenAddress;

    #[test]
    fn urls() {
        for (url, host, path) in [
            ("http://h:1", "h:1", ""),
            ("ws://h", "h:80", ""),
            ("h:4000", "h:4000", ""),
            ("http://[::1]:4000/relay/", "[::1]:4000", "/relay"),
            ("unix:/run/r", "localhost", ""),
        ] {
            let endpoint = Endpoint::parse(url).expect(url);
            assert_eq!((&*endpoint.host, &*endpoint.path, endpoint.places.len()), (host, path, 1), "{url}");
        }
        for url in ["https://h", "", "http://", "unix:", ":4000", "http://u@h", "h h", "/run/r"] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn addresses_of_the_configuration() {
        let listening = |list: &[&str]| {
            let listen = list.iter().map(|address| ListenAddress::parse(address).expect(address)).collect();
            let endpoint = Endpoint::listening(&Config { listen, ..Config::default() }, "x".into()).ok()?;
            Some(endpoint.places.iter().map(Place::to_string).collect::<Vec<_>>().join(" ") + " " + &endpoint.host)
        };
        assert_eq!(listening(&["0.0.0.0:1"]).unwrap(), "127.0.0.1:1 127.0.0.1:1");
        assert_eq!(listening(&["*:1"]).unwrap(), "127.0.0.1:1 [::1]:1 127.0.0.1:1");
        assert_eq!(listening(&["unix:/r", "[::1]:2"]).unwrap(), "unix:/r [::1]:2 [::1]:2");
        assert_eq!(listening(&["unix:/r"]).unwrap(), "unix:/r localhost");
        assert_eq!((listening(&["127.0.0.1:0"]), listening(&[])), (None, None));
        assert_eq!(listening(&["proxy+tcp://127.0.0.1:1", "unix:/r?mode=0600"]).unwrap(), "unix:/r localhost");
        assert_eq!(listening(&["proxy+tcp://127.0.0.1:1"]), None);
    }
}
