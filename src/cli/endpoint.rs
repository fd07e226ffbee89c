//! The address of a relay, connections to it, and requests.

use core::fmt;
use std::{
    io::{self, ErrorKind},
    net::ToSocketAddrs,
    path::PathBuf,
    time::Duration,
};

use super::{
    client::{Answer, Limits, Opened, Request, Server, USUAL},
    connection::Connection,
    error::Error,
};
use crate::{
    config::{Address, Config, ListenAddress},
    tls::{CertificateError, ClientTls},
};

/// Where a relay is reached.
#[derive(Debug)]
pub struct Endpoint {
    /// `host:port`, for the `Host` header.
    host: String,
    /// What precedes every path, as with a relay behind a proxy; without a slash at the end.
    path: String,
    /// The path of plain WebSockets.
    pub websocket: String,
    /// The addresses to try, in this order.
    places: Vec<Place>,
    /// The settings of TLS, if a place has it.
    tls: Option<ClientTls>,
    /// Those for connections that stay on this machine, if they are others.
    own_tls: Option<ClientTls>,
    /// What names the address, for messages.
    origin: String,
}

/// What a command sends to a relay of this machine's configuration.
///
/// While relay does not run, any program on this machine can take a port above 1023. So a command that sends a token or a
/// signature, which can be used again, accepts only a server with the key of the configured certificate. `relay health`
/// sends nothing secret, and the answer of another program is worth as little without TLS. It accepts any certificate, so
/// that it works between the renewal of a certificate and the reload of relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sends {
    /// A token or a signature.
    Credentials,
    /// A question that everybody may ask.
    Question,
}

#[derive(Debug)]
enum Place {
    /// `host:port`.
    Tcp(String),
    /// `host:port` of a port with TLS.
    Tls(String),
    /// The path of a socket.
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(address) | Place::Tls(address) => f.write_str(address),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The first address, as `--url` would have it.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.places.first() {
            Some(place @ Place::Tcp(_)) => write!(f, "http://{place}{}", self.path),
            Some(place @ Place::Tls(_)) => write!(f, "https://{place}{}", self.path),
            Some(place) => place.fmt(f),
            None => f.write_str("no address"),
        }
    }
}

impl Endpoint {
    /// Parses `http://host:port`, `ws://host:port`, `host:port`, `unix:PATH`, or `https://host:port` and `wss://host:port`.
    /// These need [`Endpoint::set_tls`].
    pub fn parse(url: &str) -> Result<Endpoint, Error> {
        let tls = None;
        let origin = "address from --url".to_owned();
        let websocket = "/ws".to_owned();
        if let Some(path) = url.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            let places = vec![Place::Unix(path.into())];
            let (host, path) = ("localhost".into(), String::new());
            return Ok(Endpoint { host, path, websocket, places, tls, own_tls: None, origin });
        }
        let after = |schemes: [&str; 2]| schemes.iter().find_map(|scheme| url.strip_prefix(scheme));
        let secure = after(["https://", "wss://"]);
        let rest = secure.or(after(["http://", "ws://"]));
        let is_place = |rest: &&str| !rest.starts_with(['/', ':']) && *rest != "unix:";
        let rest = rest.or((!url.contains("://")).then_some(url)).filter(is_place);
        let Some(rest) = rest.filter(|rest| !rest.is_empty() && !rest.contains([' ', '?', '#', '@'])) else {
            return Err(Error::Url(url.into()));
        };
        let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let has_port =
            host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
        let (place, port): (fn(String) -> Place, _) = match secure {
            Some(_) => (Place::Tls, 443),
            None => (Place::Tcp, 80),
        };
        let host = if has_port { host.into() } else { format!("{host}:{port}") };
        let places = vec![place(host.clone())];
        let path = path.trim_end_matches('/').into();
        Ok(Endpoint { host, path, websocket, places, tls, own_tls: None, origin })
    }

    /// Sets the authorities that are trusted: those in a PEM file, of which this is the name and the text, or else those of the
    /// system. Fails if there is a file and no place with TLS.
    pub fn set_tls(&mut self, file: Option<(String, String)>) -> Result<(), Error> {
        if !self.places.iter().any(|place| matches!(place, Place::Tls(_))) {
            return file.map_or(Ok(()), |_| Err(Error::NeedsTls));
        }
        let (name, pem) = file.map_or_else(|| (self.to_string(), None), |(name, pem)| (name, Some(pem)));
        let made = ClientTls::new(pem, None).and_then(|mut tls| match tls.needs_system_authorities() {
            true => tls.load_system_authorities().map(|()| tls),
            false => Ok(tls),
        });
        self.tls = Some(made.map_err(|error| Error::Certificate(name, error.to_string()))?);
        Ok(())
    }

    /// The addresses that a relay with this configuration, which messages call `name`, listens on.
    pub fn listening(config: &Config, name: String, sends: Sends) -> Result<Endpoint, Error> {
        // Only proxies can connect to the others.
        let direct = config.listen.iter().filter(|listen| !listen.proxied);
        let mut places: Vec<Place> = direct.flat_map(places).collect();
        // Plain ones first: they need no certificate.
        places.sort_by_key(|place| matches!(place, Place::Tls(_)));
        let is_tls = |place: &Place| matches!(place, Place::Tls(_));
        let has_tls = places.iter().any(is_tls);
        let failed = |error: CertificateError| Error::Certificate(name.clone(), error.to_string());
        let own_tls = (has_tls && sends == Sends::Question).then(ClientTls::unverified).transpose().map_err(failed)?;
        let may_connect = has_tls && (own_tls.is_some() || !config.tls.identities.is_empty());
        let tls = may_connect.then(|| ClientTls::pinned(&config.tls.identities)).transpose().map_err(failed)?;
        if tls.is_none() {
            if places.iter().all(is_tls) && !places.is_empty() {
                return Err(Error::UnreadCertificate(name));
            }
            places.retain(|place| !is_tls(place));
        }
        let tcp = places.iter().find_map(|place| match place {
            Place::Tcp(address) | Place::Tls(address) => Some(address.clone()),
            Place::Unix(_) => None,
        });
        if places.is_empty() {
            return Err(Error::NoAddress(name));
        }
        let origin = format!("address from `listen` of {name}");
        let websocket = config.websocket.path.clone();
        let host = tcp.unwrap_or("localhost".into());
        Ok(Endpoint { host, path: String::new(), websocket, places, tls, own_tls, origin })
    }

    /// Lets messages say that `--url` names another address, for commands that have this option.
    pub fn or_url(mut self) -> Endpoint {
        self.origin.push_str("; --url names another");
        self
    }

    /// Sends a request and returns the answer.
    pub fn ask(&self, request: Request<'_>, limits: Limits) -> Result<Answer, Error> {
        let mut connection = self.connect()?;
        let answer = request.with("Connection", "close").ask(&mut connection, self.server(), &limits);
        answer.map_err(|error| Error::Connection(self.to_string(), error.to_string()))
    }

    /// Sends a request whose answer need not end: see [`Request::open`].
    pub fn open(&self, request: &Request<'_>, is_enough: impl Fn(&Answer) -> bool) -> Result<Opened, Error> {
        let opened = request.open(self.connect()?, self.server(), &USUAL, is_enough);
        opened.map_err(|error| Error::Connection(self.to_string(), error.to_string()))
    }

    fn server(&self) -> Server<'_> {
        Server { host: &self.host, prefix: &self.path }
    }

    /// Connects to the first of its addresses that answers. Reads and writes time out after [`TIMEOUT`].
    fn connect(&self) -> Result<Connection, Error> {
        let mut first = None;
        for place in &self.places {
            match place.connect(self.tls.as_ref(), self.own_tls.as_ref()) {
                Ok(stream) => return Ok(stream),
                Err(error) if is_about_tls(&error) => {
                    // The text is made for the configuration.
                    let why = error.to_string().replace("in ca_file", "with --ca-file");
                    return Err(Error::Certificate(self.to_string(), why));
                }
                Err(error) => first = first.or(Some((place, error))),
            }
        }
        let (place, error) = first.expect("there is an address");
        let nobody = [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound].contains(&error.kind());
        let hint = match nobody {
            true => format!(": is relay running and listening on this address? ({})", self.origin),
            false => format!(" ({})", self.origin),
        };
        Err(Error::Connection(place.to_string(), format!("{error}{hint}")))
    }
}

