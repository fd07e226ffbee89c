//! The event loop, and everything that touches the operating system: sockets, clocks, signals, files.
//!
//! A turn is always **wait, read, handle, expire, carry out, write, free**. Handlers only queue frames and effects.
//! Clients are flushed at the end of the turn, or earlier if an outbox is very full. A connection is freed
//! only at the end of the turn.

mod accounts;
pub mod admission;
pub mod allocator;
pub mod clock;
pub mod cluster;
pub mod config_file;
pub mod conn;
pub mod deadlines;
pub mod ending;
pub mod event_loop;
pub mod fatal;
pub mod flush;
pub mod hooks;
pub mod http;
pub mod lifecycle;
pub mod listener;
mod live;
pub mod logger;
pub mod manager;
pub mod memory;
pub mod message_log;
pub mod options;
pub mod outlook;
pub mod peer;
pub mod pressure;
pub mod process;
pub mod proxied;
mod receipts;
mod recent_lines;
pub mod reload;
pub mod resolver;
pub mod stalls;
pub mod startup;
pub mod timers;
pub mod tls;
pub mod tokens;
pub mod transport;
pub mod waker;
pub mod websocket;

pub use self::{event_loop::Server, fatal::Fatal, options::Options};
