//! The configuration, checked: whoever holds a [`Config`] need not ask whether it makes sense.
//!
//! [`file`] reads it from text and says what is wrong with line and column. Nothing here touches a file or a socket: a
//! key that lies in a file of its own is read through a function that the caller gives.

pub mod address;
pub mod file;
pub mod namespace;
pub mod redis;

use core::{fmt, time::Duration};
use std::collections::BTreeMap;

use log::LevelFilter;

pub use self::{
    address::{Address, Backend, Network, Place},
    file::{Problem, parse},
    namespace::{Ack, Auth, Namespace, Rule, Send, Welcome},
    redis::{Redis, RedisUrl},
};
use crate::{limits::Limits, sign::Scheme};

/// Everything an operator may decide (contract section 13).
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where to listen.
    pub listen: Vec<Address>,
    /// Which origins may call from a page; `*` is all.
    pub origins: Vec<String>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// By how much a signature's `ts` may be off.
    pub sign_window: Duration,
    /// How long clients get to take their leave.
    pub shutdown_timeout: Duration,
    /// The tenants, by name.
    pub sources: BTreeMap<String, Source>,
    /// Plain WebSocket.
    pub websocket: WebSocket,
    /// Socket.IO.
    pub socketio: SocketIo,
    /// Every bound.
    pub limits: Limits,
    /// What is logged.
    pub log_level: LevelFilter,
    /// Files of messages.
    pub message_log: MessageLog,
    /// Who may look and steer; nothing: a token is made at start.
    pub admin_token: Option<Secret>,
    /// Socket.IO namespaces and their rules; `/` is always there.
    pub namespaces: BTreeMap<String, Namespace>,
    /// The business backend.
    pub hooks: Hooks,
    /// The link to siblings.
    pub redis: Redis,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// What its clients and backends sign with.
    pub sign_key: Secret,
    /// The schemes it accepts.
    pub sign: Vec<Scheme>,
    /// Whether messages published straight to Redis must be signed.
    pub publish_msg_verify: bool,
}

/// A string nobody should see in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl Secret {
    /// The secret.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Section `[websocket]`.
#[derive(Clone, Debug, PartialEq)]
pub struct WebSocket {
    /// The path beside `/`.
    pub path: String,
    /// From the last sign of life to the ping.
    pub ping_interval: Duration,
    /// From the ping to the end.
    pub ping_timeout: Duration,
}

/// Section `[socketio]`.
#[derive(Clone, Debug, PartialEq)]
pub struct SocketIo {
    /// Where it is spoken: one path or several.
    pub paths: Vec<String>,
    /// The content of a client bundle to serve beside it; empty: none.
    pub client_js: String,
    /// Announced and kept.
    pub ping_interval: Duration,
    /// Announced and kept.
    pub ping_timeout: Duration,
    /// How long a connection may be in no namespace.
    pub connect_timeout: Duration,
    /// Bytes of a packet.
    pub max_payload: u64,
}

/// Section `[message_log]`.
#[derive(Clone, Debug, PartialEq)]
pub struct MessageLog {
    /// The folder; empty: no log.
    pub dir: String,
    /// Days a folder is kept.
    pub retention_days: u64,
    /// Bytes after which a file is rotated.
    pub rotate: u64,
}

/// Section `[hooks]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Hooks {
    /// The backend; nothing: there is none.
    pub url: Option<Backend>,
    /// What calls are signed with.
    pub secret: Option<Secret>,
    /// Which events are told.
    pub events: Vec<String>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Whether to admit while the backend does not answer.
    pub allow_on_failure: bool,
    /// Calls that may wait.
    pub queue: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: vec![Address::Tcp("127.0.0.1:4000".into())],
            origins: vec!["*".into()],
            trusted_proxies: Vec::new(),
            sign_window: Duration::from_secs(300),
            shutdown_timeout: Duration::from_secs(5),
            sources: BTreeMap::new(),
            websocket: WebSocket {
                path: "/ws".into(),
                ping_interval: Duration::from_secs(25),
                ping_timeout: Duration::from_secs(20),
            },
            socketio: SocketIo {
                paths: vec!["/socket.io/".into()],
                client_js: String::new(),
                ping_interval: Duration::from_secs(25),
                ping_timeout: Duration::from_secs(20),
                connect_timeout: Duration::from_secs(45),
                max_payload: 1_000_000,
            },
            limits: Limits::default(),
            log_level: LevelFilter::Info,
            message_log: MessageLog { dir: String::new(), retention_days: 30, rotate: 104_857_600 },
            admin_token: None,
            namespaces: BTreeMap::from([("/".into(), Namespace::default())]),
            hooks: Hooks {
                url: None,
                secret: None,
                events: ["connect", "disconnect", "message"].map(String::from).into(),
                timeout: Duration::from_secs(3),
                allow_on_failure: false,
                queue: 10_000,
            },
            redis: Redis::default(),
        }
    }
}

impl Config {
    /// The built-in demo setting: two sources whose keys everybody knows, and a pair of namespaces that let anybody in.
    pub fn demo() -> Config {
        let source = |(name, key): (&str, &str)| {
            let sign_key = Secret(key.into());
            (name.to_owned(), Source { sign_key, sign: Scheme::ALL.into(), publish_msg_verify: true })
        };
        let pair = |(name, other): (&str, &str)| {
            let pairing = Some(other.to_owned());
            let source = Some(DEMO_KEYS[0].0.to_owned());
            (name.to_owned(), Namespace { auth: Auth::Open, source, pairing, ..Namespace::default() })
        };
        let mut config = Config { sources: DEMO_KEYS.map(source).into(), ..Config::default() };
        config.namespaces.extend([("/web", "/app"), ("/app", "/web")].map(pair));
        config
    }

    /// Whether a source's key is one that everybody knows.
    pub fn has_demo_keys(&self) -> bool {
        self.sources.values().any(|source| DEMO_KEYS.iter().any(|(_, key)| source.sign_key.expose() == *key))
    }
}

/// The sources of the demo setting. Their keys are in every copy of the documents: public.
pub const DEMO_KEYS: [(&str, &str); 2] =
    [("demo", "try4dfs%#fs!#$2334ds(%B)"), ("remote_debug", "5iwdf$%sdfss!#$2334ds(%B)")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show() {
        let shown = format!("{:?}", Config::demo());
        assert!(shown.contains("demo") && !shown.contains("try4dfs"));
    }
}
