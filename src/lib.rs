//! relay
#![allow(missing_docs)]
pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod frame;
pub mod http;
pub mod hub;
pub mod key;
pub mod limits;
pub mod names;
pub mod outbox;
pub mod server;
pub mod sign;
pub mod websocket;
