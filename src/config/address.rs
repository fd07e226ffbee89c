//! Where to listen, and whom to trust: addresses as the configuration writes them.

use core::{fmt, net::IpAddr};
use std::path::PathBuf;

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `host:port` or `[v6]:port`; a name is resolved when relay starts.
    Tcp(String),
    /// `unix:PATH`.
    Unix(PathBuf),
}

impl Address {
    /// Reads an address; the error says what would be right.
    pub fn parse(text: &str) -> Result<Address, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.len() {
                1..=107 => Ok(Address::Unix(path.into())),
                _ => Err(format!("a unix socket's path has 1 to 107 bytes, not {}", path.len())),
            };
        }
        let wanted = || format!("expected host:port, [v6]:port or unix:PATH, not {text:?}");
        let (host, port) = text.rsplit_once(':').ok_or_else(wanted)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host_ok = match bracketed {
            Some(v6) => v6.parse::<core::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && !host.contains([':', '[', ']', '/', ' ']),
        };
        if !host_ok || !port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u16>().is_err() {
            return Err(wanted());
        }
        Ok(Address::Tcp(text.into()))
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

/// A range of peers: an address, `address/prefix`, or `unix` for whoever comes through a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The first bits of an address, and how many count.
    Ip(IpAddr, u8),
    /// Peers without an address.
    Unix,
}

impl Network {
    /// Reads a range; the error says what would be right.
    pub fn parse(text: &str) -> Result<Network, String> {
        if text == "unix" {
            return Ok(Network::Unix);
        }
        let wanted = || format!("expected an address, address/prefix or \"unix\", not {text:?}");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| wanted())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= most).ok_or_else(wanted)?,
            None => most,
        };
        Ok(Network::Ip(address, prefix))
    }

    /// Whether the peer is in it; `None` is a peer of a Unix socket. A v4 address that came over v6 counts as v4.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for text in ["127.0.0.1:4000", "[::]:0", "localhost:80", "unix:/run/relay.sock", "unix:r"] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "4000", ":4000", "::1:80", "[::1]", "[x]:1", "h:65536", "h:+1", "a b:1", "unix:", "http://a:1"]
        {
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
