//! The opening handshake (RFC 6455 section 4.2).

use core::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sha1::{Digest, Sha1};

use crate::http::{Head, Reply};

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

/// Checks a handshake and returns the encoded reply with status 101. Extensions and subprotocols are not supported, so the
/// reply accepts none.
pub fn accept(head: &Head<'_>) -> Result<Vec<u8>, Error> {
    if !head.upgrade {
        return Err(Error::NoUpgrade);
    }
    if head.method != "GET" {
        return Err(Error::Method);
    }
    if head.sec_websocket_version != "13" {
        return Err(Error::Version);
    }
    let mut key = [0; 18];
    let encoded = head.sec_websocket_key.as_bytes();
    if encoded.len() != 24 || BASE64.decode_slice(encoded, &mut key) != Ok(16) {
        return Err(Error::Key);
    }
    let accept = accept_key(encoded);
    let lines =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";
    Ok([lines, &accept, "\r\n\r\n"].concat().into_bytes())
}

/// The value of `Sec-WebSocket-Accept` for a key (RFC 6455 section 1.3).
pub fn accept_key(key: &[u8]) -> String {
    let hash = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for key in ["", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ!!", "AAAAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(accept(&Head { sec_websocket_key: key, ..head() }), Err(Error::Key));
        }
        assert_eq!(Reply::from(Error::Version).status, 426);
    }
}
