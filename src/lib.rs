//! relay delivers messages in real time: backends POST signed notifications, and the pages and apps in a room get them
//! at once.
//!
//! One process, one thread, one event loop. This library is the whole program ([`cli::run`] is `main`), so that tests,
//! fuzzers and benchmarks reach every part of it. It has two halves: the pure modules use no socket, clock or file;
//! [`server`] does everything that involves the operating system. This page is the map. `docs/architecture.md` is the
//! long form, with a glossary and a table of where to add what.
//!
//! # Floors
//!
//! A file imports its own folder and lower floors, never upwards, and files never import each other in a circle
//! (`tests/tidy.rs`).
//!
//! | floor | modules | contents |
//! |---|---|---|
//! | 7 | [`cli`] | arguments, subcommands, exit codes |
//! | 6 | [`server`] | the event loop, sockets, files, signals, threads, the clock |
//! | 5 | [`events`], [`api`] | handlers of input: functions of `&mut Hub` for clients, hooks, other relays, and HTTP endpoints |
//! | 4 | [`hub`] | [`Hub`](hub::Hub): the state and the features side by side; publish, emit, log in, leave |
//! | 3 | [`message_log`], [`acks`], [`history`], [`hooks`], [`cluster`], [`presence`], [`recovery`], [`receipts`], [`live`] | the features: a struct each, which works on a `State` |
//! | 2 | [`message`], [`state`] | messages and their encodings; [`State`](state::State): clients, sessions, rooms, delivery |
//! | 1 | [`http`], [`websocket`], [`engineio`], [`socketio`], [`redis`] | protocols: one state machine for each connection |
//! | 0 | [`clock`], [`config`], [`frame`], [`health`], [`histogram`], [`json`], [`key`], [`language`], [`limits`], [`manual`], [`memory`], [`names`], [`outbox`], [`sign`], [`spelling`], [`text`], [`tls`], [`trace`], [`version`] | vocabulary |
//!
//! # A turn of the loop
//!
//! A turn is always wait, read, handle, expire, carry out, write, free. Handlers queue frames in outboxes and push
//! [`Effect`](state::Effect)s; they do not write. At the end of the turn the server carries out the effects, writes
//! once to each client with queued frames, then writes the HTTP replies; it does so earlier only if an outbox is
//! very full. Connections are freed last, so no event of this turn can reach the next connection in a slot. The
//! clock is read once a turn.
//!
//! # From a request to the clients
//!
//! A notification passes through these steps:
//!
//! 1. [`server::Server::run`] waits; a socket is readable; one read brings at most 64 KiB into a shared buffer.
//! 2. [`http::Exchange::poll_request`] finds a whole request in it, mostly without copying.
//! 3. [`api::route`] calls [`api::notify::single`], which checks fields, signature and rooms.
//! 4. [`hub::Hub::publish`] calls [`state::State::deliver`] for each room: it encodes the message once for each
//!    [`message::Form`] into the room's [`frame::Batch`], and queues a reference to those bytes, a [`frame::Run`], in
//!    every member's [`outbox::Outbox`]. Then it writes the message log and publishes to other relays.
//! 5. At the end of the turn [`outbox::Outbox::write_to`] makes one `send` for each member; then the reply is written.
//! 6. Bytes that a socket does not accept stay in the outbox until the socket is writable.
//!
//! A client's message takes the same steps from 4 on: [`websocket::peer::Peer`] decodes it, and
//! [`events::handle_message`] handles it. A Socket.IO client that polls sends its packets in a POST
//! ([`engineio::payload::decode`]); its pending poll is answered from its outbox ([`engineio::payload::Composer`]).

pub mod acks;
pub mod api;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod engineio;
pub mod events;
pub mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
#[cfg(test)]
#[path = "../tests/support/growth.rs"]
mod growth;
pub mod health;
pub mod histogram;
pub mod history;
pub mod hooks;
pub mod http;
pub mod hub;
pub mod journal;
pub mod json;
pub mod key;
pub mod language;
pub mod limits;
pub mod live;
pub mod manual;
pub mod memory;
pub mod message;
pub mod message_log;
pub mod names;
pub mod outbox;
pub mod presence;
pub mod receipts;
pub mod recovery;
pub mod redis;
pub mod room_hash;
pub mod server;
pub mod sign;
pub mod socketio;
pub mod spelling;
pub mod state;
pub mod text;
pub mod tls;
pub mod trace;
pub mod version;
pub mod websocket;
