//! The settings of relay and their defaults.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use log::LevelFilter;

use super::{
    address::{Address, Backend, Network},
    history::{History, HistoryBounds, HistoryRule},
    listen_address::ListenAddress,
    namespace::{Auth, Namespace},
    origins::Origins,
    presence::Presence,
    recovery::{ProofMode, Recovery, Unknowing},
    redis::Redis,
    room_pattern::RoomPattern,
    secret::Secret,
};
use crate::{
    limits::Limits,
    sign::{Scheme, Schemes, TokenKey, TokenPolicy},
    tls::{ClientTls, ServerTls},
};

/// All settings. The shipped `etc/relay.toml` documents each of them, and `Config::default` has its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The addresses to listen on.
    pub listen: Vec<ListenAddress>,
    /// The origins whose pages may connect and send requests.
    pub origins: Origins,
    /// The proxies whose `X-Forwarded-For`, `Forwarded` and PROXY headers are trusted.
    pub trusted_proxies: Vec<Network>,
    /// The largest accepted difference between the `ts` of a signature and the current time.
    pub sign_window: Duration,
    /// How long before its end a login that expires is announced to its client.
    pub expiry_warning: Duration,
    /// How long a shutdown waits for clients, open requests and calls to the backend.
    pub shutdown_timeout: Duration,
    /// The sources (tenants), by name.
    pub sources: BTreeMap<String, Source>,
    /// Section `[websocket]`.
    pub websocket: WebSocket,
    /// Section `[socketio]`.
    pub socketio: SocketIo,
    /// Section `[limits]`.
    pub limits: Limits,
    /// The most verbose level that is logged.
    pub log_level: LevelFilter,
    /// Section `[message_log]`.
    pub message_log: MessageLog,
    /// Section `[history]`.
    pub history: History,
    /// Section `[recovery]`.
    pub recovery: Recovery,
    /// Section `[presence]`.
    pub presence: Presence,
    /// The token of the operators' API; `None`: a token is generated at start.
    pub admin_token: Option<Secret>,
    /// Where metrics and health checks are served without a token, and nothing else.
    pub admin_listen: Vec<ListenAddress>,
    /// The namespaces, by name, with their rules. `/` always exists.
    pub namespaces: BTreeMap<String, Namespace>,
    /// Section `[hooks]`.
    pub hooks: Hooks,
    /// Section `[redis]`.
    pub redis: Redis,
    /// Section `[tls]`.
    pub tls: ServerTls,
    /// Whether the file itself has a key, token or password, and not only the names of files with them.
    pub has_secrets: bool,
}

/// A source: a tenant with rooms of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The key for its signatures.
    pub sign_key: Secret,
    /// The accepted signature schemes.
    pub sign: Schemes,
    /// Whether messages that backends publish on the Redis channel must be signed.
    pub publish_msg_verify: bool,
    /// Whether an hmac-sha256 signature of a notification or an emitted event may be used again.
    pub allow_replay: bool,
    /// The rooms that clients may post to.
    pub client_posts: ClientPosts,
    /// What the messages of clients say about who sent them.
    pub sender: SenderFields,
    /// Texts that pages show.
    pub texts: Texts,
    /// `recovery.unknowing` for its clients, if it is another one.
    pub unknowing: Option<Unknowing>,
    /// `recovery.proof` for its clients, if it is another one.
    pub proof: Option<ProofMode>,
    /// The keys of its tokens. `None`: logins with a token are refused.
    pub jwt: Option<TokenPolicy>,
}

/// The texts of a source that pages show to users. The defaults are those of node-socket-im.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// Of the `user_quit` message: `{username}` stands for the name of who has left.
    pub user_quit: String,
    /// The user that an event was meant for is not connected.
    pub not_logged_in: String,
}

impl Default for Texts {
    fn default() -> Texts {
        Texts { user_quit: "{username}退出群聊".into(), not_logged_in: "未登录".into() }
    }
}

/// What the messages of a source's clients say about who sent them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderFields {
    /// The user's id.
    pub userid: bool,
    /// The user's name.
    pub username: bool,
    /// The id of the session.
    pub socket_id: bool,
}

impl SenderFields {
    /// Everything.
    pub const ALL: SenderFields = SenderFields { userid: true, username: true, socket_id: true };
}

impl Source {
    /// Whether the key of its signatures is one of the public [`DEMO_KEYS`].
    pub fn has_demo_key(&self) -> bool {
        is_demo_key(self.sign_key.expose())
    }

