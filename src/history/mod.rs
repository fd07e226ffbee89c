//! History: rooms keep their newest messages, so that clients that were away can get what they missed
//! (`[history]` in docs/configuration.md).
//!
//! Messages are kept as they were published, not in the forms of clients: keeping one costs a copy of its data, and
//! delivering one costs nothing more. Each has a *stamp*, its place in the order of all messages of this relay. A session
//! gets its messages in that order, so a single stamp, its *position*, says what it has received in all of its rooms.
//!
//! - [`History`] keeps messages, and finds those after a position;
//! - a *ring* has the kept messages of one room, an *entry* is one of them;
//! - the *floor* of a ring is the newest stamp of a message that it does not have any more. A room is *whole* from a
//!   position if nothing after it was dropped.
//!
//! A room that keeps nothing costs nothing: empty rings are removed, and the source remembers the highest of their floors.

pub mod bounds;
pub mod counts;
pub mod entry;
mod eviction;
pub mod merge;
pub mod recovery;
pub mod replays;
mod ring;
mod rings;
mod rules;
pub mod since;
pub mod store;
pub mod walk;

pub use self::{
    counts::{Counts, Evicted},
    entry::{Content, Entry, Published},
    merge::{Entries, Found},
    recovery::Recovery,
    replays::Replays,
    since::{Position, Since, SinceError},
    store::History,
};
