//! The configuration: its settings, and the parser of `relay.toml`.
//!
//! A [`Config`] is valid by construction: [`parse`] reports every problem with line and column, and returns a configuration
//! only if there is none. Nothing here opens files or sockets; files that the configuration names are read through a function
//! of the caller.

pub mod address;
mod advice;
pub mod changes;
pub mod error;
pub mod file;
mod file_certificates;
mod file_history;
mod file_namespaces;
mod file_recovery;
mod file_redis;
mod file_sources;
mod file_tls;
mod file_tokens;
pub mod history;
pub mod listen_address;
pub mod namespace;
pub mod origins;
pub mod presence;
pub mod problem;
mod reader;
pub mod recovery;
pub mod redis;
pub mod room_pattern;
pub mod secret;
mod section;
pub mod settings;
mod syntax;

pub use self::{
    address::{Address, Backend, Network, Place},
    advice::{some_of, warnings},
    changes::{Change, Changes},
    error::{RedisUrlError, ValueError},
    file::parse,
    history::{History, HistoryBounds, HistoryRule, SlowConsumers},
    listen_address::{Access, ListenAddress},
    namespace::{Ack, Auth, Namespace, Rule, Send, Welcome},
    origins::{MAX_ORIGIN, OriginError, Origins},
    presence::Presence,
    problem::Problem,
    recovery::{Offsets, ProofMode, Recovery, Unknowing},
    redis::{Redis, RedisUrl, Sentinels, Servers},
    room_pattern::RoomPattern,
    secret::Secret,
    settings::{
        ClientPosts, Config, DEMO_KEYS, DEMO_TOKEN, Hooks, MAX_CERTIFICATES, MAX_LIST, MAX_NAMESPACES, MAX_SOURCES,
        MessageLog, SenderFields, SocketIo, Source, Texts, WebSocket,
    },
};
