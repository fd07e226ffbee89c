//! Checks of the origin of a page, and the address of a client behind proxies (docs/protocol.md, Origins and CORS, and
//! Proxies and addresses).

use core::net::IpAddr;

use log::debug;

use super::context::Context;
use crate::{
    config::{Config, Network, Origins},
    http::{
        Head,
        forwarded::{forwarded, forwarded_for},
    },
};

/// Whether pages of this origin may send requests. An empty origin is allowed: only browsers send `Origin`.
pub fn origin_allowed(origin: &str, config: &Config) -> bool {
    origin.is_empty() || config.origins.allow(origin)
}

/// Whether the page that sent a request is refused. That is counted and logged, with what to add to the configuration.
pub fn refuses_origin(head: &Head<'_>, cx: &mut Context<'_>) -> bool {
    let config = cx.hub.config().clone();
    if origin_allowed(head.origin, &config) {
        return false;
    }
    let (ip, path) = (client_ip(cx.peer, head, &config.trusted_proxies), head.path());
    debug!("{} {path:?} refused: origins does not list {:?}", head.method, head.origin);
    let state = &mut cx.hub.state;
    state.stats.origins_refused += 1;
    state.refusals.add_origin(head.origin, &path, ip, cx.now.time);
    true
}

/// The reason for the developer of a page that is refused.
pub fn origin_reason(origin: &str) -> String {
    match Origins::element(origin) {
        Some(element) => format!("origins in relay's configuration must list {element:?}, then reload relay"),
        None => "no browser sends this Origin header; programs can leave it out".into(),
    }
}

/// The client's address: the last entry of `X-Forwarded-For`, or of `Forwarded` without that, that is not itself a trusted
/// proxy; or `peer` if the peer is not trusted. An entry that is not an address ends the search. `None` is a peer on a Unix
/// socket.
///
/// Most proxies write `X-Forwarded-For` and leave a `Forwarded` of the client as it is, so the former counts.
pub fn client_ip(peer: Option<IpAddr>, head: &Head<'_>, trusted: &[Network]) -> Option<IpAddr> {
    match head.has_forwarded_for {
        true => last_untrusted(peer, forwarded_for(&head.forwarded_for), trusted),
        false => last_untrusted(peer, forwarded(&head.forwarded), trusted),
    }
}

/// Whether something is between relay and the client that confirms bytes which the client may never get: a proxy, as far as
/// relay knows of it, or TLS, with which relay cannot tell which bytes of a connection are which.
pub fn is_proxied(head: &Head<'_>, cx: &Context<'_>) -> bool {
    let named = head.has_forwarded_for || !head.forwarded.is_empty() || head.has_via;
    named || cx.proxied || is_trusted(cx.peer, &cx.hub.config().trusted_proxies)
}

/// Goes back from `peer` over the `hops` before it, to the first that is not trusted.
fn last_untrusted(
    peer: Option<IpAddr>,
    hops: impl Iterator<Item = Option<IpAddr>>,
    trusted: &[Network],
) -> Option<IpAddr> {
    let mut client = peer;
    for hop in hops {
        if !is_trusted(client, trusted) || hop.is_none() {
            break;
        }
        client = hop;
    }
    client
}

/// Whether `trusted_proxies` has this peer; `None` is a peer on a Unix socket.
pub fn is_trusted(peer: Option<IpAddr>, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.contains(peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded() {
        let ip = |text: &str| text.parse::<IpAddr>().ok();
        let trusted = ["10.0.0.0/8", "unix"].map(|network| Network::parse(network).unwrap());
        let client = |peer: &str, forwarded: &'static str| {
            let head = Head { forwarded_for: forwarded.into(), has_forwarded_for: true, ..Head::default() };
            client_ip(ip(peer), &head, &trusted)
        };
        assert_eq!(client("10.0.0.1", "1.1.1.1, 2.2.2.2"), ip("2.2.2.2"));
        assert_eq!(client("10.0.0.1", "1.1.1.1, 10.3.3.3"), ip("1.1.1.1"));
        assert_eq!(client("9.9.9.9", "1.1.1.1"), ip("9.9.9.9"), "the header of an untrusted peer is ignored");
        assert_eq!(client("unix", "1.1.1.1"), ip("1.1.1.1"));
        assert_eq!(client("10.0.0.1", "1.1.1.1, evil"), ip("10.0.0.1"));
        assert_eq!(client("10.0.0.1", ""), ip("10.0.0.1"));
        assert_eq!(client("10.0.0.1", "1.1.1.1:5, [::ffff:10.3.3.3]:80,"), ip("1.1.1.1"));
        let both = |one: &'static str, other: &'static str| {
            let has_forwarded_for = !one.is_empty();
            let head = Head {
                forwarded_for: one.trim().into(),
                has_forwarded_for,
                forwarded: other.into(),
                ..Head::default()
            };
            client_ip(ip("10.0.0.1"), &head, &trusted)
        };
        assert_eq!(both("", "for=1.1.1.1, for=\"10.3.3.3:80\";proto=https"), ip("1.1.1.1"));
        assert_eq!(both("", "for=1.1.1.1, for=unknown"), ip("10.0.0.1"));
        assert_eq!(both("2.2.2.2", "for=1.1.1.1"), ip("2.2.2.2"), "X-Forwarded-For is believed");
        assert_eq!(both("evil", "for=1.1.1.1"), ip("10.0.0.1"));
        assert_eq!(both(" ", "for=1.1.1.1"), ip("10.0.0.1"), "it is there, but empty");
    }
}
