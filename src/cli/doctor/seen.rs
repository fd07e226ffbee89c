//! What relay says that it has seen of a request (`echo=1`, docs/protocol.md, Plain WebSocket).

use serde_json::Value as Json;

use crate::cli::client::Answer;

/// What relay has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The version of HTTP, such as `1.1`.
    pub http: String,
    /// Whether the connection to relay is one over TCP, without TLS and without a PROXY header.
    pub plain: bool,
    /// The client's address, or `local`.
    pub address: String,
    /// What became of the addresses that proxies write: `none`, `ignored`, or `used`.
    pub forwarded: String,
    /// `Origin`; empty without one.
    pub origin: String,
    /// Whether `origins` lists it.
    pub origin_allowed: bool,
}

impl Seen {
    /// Reads it from an answer; `None` if it is none of `echo=1`.
    pub fn parse(answer: &Answer) -> Option<Seen> {
        let json = answer.json();
        let data = json.get("data").filter(|_| answer.status == 200)?;
        let text = |name: &str| data.get(name).and_then(Json::as_str).map(str::to_owned);
        Some(Seen {
            http: text("http")?,
            plain: data.get("plain")?.as_bool()?,
            address: text("address")?,
            forwarded: text("forwarded")?,
            origin: text("origin")?,
            origin_allowed: data.get("origin_allowed")?.as_bool()?,
        })
    }
}
