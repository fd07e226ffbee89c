//! What relay sees of a request, for `relay doctor` (docs/protocol.md, Plain WebSocket): whoever asks can compare it with what
//! was sent, and so learns what the proxies between have changed.

use core::net::IpAddr;

use super::{
    access::{client_ip, is_trusted, origin_allowed},
    context::Context,
    gate,
};
use crate::{
    http::{Head, Reply},
    json::quote,
    state::Reader,
};

/// What became of the addresses that proxies write into a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forwarded {
    /// There are none.
    None,
    /// There are some, but the peer is not a trusted proxy.
    Ignored,
    /// The client's address is one of them, or should be.
    Used,
}

/// Answers with the client's address, the version of HTTP, and the origin of a request. Needs no login, and changes nothing.
pub fn echo(head: &Head<'_>, cx: &mut Context<'_>) -> Reply {
    let is_operator = gate::reader(head, cx) == Reader::Operator;
    let config = cx.hub.config();
    let has_addresses = head.has_forwarded_for || !head.forwarded.is_empty();
    let forwarded = match is_trusted(cx.peer, &config.trusted_proxies) {
        _ if !has_addresses => Forwarded::None,
        true => Forwarded::Used,
        false => Forwarded::Ignored,
    };
    let address = shown(client_ip(cx.peer, head, &config.trusted_proxies), forwarded, is_operator);
    let forwarded = match forwarded {
        Forwarded::None => "none",
        Forwarded::Ignored => "ignored",
        Forwarded::Used => "used",
    };
    let plain = !cx.proxied;
    let version = if head.http11 { "1.1" } else { "1.0" };
    let (origin, allowed) = (quote(head.origin), origin_allowed(head.origin, config));
    let body = format!(
        "{{\"code\":1,\"msg\":\"\",\"data\":{{\"http\":\"{version}\",\"plain\":{plain},\"address\":{},\"forwarded\":\"{forwarded}\",\
         \"origin\":{origin},\"origin_allowed\":{allowed}}}}}",
        quote(&address)
    );
    Reply::json(200, body.into_bytes())
}

/// The client's address. One in the local network that no trusted proxy has named may be that of a proxy, which is nobody's
/// business but the operator's: it is `local`.
fn shown(ip: Option<IpAddr>, forwarded: Forwarded, is_operator: bool) -> String {
    match ip {
        Some(ip) if is_operator || forwarded == Forwarded::Used || !is_local(ip) => ip.to_string(),
        None if is_operator => "unix".into(),
        _ => "local".into(),
    }
}

/// Whether an address is one that networks use within.
fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.octets()[..1] == [0] || {
                // Carriers (RFC 6598).
                ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64
            }
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_proxies_are_not_shown() {
        for (ip, text) in [
            ("203.0.113.9", "203.0.113.9"),
            ("2001:db8::9", "2001:db8::9"),
            ("127.0.0.1", "local"),
            ("10.0.0.1", "local"),
            ("100.64.1.1", "local"),
            ("100.128.1.1", "100.128.1.1"),
            ("::ffff:192.168.1.1", "local"),
            ("fd00::1", "local"),
            ("fe80::1", "local"),
            ("unix", "local"),
        ] {
            let ip: Option<IpAddr> = ip.parse().ok();
            assert_eq!(shown(ip, Forwarded::None, false), text);
            assert_eq!(shown(ip, Forwarded::Ignored, false), text);
            let exact = ip.map_or("unix".into(), |ip| ip.to_string());
            assert_eq!(shown(ip, Forwarded::Ignored, true), exact);
            if ip.is_some() {
                assert_eq!(shown(ip, Forwarded::Used, false), exact);
            }
        }
    }
}
