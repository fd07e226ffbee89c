//! relay: backends POST signed notifications; pages and apps hold a connection, sit in rooms, and get them at once.
//!
//! One process, one thread, one event loop. This library is the whole program ([`cli::run`] is `main`), so that tests and
//! fuzzers reach every part of it. **A pure middle and a thin world**: everything relay
//! *means* is ordinary data without a socket, a clock or a file ([`hub`]); everything it *touches* is in [`server`], whose
//! `run` is the loop.
//!
//! # Floors
//!
//! A file imports its own floor's folder and lower floors, never up (`tests/tidy.rs` holds it to that).
//!
//! | floor | modules | what |
//! |---|---|---|
//! | 5 | [`cli`] | the process: arguments, exit codes, `sign`, `notify`, `listen` |
//! | 4 | [`server`] | the world: mio, sockets, files, signals, the time |
//! | 3 | [`hub`], [`api`], [`hooks`], [`siblings`] | the meaning; HTTP endpoints as functions of hub and request; the queue before the backend; the link to other relays |
//! | 2 | [`http`], [`websocket`], [`engineio`], [`socketio`], [`redis`] | protocols: bytes to values and back, one state machine a connection |
//! | 1 | [`config`], [`limits`], [`names`], [`key`], [`frame`], [`outbox`], [`plain`], [`sign`], [`clock`] | vocabulary |
//!
//! # The way of a byte
//!
//! A turn of the loop is always wait, read, handle, tick, carry out, write, free. A notification on its way:
//!
//! 1. [`server::Server::run`] waits; a socket is readable; one read brings at most 64 KiB into the shared buffer.
//! 2. [`http::Exchange::poll_request`] finds a whole request in it, mostly without copying.
//! 3. [`api::route`] calls [`api::notify::single`], which checks fields and signature and names rooms.
//! 4. [`hub::Hub::publish`] encodes the message once for each form into the room's [`frame::Batch`] and queues a run of it
//!    in every member's [`outbox::Outbox`]: twelve bytes a member. The reply goes into the exchange's output.
//! 5. At the end of the turn the hub's [`hub::Effect`]s are carried out, then every client with something queued is
//!    written once ([`outbox::Outbox::write_to`]), in slot order, then the replies.
//! 6. What a slow client leaves over is kept beyond the turn and waits for its socket; closed connections are freed.
//!
//! A client's message takes the same way from step 4 on: [`websocket::peer::Peer`] takes the read apart, and
//! [`hub::Hub::handle_message`] says what it does. With Socket.IO [`engineio::payload`] takes a POST apart, and a poll that
//! waits is answered in step 5 with what would have gone over a WebSocket ([`engineio::payload::Composer`]).
//!
//! Two things leave the loop for a thread of their own, since they may take long: the message log's lines, which the hub
//! gathers ([`hub::journal`]) and the world hands over once a turn ([`server::journal`]); and finding the business backend
//! by its name. Calls to that backend are on the loop: the hub says what is to be asked ([`hub::hooks`]),
//! [`hooks::Dispatcher`] when it is sent, and [`server::backend`] has the connections. The link to siblings over Redis is
//! built alike: [`hub::siblings`] says what others are told and does what they tell, [`siblings::Siblings`] decides when to
//! connect and what is sent on which connection ([`redis::Link`]), [`server::siblings`] has the sockets.
//!
//! # Words
//!
//! *Source*: a tenant. *Room*: a source and a name. *Connection*: a socket. *Client*: a peer with one outbox, which may
//! outlive its connections. *Session*: a client in one namespace; *member*: a session in a room. *Message*: data for one
//! room, with an id. *Form*: how a member wants it. *Frame*: its bytes on a WebSocket. *Batch*: a room's frames of one
//! turn; *run*: a part of a batch. *Sibling*: another relay on the same Redis; *node*: a relay's name there.

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
pub mod health;
pub mod hooks;
pub mod http;
pub mod hub;
pub mod json;
pub mod key;
pub mod limits;
pub mod message;
pub mod message_log;
pub mod names;
pub mod outbox;
pub mod presence;
pub mod redis;
pub mod server;
pub mod sign;
pub mod socketio;
pub mod state;
pub mod text;
pub mod websocket;
