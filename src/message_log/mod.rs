//! The message log: one JSON object a line, in files by day (docs/protocol.md, Message log).

pub mod lines;

pub use self::lines::{Appends, MessageLog};
