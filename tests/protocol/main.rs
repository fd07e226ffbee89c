//! What clients see, by the chapters of docs/protocol.md: logins, transports, sessions, messages, recovery.
#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod connect;
mod cors;
mod expiry;
mod here;
mod history;
mod http;
mod messages;
mod migration;
mod polling;
mod posts;
mod proxies;
mod returns;
mod rules;
mod sessions;
mod shutdown;
mod socketio;
mod socketio_old;
mod socketio_v3;
mod socketio_v5;
mod sse;
#[cfg(feature = "tls")]
mod tls;
mod upgrade;
mod websocket;
