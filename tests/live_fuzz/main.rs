//! Mutation fuzzing of the real binary, protocol by protocol: hostile clients, a hostile backend and a hostile Redis.
//!
//! Meanwhile a probe (a member of a room and the backend that notifies it) must get every message once and in order. The
//! process must stay alive, its memory below [`PEAK`](run::PEAK), and once the hostile peers have left, memory and descriptors
//! must be what they were before.
//!
//! By default a protocol is fuzzed for a few seconds. The environment changes that:
//!
//! - `FUZZ_SECONDS=600`: fuzz each protocol as long as that, each time with another seed;
//! - `FUZZ_SEED=7`: the cases of this seed;
//! - `FUZZ_CASE=123`: only this case of the seed. A failure names the seed and prints the last cases.
#![allow(missing_docs)]

mod engineio;
mod hooks;
mod http;
mod journal;
mod mutate;
mod probe;
mod random;
mod redis;
mod run;
mod samples;
mod socketio;
#[path = "../support/mod.rs"]
mod support;
#[cfg(feature = "tls")]
mod tls;
mod websocket;
mod wire;

/// Requests of backends and operators, upgrades, and connections that end anywhere.
#[test]
fn http() {
    run::clients(&http::PROTOCOL);
}

/// Plain WebSocket clients.
#[test]
fn websocket() {
    run::clients(&websocket::PROTOCOL);
}

/// Engine.IO over polling, of both revisions, and upgrades to a WebSocket.
#[test]
fn polling() {
    run::clients(&engineio::PROTOCOL);
}

/// Socket.IO over a WebSocket, of both revisions.
#[test]
fn socketio() {
    run::clients(&socketio::PROTOCOL);
}

/// Handshakes and records on a port with TLS.
#[cfg(feature = "tls")]
#[test]
fn tls() {
    tls::handshakes_and_records();
}

/// All of these protocols over TLS.
#[cfg(feature = "tls")]
#[test]
fn over_tls() {
    tls::protocols();
}

/// Answers of the backend to hooks. The clients that cause the calls keep to the protocol.
#[test]
fn hooks() {
    hooks::run();
}

/// Replies and publications of Redis.
#[test]
fn redis() {
    redis::run();
}