    /// Whether anyone can log in, because one of its keys is one of the public [`DEMO_KEYS`].
    pub fn is_public(&self) -> bool {
        self.has_demo_key() || self.token_secrets().any(is_demo_key)
    }

    /// The shared secrets of its tokens.
    pub fn token_secrets(&self) -> impl Iterator<Item = &str> {
        self.jwt.iter().flat_map(|policy| &policy.keys).filter_map(TokenKey::expose)
    }
}

fn is_demo_key(key: &str) -> bool {
    DEMO_KEYS.iter().any(|(_, known)| key == *known)
}

/// The rooms that clients of a source may post to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientPosts {
    /// All rooms of the source.
    #[default]
    Any,
    /// The rooms that the client is in.
    Joined,
    /// None: only backends send messages.
    None,
}

impl ClientPosts {
    /// All values with their names in the file.
    pub const NAMES: [(&'static str, ClientPosts); 3] =
        [("any", ClientPosts::Any), ("joined", ClientPosts::Joined), ("none", ClientPosts::None)];
}

/// Section `[websocket]`: plain WebSocket clients, and the handshake of all WebSockets.
#[derive(Clone, Debug, PartialEq)]
pub struct WebSocket {
    /// The path of the endpoint. `/` accepts WebSockets as well.
    pub path: String,
    /// The subprotocols that a handshake may choose; empty: any.
    pub protocols: BTreeSet<String>,
    /// The time from the last frame of the client to the ping.
    pub ping_interval: Duration,
    /// The time within which the client must answer the ping.
    pub ping_timeout: Duration,
}

/// Section `[socketio]`: Socket.IO clients.
#[derive(Clone, Debug, PartialEq)]
pub struct SocketIo {
    /// The paths of the endpoint.
    pub paths: Vec<String>,
    /// The content of the client bundle to serve as `socket.io.js`; empty: none.
    pub client_js: String,
    /// The interval of pings, announced in the handshake.
    pub ping_interval: Duration,
    /// The time within which a ping must be answered, announced in the handshake.
    pub ping_timeout: Duration,
    /// How long a session may be open without being in a namespace.
    pub connect_timeout: Duration,
    /// The largest packet in bytes, announced in the handshake.
    pub max_payload: u64,
}

/// Section `[message_log]`: files of messages and connections.
#[derive(Clone, Debug, PartialEq)]
pub struct MessageLog {
    /// The folder; empty: no message log.
    pub dir: String,
    /// The number of days after which a day's folder is deleted; 0: never.
    pub retention_days: u64,
    /// The size in bytes at which a file is rotated; 0: never.
    pub rotate: u64,
    /// The size in bytes of all files together; 0: no limit.
    pub total: u64,
}

/// Section `[hooks]`: calls to the backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Hooks {
    /// The backend; `None`: nothing is called.
    pub url: Option<Backend>,
    /// The settings of TLS, if the URL asks for it.
    pub tls: Option<ClientTls>,
    /// The key that signs calls; `None`: calls are not signed.
    pub secret: Option<Secret>,
    /// The events that are sent: `connect`, `disconnect`, `message`.
    pub events: Vec<String>,
    /// The time within which the backend must answer.
    pub timeout: Duration,
    /// Whether clients are admitted while the backend does not answer.
    pub allow_on_failure: bool,
    /// The largest number of calls that wait or are in flight. Disconnects may exceed it, up to twice.
    pub queue: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: vec![Address::Tcp("127.0.0.1:4000".into()).into()],
            origins: Origins::any(),
            trusted_proxies: Vec::new(),
            sign_window: Duration::from_secs(300),
            expiry_warning: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(5),
            sources: BTreeMap::new(),
            websocket: WebSocket {
                path: "/ws".into(),
                protocols: BTreeSet::new(),
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
            message_log: MessageLog {
                dir: String::new(),
                retention_days: 30,
                rotate: 104_857_600,
                total: 10_737_418_240,
            },
            history: History::default(),
            recovery: Recovery::default(),
            presence: Presence::default(),
            admin_token: None,
            admin_listen: Vec::new(),
            namespaces: BTreeMap::from([("/".into(), Namespace::default())]),
            hooks: Hooks {
                url: None,
                tls: None,
                secret: None,
                events: ["connect", "disconnect", "message"].map(String::from).into(),
                timeout: Duration::from_secs(3),
                allow_on_failure: false,
                queue: 10_000,
            },
            redis: Redis::default(),
            tls: ServerTls::default(),
            has_secrets: false,
        }
    }
}

