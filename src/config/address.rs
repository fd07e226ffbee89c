//! Addresses: where to listen, the backend, and networks of trusted proxies.

use core::{fmt, net::IpAddr};
use std::path::PathBuf;

use super::error::{MAX_UNIX_PATH, ValueError};
use crate::tls::is_server_name;

/// An address to listen on. `Display` writes it as it was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `host:port`, `[v6]:port`, or `*:port` for all addresses. A host name is resolved at start.
    Tcp(String),
    /// `unix:PATH`.
    Unix(PathBuf),
}

impl Address {
    /// Parses `host:port`, `*:port`, `[v6]:port` or `unix:PATH`.
    pub fn parse(text: &str) -> Result<Address, ValueError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.len() {
                1..=MAX_UNIX_PATH => Ok(Address::Unix(path.into())),
                length => Err(ValueError::UnixPath(length)),
            };
        }
        let wrong = || ValueError::Address(text.into());
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host_ok = match bracketed {
            Some(v6) => v6.parse::<core::net::Ipv6Addr>().is_ok(),
            None => host == "*" || (!host.is_empty() && !host.contains([':', '[', ']', '/', ' ', '*'])),
        };
        if !host_ok || !port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u16>().is_err() {
            return Err(wrong());
        }
        Ok(Address::Tcp(text.into()))
    }
}

impl Address {
    /// Whether it stands for all addresses of this machine.
    pub fn is_wildcard(&self) -> bool {
        match self {
            Address::Unix(_) => false,
            Address::Tcp(text) => {
                ["*", "0.0.0.0", "[::]"].contains(&text.rsplit_once(':').map_or("", |(host, _)| host))
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => f.write_str(address),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The URL of the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The server.
    pub place: Place,
    /// The path with the query.
    pub target: String,
    /// Whether the connections use TLS.
    pub tls: bool,
}

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Host name or IP address, without brackets, and port.
    Tcp(String, u16),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Backend {
    /// Parses `http://host:port/path`, `https://host:port/path`, or `http://unix:/run/backend.sock:/path` as in nginx. The port
    /// defaults to 80 or 443, the path to `/`.
    pub fn parse(text: &str) -> Result<Backend, ValueError> {
        let wrong = || ValueError::Backend(text.into());
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains(['#', '@']);
        let (scheme, rest) = text.split_once("://").filter(|_| plain).ok_or_else(wrong)?;
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(wrong()),
        };
        if let Some(rest) = rest.strip_prefix("unix:").filter(|_| !tls) {
            let (path, target) = rest.split_once(':').unwrap_or((rest, "/"));
            let valid = path.starts_with('/') && path.len() <= MAX_UNIX_PATH && target.starts_with('/');
            let backend = Backend { place: Place::Unix(path.into()), target: target.into(), tls };
            return valid.then_some(backend).ok_or_else(wrong);
        }
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (authority, Some(if tls { 443 } else { 80 })),
        };
        let name = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let valid = match name {
            Some(v6) => v6.parse::<core::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && !host.contains([':', '[', ']']) && (!tls || is_server_name(host)),
        };
        let port = port.filter(|port| valid && *port != 0).ok_or_else(wrong)?;
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Backend { place: Place::Tcp(name.unwrap_or(host).into(), port), target: format!("{slash}{target}"), tls })
    }

    /// The value of the `Host` header (RFC 9110 section 7.2); `localhost` for a Unix socket.
    pub fn host(&self) -> String {
        match &self.place {
            Place::Tcp(host, port) if !host.contains(':') && *port == if self.tls { 443 } else { 80 } => host.clone(),
            Place::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Place::Tcp(host, port) => format!("{host}:{port}"),
            Place::Unix(_) => "localhost".into(),
        }
    }
}

/// A set of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// An address and a prefix length: all addresses with the same leading bits (RFC 4632 section 3.1).
    Ip(IpAddr, u8),
    /// All peers that are connected through a Unix socket.
    Unix,
}

