//! The message log: one JSON object per line, in files by day (docs/protocol.md, Message log).
//!
//! [`MessageLog`] collects lines. A thread of the server appends them to files. The decisions that need no disk are
//! here as well: names of files, when a file is full, which days are kept, how large the folder may be, when a disk has
//! recovered, where a tail begins.

pub mod file;
pub mod lines;
pub mod quota;
pub mod recovery;
pub mod retention;
pub mod rotation;
pub mod tail;
pub mod total;

pub use self::{
    lines::{Appends, MessageLog},
    tail::Tail,
};
