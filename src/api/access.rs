//! Checks of the origin of a page, and the address of a client behind proxies (docs/protocol.md, Origins and CORS, and
//! Proxies and addresses).

use core::net::IpAddr;

use crate::{
    config::{Config, Network},
    http::Head,
};

/// Whether pages of this origin may send requests. An empty origin is allowed: only browsers send `Origin`.
pub fn origin_allowed(origin: &str, config: &Config) -> bool {
    let listed = |known: &String| known == "*" || known.eq_ignore_ascii_case(origin);
    origin.is_empty() || config.origins.iter().any(listed)
}

/// The client's address: the last entry of `X-Forwarded-For` that is not itself a trusted proxy, or `peer` if the peer is
/// not trusted. An entry that is not an address ends the search. `None` is a peer on a Unix socket.
pub fn client_ip(peer: Option<IpAddr>, head: &Head<'_>, trusted: &[Network]) -> Option<IpAddr> {
    let mut client = peer;
    for hop in head.forwarded_for.rsplit(',') {
        if !trusted.iter().any(|network| network.contains(client)) {
            break;
        }
        match hop.trim().parse::<IpAddr>() {
            Ok(ip) => client = Some(ip.to_canonical()),
            Err(_) => break,
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded() {
        let ip = |text: &str| text.parse::<IpAddr>().ok();
        let trusted = ["10.0.0.0/8", "unix"].map(|network| Network::parse(network).unwrap());
        let client = |peer: &str, forwarded: &'static str| {
            let head = Head { forwarded_for: forwarded.into(), ..Head::default() };
            client_ip(ip(peer), &head, &trusted)
        };
        assert_eq!(client("10.0.0.1", "1.1.1.1, 2.2.2.2"), ip("2.2.2.2"));
        assert_eq!(client("10.0.0.1", "1.1.1.1, 10.3.3.3"), ip("1.1.1.1"));
        assert_eq!(client("9.9.9.9", "1.1.1.1"), ip("9.9.9.9"), "the header of an untrusted peer is ignored");
        assert_eq!(client("unix", "1.1.1.1"), ip("1.1.1.1"));
        assert_eq!(client("10.0.0.1", "1.1.1.1, evil"), ip("10.0.0.1"));
        assert_eq!(client("10.0.0.1", ""), ip("10.0.0.1"));
    }
}
