//! The message log: one JSON object per line, in files by day (docs/protocol.md, Message log).
//!
//! [`MessageLog`] gathers lines. A thread of the server appends them to files; what is decided there without a look at the
//! disk is here, too: names of files, when a file is full, which days are kept, where a tail begins.

pub mod file;
pub mod lines;
pub mod retention;
pub mod rotation;
pub mod tail;

pub use self::{
    lines::{Appends, MessageLog},
    tail::Tail,
};
