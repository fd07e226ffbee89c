//! What backends rely on, by the chapters of docs/protocol.md: notifications, receipts, hooks, the message log.
#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod hooks;
mod hooks_tls;
mod idempotency;
mod message_log;
mod notify;
mod receipts;
mod tokens;
