//! The opening handshake (RFC 6455 section 4.2).

use core::fmt;
use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sha1::{Digest, Sha1};

use crate::{
    http::{Head, Reply},
    names::is_token,
};

/// Why a request is not a valid opening handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// `Sec-WebSocket-Key` is missing or not 16 bytes in base64.
    Key,
    /// The method is not GET.
    Method,
    /// The request does not ask for an upgrade to WebSocket.
    NoUpgrade,
    /// `Sec-WebSocket-Version` is not 13.
    Version,
}

impl From<Error> for Reply {
    fn from(error: Error) -> Reply {
        match error {
            Error::Key => Reply::refusal(400, &error.to_string()),
            Error::Method => Reply::refusal(405, &error.to_string()).with("Allow", "GET"),
            Error::NoUpgrade => upgrade_required(error),
            Error::Version => upgrade_required(error).with("Sec-WebSocket-Version", "13"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Key => "Sec-WebSocket-Key must be 16 bytes in base64",
            Error::Method => "the method of a WebSocket handshake must be GET",
            Error::NoUpgrade => "this is a WebSocket endpoint: the request must ask for an upgrade",
            Error::Version => "Sec-WebSocket-Version must be 13",
        })
    }
}

impl std::error::Error for Error {}

/// A reply with status 426, which must name the protocol to upgrade to (RFC 9110 section 15.5.22).
fn upgrade_required(error: Error) -> Reply {
    Reply::refusal(426, &error.to_string()).with("Upgrade", "websocket").with("Connection", "Upgrade")
}

/// Checks a handshake and returns the encoded reply with status 101. It chooses one of the subprotocols that the client
/// offers: a client that offers some gives up if the reply has none. Extensions are not supported, so the reply accepts none.
///
/// `protocols` are the subprotocols that may be chosen; if it is empty, any may.
pub fn accept(head: &Head<'_>, protocols: &BTreeSet<String>) -> Result<Vec<u8>, Error> {
    if !head.upgrade {
        return Err(Error::NoUpgrade);
    }
    if head.method != "GET" {
        return Err(Error::Method);
    }
    if head.sec_websocket_version != "13" {
        return Err(Error::Version);
    }
    if !is_key(head.sec_websocket_key) {
        return Err(Error::Key);
    }
    let accept = accept_key(head.sec_websocket_key.as_bytes());
    let lines =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";
    Ok(match choose(&head.sec_websocket_protocol, protocols) {
        Some(protocol) => [lines, &accept, "\r\nSec-WebSocket-Protocol: ", protocol, "\r\n\r\n"].concat(),
        None => [lines, &accept, "\r\n\r\n"].concat(),
    }
    .into_bytes())
}

/// Adds a header to an encoded reply with status 101.
pub fn with_header(mut reply: Vec<u8>, name: &str, value: &str) -> Vec<u8> {
    reply.truncate(reply.len() - b"\r\n".len());
    reply.extend_from_slice([name, ": ", value, "\r\n\r\n"].concat().as_bytes());
    reply
}

/// Whether a text has the form of a key: 16 bytes in base64. The four bits that its last digit has to spare may be set, as in
/// the example of RFC 6455 section 4.1.
fn is_key(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    text.len() == 24 && text.strip_suffix("==").is_some_and(|digits| digits.bytes().all(is_digit))
}

/// The first subprotocol of the list `offered` that may be chosen. What is not a token is skipped: it would not be safe in
/// a header.
fn choose<'a>(offered: &'a str, protocols: &BTreeSet<String>) -> Option<&'a str> {
    let mut tokens = offered.split(',').map(str::trim_ascii).filter(|protocol| is_token(protocol));
    tokens.find(|protocol| protocols.is_empty() || protocols.contains(*protocol))
}

/// The value of `Sec-WebSocket-Accept` for a key (RFC 6455 section 1.3).
pub fn accept_key(key: &[u8]) -> String {
    let hash = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(head: &Head<'_>) -> Result<Vec<u8>, Error> {
        super::accept(head, &BTreeSet::new())
    }

    fn head() -> Head<'static> {
        Head {
            method: "GET",
            upgrade: true,
            sec_websocket_key: "dGhlIHNhbXBsZSBub25jZQ==",
            sec_websocket_version: "13",
            ..Head::default()
        }
    }

    #[test]
    fn example_of_the_rfc() {
        let reply = String::from_utf8(accept(&head()).unwrap()).unwrap();
        assert!(reply.starts_with("HTTP/1.1 101 "));
        assert!(reply.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"));
    }

    #[test]
    fn refusals() {
        assert_eq!(accept(&Head { upgrade: false, ..head() }), Err(Error::NoUpgrade));
        assert_eq!(accept(&Head { method: "POST", ..head() }), Err(Error::Method));
        for version in ["", "8", "013"] {
            assert_eq!(accept(&Head { sec_websocket_version: version, ..head() }), Err(Error::Version));
        }
        assert_eq!(Reply::from(Error::Version).status, 426);
    }

    /// As ws 8 does, with `^[+/0-9A-Za-z]{22}==$`.
    #[test]
    fn keys() {
        // The examples of RFC 6455 sections 1.2 and 4.1; the second has spare bits set.
        for key in ["x3JJHMbDL1EzLkh9GBhXDw==", "AQIDBAUGBwgJCgsMDQ4PEC==", "++//////////////////zz=="] {
            assert!(accept(&Head { sec_websocket_key: key, ..head() }).is_ok(), "{key}");
        }
        for key in [
            "",
            "==",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ!!",
            "dGhlIHNhbXBsZSBub25jZ===",
            "dGhlIHNhbXBsZSBub25j-_==",
            "dGhlIHNhbXBsZSBub25j Q==",
            "dGhlIHNhbXBsZSBub25\u{e9}Q==",
            "AAAAAAAAAAAAAAAAAAAAAAAA",
            "dGhlIHNhbXBsZSBub25jZQAA==",
        ] {
            assert_eq!(accept(&Head { sec_websocket_key: key, ..head() }), Err(Error::Key), "{key}");
        }
    }

    #[test]
    fn subprotocols() {
        let some = BTreeSet::from(["chat".to_owned(), "v2.chat".to_owned()]);
        for (offered, first, listed) in [
            ("", None, None),
            ("chat", Some("chat"), Some("chat")),
            ("echo-protocol, chat", Some("echo-protocol"), Some("chat")),
            ("\tv2.chat ,chat", Some("v2.chat"), Some("v2.chat")),
            ("Chat", Some("Chat"), None),
            (",, ,chat,", Some("chat"), Some("chat")),
            ("a b, \"chat\", http://x/chat, ch\u{e4}t, x\u{1}y, chat=1", None, None),
            ("a;b,v2.chat", Some("v2.chat"), Some("v2.chat")),
            ("!#$%&'*+-.^_`|~09azAZ", Some("!#$%&'*+-.^_`|~09azAZ"), None),
        ] {
            assert_eq!(choose(offered, &BTreeSet::new()), first, "{offered:?}");
            assert_eq!(choose(offered, &some), listed, "{offered:?}");
            let head = Head { sec_websocket_protocol: offered.into(), ..head() };
            let reply = String::from_utf8(super::accept(&head, &some).unwrap()).unwrap();
            let line = listed.map_or(String::new(), |protocol| format!("\r\nSec-WebSocket-Protocol: {protocol}"));
            assert!(reply.ends_with(&format!("xOo={line}\r\n\r\n")), "{reply:?}");
        }
    }
}
