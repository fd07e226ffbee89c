//! A client's handshake of a WebSocket (RFC 6455 section 4.1). tungstenite's own needs another HTTP library.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::client::{Answer, Request};
use crate::{server::process::random, websocket::handshake::accept_key};

/// A handshake.
#[derive(Debug)]
pub struct Handshake {
    key: String,
}

impl Handshake {
    /// A handshake with a random key.
    pub fn new() -> Handshake {
        Handshake { key: BASE64.encode(random::<16>()) }
    }

    /// The request for a path with its query.
    pub fn request<'a>(&self, target: &'a str) -> Request<'a> {
        let get = Request::get(target).with("Connection", "Upgrade").with("Upgrade", "websocket");
        get.with("Sec-WebSocket-Version", "13").with("Sec-WebSocket-Key", &self.key)
    }

    /// Whether an answer completes it.
    pub fn accepts(&self, answer: &Answer) -> bool {
        let mut options = answer.all("connection").flat_map(|value| value.split(','));
        answer.status == 101
            && answer.header("sec-websocket-accept") == accept_key(self.key.as_bytes())
            && answer.header("upgrade").eq_ignore_ascii_case("websocket")
            && options.any(|option| option.trim().eq_ignore_ascii_case("upgrade"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_completes_it() {
        let handshake = Handshake { key: "dGhlIHNhbXBsZSBub25jZQ==".into() };
        let answer = |status: u16, connection: &str, upgrade: &str| {
            let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            let accept = header("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
            let headers = vec![header("connection", connection), header("upgrade", upgrade), accept];
            Answer { status, headers, body: Vec::new() }
        };
        assert!(handshake.accepts(&answer(101, "Upgrade", "WebSocket")));
        assert!(handshake.accepts(&answer(101, "keep-alive, upgrade", "websocket")));
        for wrong in
            [answer(200, "Upgrade", "websocket"), answer(101, "close", "websocket"), answer(101, "Upgrade", "h2c")]
        {
            assert!(!handshake.accepts(&wrong), "{wrong:?}");
        }
        assert!(!Handshake::new().accepts(&answer(101, "Upgrade", "websocket")), "another key");
    }
}
