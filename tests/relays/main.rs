//! Several relays and a real redis-server: messages between them, presence, and every way in which Redis fails.
#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod failover;
mod links;
mod outages;
mod presence;
mod redis_tls;
mod sentinel;