/// The addresses at which this machine reaches a listening socket. Port 0 means a different port at each start.
fn places(listen: &ListenAddress) -> Vec<Place> {
    match &listen.address {
        Address::Unix(path) => vec![Place::Unix(path.clone())],
        Address::Tcp(text) => {
            let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
            let place = if listen.tls { Place::Tls } else { Place::Tcp };
            let tcp = |host: &str| place(format!("{host}:{port}"));
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
    fn connect(&self, tls: Option<&ClientTls>, own_tls: Option<&ClientTls>) -> io::Result<Connection> {
        let (address, is_tls) = match self {
            Place::Unix(path) => return Connection::unix(path, TIMEOUT),
            Place::Tcp(address) => (address, false),
            Place::Tls(address) => (address, true),
        };
        let connection = Connection::tcp(address.to_socket_addrs()?, CONNECT_TIMEOUT, TIMEOUT)?;
        if !is_tls {
            return Ok(connection);
        }
        let tls = if connection.is_local() { own_tls.or(tls) } else { tls };
        let tls = tls.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, CertificateError::NoTls))?;
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        connection.secure(tls, host.trim_start_matches('[').trim_end_matches(']'))
    }
}

/// Whether one side does not accept the other's TLS, which will not change by itself.
fn is_about_tls(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::PermissionDenied) && error.get_ref().is_some()
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A relay pings every 25 s by default: after this long without a byte, `relay listen` sends a ping, and after twice as
/// long it gives up.
pub const TIMEOUT: Duration = Duration::from_secs(40);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, host, path) in [
            ("http://h:1", "h:1", ""),
            ("ws://h", "h:80", ""),
            ("h:4000", "h:4000", ""),
            ("https://h", "h:443", ""),
            ("wss://[::1]:1/relay", "[::1]:1", "/relay"),
            ("http://[::1]:4000/relay/", "[::1]:4000", "/relay"),
            ("unix:/run/r", "localhost", ""),
        ] {
            let endpoint = Endpoint::parse(url).expect(url);
            assert_eq!((&*endpoint.host, &*endpoint.path, endpoint.places.len()), (host, path, 1), "{url}");
        }
        for url in ["ftp://h", "https://", "", "http://", "unix:", ":4000", "http://u@h", "h h", "/run/r"] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn addresses_of_the_configuration() {
        let listening = |list: &[&str]| {
            let listen = list.iter().map(|address| ListenAddress::parse(address).expect(address)).collect();
            let config = Config { listen, ..Config::default() };
            let endpoint = Endpoint::listening(&config, "x".into(), Sends::Credentials).ok()?;
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
