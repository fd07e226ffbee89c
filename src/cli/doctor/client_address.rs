//! Whether relay sees the addresses of clients behind the proxy.

use super::{advice::Advice, finding::Finding, seen::Seen};

const CHECK: &str = "address";
/// An address that nobody has (RFC 5737), which a client claims to have.
pub const CLAIMED: &str = "203.0.113.254";

/// Judges what relay has seen of a request, and of one that had the address [`CLAIMED`] in `X-Forwarded-For`. `has_proxy` says
/// whether a proxy was noticed, and `is_local` whether the proxy is on this machine.
pub fn judge(plain: &Seen, claiming: &Seen, has_proxy: bool, is_local: bool) -> Finding {
    match plain.forwarded.as_str() {
        "ignored" => Finding::failure(
            CHECK,
            "relay takes all clients for one: the proxy sends X-Forwarded-For, but trusted_proxies does not list its address",
        )
        .advise(Advice::Trust),
        "none" if has_proxy => Finding::failure(
            CHECK,
            "relay takes all clients for one: the proxy does not send X-Forwarded-For",
        )
        .advise(Advice::Address),
        _ if claiming.address == CLAIMED && is_local => Finding::skipped(
            CHECK,
            format!("relay sees {}; run this on another machine to find out whether clients can claim another address", plain.address),
        ),
        _ if claiming.address == CLAIMED => Finding::failure(
            CHECK,
            "clients can choose the address that relay sees: the proxy forwards their X-Forwarded-For and adds nothing, or \
             trusted_proxies lists more than proxies",
        )
        .advise(Advice::Address),
        "none" => Finding::ok(CHECK, "no proxy was noticed, relay sees the address of the connection"),
        _ => Finding::ok(CHECK, format!("relay sees the client's address: {}", plain.address)),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Level, *};

    #[test]
    fn addresses() {
        let seen = |address: &str, forwarded: &str| Seen {
            http: "1.1".into(),
            plain: true,
            address: address.into(),
            forwarded: forwarded.into(),
            origin: String::new(),
            origin_allowed: true,
        };
        let (own, claimed) = (seen("198.51.100.7", "used"), seen(CLAIMED, "used"));
        assert_eq!(judge(&own, &own, true, false).level, Level::Ok);
        assert!(judge(&own, &claimed, true, false).text.contains("can choose the address"));
        assert_eq!(judge(&own, &claimed, true, true).level, Level::Skipped);
        let none = seen("local", "none");
        assert!(judge(&none, &none, true, false).text.contains("does not send X-Forwarded-For"));
        assert_eq!(judge(&none, &none, false, false).level, Level::Ok);
        // A proxy that sends nothing of its own: what the client sends is ignored.
        let ignored = seen("local", "ignored");
        assert!(judge(&none, &ignored, true, false).text.contains("does not send"));
        assert_eq!(judge(&ignored, &ignored, true, false).advice, Some(Advice::Trust));
    }
}