impl Network {
    /// Parses an IP address, `address/prefix` or `unix`.
    pub fn parse(text: &str) -> Result<Network, ValueError> {
        if text == "unix" {
            return Ok(Network::Unix);
        }
        let wrong = || ValueError::Network(text.into());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= most).ok_or_else(wrong)?,
            None => most,
        };
        Ok(Network::Ip(address, prefix))
    }

    /// Whether `peer` is in the set; `None` is a peer on a Unix socket. An IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2)
    /// counts as IPv4.
    pub fn contains(&self, peer: Option<IpAddr>) -> bool {
        let bits = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => (u128::from(ip.to_bits()) << 96, true),
            IpAddr::V6(ip) => (ip.to_bits(), false),
        };
        match (self, peer) {
            (Network::Unix, None) => true,
            (Network::Ip(network, prefix), Some(peer)) => {
                let ((one, one_v4), (other, other_v4)) = (bits(network.to_canonical()), bits(peer.to_canonical()));
                one_v4 == other_v4 && (one ^ other).checked_shr(128 - u32::from(*prefix)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Network::Unix => f.write_str("unix"),
            Network::Ip(address, prefix) if *prefix == (if address.is_ipv4() { 32 } else { 128 }) => address.fmt(f),
            Network::Ip(address, prefix) => write!(f, "{address}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends() {
        let tcp = |host: &str, port, target: &str| {
            Ok(Backend { place: Place::Tcp(host.into(), port), target: target.into(), tls: false })
        };
        assert_eq!(Backend::parse("http://php.lan"), tcp("php.lan", 80, "/"));
        assert_eq!(Backend::parse("http://php.lan:8080/hook?x=1"), tcp("php.lan", 8080, "/hook?x=1"));
        assert_eq!(Backend::parse("http://10.0.0.1?x"), tcp("10.0.0.1", 80, "/?x"));
        assert_eq!(Backend::parse("http://[::1]:81/"), tcp("::1", 81, "/"));
        assert_eq!(Backend::parse("http://[::1]"), tcp("::1", 80, "/"));
        let unix = |path: &str, target: &str| {
            Ok(Backend { place: Place::Unix(path.into()), target: target.into(), tls: false })
        };
        assert_eq!(Backend::parse("http://unix:/run/php.sock:/hook"), unix("/run/php.sock", "/hook"));
        assert_eq!(Backend::parse("http://unix:/run/php.sock"), unix("/run/php.sock", "/"));
        for wrong in [
            "",
            "php.lan",
            "ftp://php.lan",
            "https://unix:/run/php.sock",
            "https://",
            "http://",
            "http://:80",
            "http://a:0/",
            "http://a:99999",
            "http://a:b/",
            "http://u@a/",
            "http://a b/",
            "http://a/#x",
            "http://unix:run",
            "http://unix:/run:x",
            "http://[::1/",
            "http://a/\r\nX: y",
            "http://ä/",
        ] {
            assert!(Backend::parse(wrong).is_err(), "{wrong:?}");
        }
        let host = |text: &str| Backend::parse(text).unwrap().host();
        assert_eq!([host("http://a"), host("http://a:81"), host("http://[::1]:81")], ["a", "a:81", "[::1]:81"]);
        assert_eq!([host("https://a"), host("https://a:80"), host("http://a:443")], ["a", "a:80", "a:443"]);
        let secure = Backend::parse("https://php.lan/hook").unwrap();
        assert_eq!((secure.place, secure.tls), (Place::Tcp("php.lan".into(), 443), true));
    }

    #[test]
    fn addresses() {
        for text in ["127.0.0.1:4000", "*:4000", "[::]:0", "localhost:80", "unix:/run/relay.sock", "unix:r"] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "4000",
            ":4000",
            "::1:80",
            "[::1]",
            "[x]:1",
            "h:65536",
            "h:+1",
            "a b:1",
            "unix:",
            "http://a:1",
            "*",
            "*.a:1",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks() {
        let contains = |network: &str, peer: &str| Network::parse(network).unwrap().contains(peer.parse().ok());
        assert!(contains("10.0.0.0/8", "10.9.8.7") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("10.1.2.3", "10.1.2.3") && !contains("10.1.2.3", "10.1.2.4"));
        assert!(contains("0.0.0.0/0", "255.1.1.1") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("127.0.0.1", "::ffff:127.0.0.1"));
        assert!(contains("fd00::/8", "fd12::1") && !contains("fd00::/8", "fe80::1"));
        assert!(contains("unix", "no address") && !contains("unix", "127.0.0.1") && !contains("::/0", "no address"));
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0", "10.0.0.0/", "localhost"] {
            assert!(Network::parse(text).is_err(), "{text}");
        }
    }
}
