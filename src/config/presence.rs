//! Section `[presence]`: who is in a room.

use core::time::Duration;

/// Section `[presence]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Whether relay keeps track of who is in each room, and sends the event `presence` to the clients that ask for it.
    pub events: bool,
    /// How long a user whose connection was lost still counts as present.
    pub grace: Duration,
    /// The most users that one event or answer names. Of a room with more, only the number is said.
    pub most: u64,
}

impl Default for Presence {
    fn default() -> Presence {
        Presence { events: false, grace: Duration::from_secs(10), most: 1000 }
    }
}
