//! Peers in lines of the log.

use core::{fmt, net::IpAddr};

/// A peer in a line of the log.
pub struct Peer(pub Option<IpAddr>);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(ip) => write!(f, "{ip}"),
            None => f.write_str("a unix socket"),
        }
    }
}