impl Config {
    /// The built-in demo configuration: two sources with public keys, two paired namespaces that admit without a signature,
    /// 100 messages of history in each room, what the demo pages need, and presence events.
    pub fn demo() -> Config {
        let source = |(name, key): (&str, &str)| {
            let sign_key = Secret(key.into());
            let source = Source {
                sign_key,
                sign: Schemes::all(&Scheme::ALL),
                publish_msg_verify: true,
                allow_replay: false,
                client_posts: ClientPosts::Any,
                sender: SenderFields::ALL,
                texts: Texts::default(),
                unknowing: None,
                proof: None,
                jwt: (name == DEMO_KEYS[0].0)
                    .then(|| TokenPolicy { keys: vec![TokenKey::secret(None, key.into())], ..TokenPolicy::default() }),
            };
            (name.to_owned(), source)
        };
        let pair = |(name, other): (&str, &str)| {
            let pairing = Some(other.to_owned());
            let source = Some(DEMO_KEYS[0].0.to_owned());
            (name.to_owned(), Namespace { auth: Auth::Open, source, pairing, ..Namespace::default() })
        };
        let mut config = Config { sources: DEMO_KEYS.map(source).into(), ..Config::default() };
        let history = &mut config.history;
        history.bounds.count = 100;
        let day = Duration::from_secs(86_400);
        let rooms = [
            ("history_room", HistoryBounds { count: 50, age: day, ..history.bounds }),
            ("price-*", HistoryBounds { count: 1, last: true, ..history.bounds }),
        ];
        for (room, bounds) in rooms {
            let room = RoomPattern::parse(room);
            history.rooms.extend(room.map(|room| HistoryRule { source: None, room, bounds }));
        }
        config.presence.events = true;
        config.namespaces.extend([("/web", "/app"), ("/app", "/web")].map(pair));
        config
    }

    /// The names of all sources that can have sessions: those that are configured, and those of namespaces that admit clients
    /// without a signature.
    pub fn source_names(&self) -> BTreeSet<&str> {
        let open = self.namespaces.iter().filter(|(_, namespace)| namespace.auth != Auth::Sign);
        let open = open.map(|(name, namespace)| namespace.open_source(name));
        self.sources.keys().map(String::as_str).chain(open).collect()
    }

    /// Whether no client can connect: there is no source, and no namespace that admits clients without a signature.
    pub fn admits_nobody(&self) -> bool {
        self.sources.is_empty() && self.namespaces.values().all(|namespace| namespace.auth == Auth::Sign)
    }

    /// Whether a source has a public key of [`DEMO_KEYS`].
    pub fn has_demo_keys(&self) -> bool {
        self.sources.values().any(Source::is_public)
    }

    /// Whether a namespace calls the backend.
    pub fn uses_hooks(&self) -> bool {
        self.namespaces.values().any(Namespace::uses_hooks)
    }
}

/// The most sources, including those that only a namespace names.
pub const MAX_SOURCES: usize = 65_536;
/// The most namespaces.
pub const MAX_NAMESPACES: usize = 1024;
/// The most certificates.
pub const MAX_CERTIFICATES: usize = 1024;
/// The most elements of a list, such as `origins` or the rules of a namespace. relay searches most lists from the start.
pub const MAX_LIST: usize = 4096;

/// The sources of the demo configuration with their keys, which are public.
pub const DEMO_KEYS: [(&str, &str); 2] =
    [("demo", "try4dfs%#fs!#$2334ds(%B)"), ("remote_debug", "5iwdf$%sdfss!#$2334ds(%B)")];

/// A public token for notifications and events of sources with a key of [`DEMO_KEYS`], so that the first request needs no
/// signature. It allows nothing that such a key does not allow, and nothing else that the admin token allows.
pub const DEMO_TOKEN: &str = "demo";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_is_its_example_and_its_page() {
        let page = include_str!("../../docs/configuration.md");
        let (_, block) = page.split_once("\n## The demo configuration\n").unwrap();
        let block = block.split("```").nth(1).unwrap().strip_prefix("toml").unwrap();
        for text in [include_str!("../../examples/demo.toml"), block] {
            let parsed = crate::config::parse(text, &mut |_| unreachable!()).unwrap();
            assert_eq!(parsed, Config { has_secrets: true, ..Config::demo() });
        }
    }

    #[test]
    fn debug_hides_secrets() {
        let shown = format!("{:?}", Config::demo());
        assert!(shown.contains("demo") && !shown.contains("try4dfs"));
    }
}
