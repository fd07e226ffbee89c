//! The upgrade (RFC 6455 section 4.2): checked, and answered.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sha1::{Digest, Sha1};

use crate::http::{Head, Reply};

/// Why a request for a WebSocket cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The key is missing or is not 16 bytes in base64.
    Key,
    /// Not a GET.
    Method,
    /// It does not ask for an upgrade at all.
    NoUpgrade,
    /// Another version of the protocol.
    Version,
}

impl From<Error> for Reply {
    fn from(error: Error) -> Reply {
        match error {
            Error::Key => Reply::refusal(400, "Sec-WebSocket-Key must be 16 bytes in base64"),
            Error::Method => Reply::refusal(405, "a WebSocket begins with GET").with("Allow", "GET"),
            Error::NoUpgrade => upgrade_required("this is a WebSocket"),
            Error::Version => {
                upgrade_required("WebSocket version 13 is spoken here").with("Sec-WebSocket-Version", "13")
            }
        }
    }
}

/// RFC 9110 section 15.5.22: it must say to what.
fn upgrade_required(why: &str) -> Reply {
    Reply::refusal(426, why).with("Upgrade", "websocket").with("Connection", "Upgrade")
}

/// Checks a request; the bytes of the 101 if it is right. No extension and no subprotocol is ever accepted.
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

/// What shows that a key was understood (RFC 6455 section 1.3). tungstenite has it too, with another coder of base64.
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
    fn the_rfc_s_example() {
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
