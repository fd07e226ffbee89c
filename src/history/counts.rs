//! Counters of the history since the start.

/// Numbers of messages that were kept, and of those that were dropped, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages kept, counted once for each room.
    pub kept: u64,
    /// Kept messages that were dropped.
    pub evicted: Evicted,
}

/// Kept messages that were dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Because of `history.count`.
    pub count: u64,
    /// Because of `history.age`.
    pub age: u64,
    /// Because of `history.bytes`.
    pub bytes: u64,
    /// Because of `history.memory`.
    pub memory: u64,
}

impl Evicted {
    /// All counters with their reasons.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [("count", self.count), ("age", self.age), ("bytes", self.bytes), ("memory", self.memory)].into_iter()
    }

    /// Their sum.
    pub fn total(&self) -> u64 {
        self.iter().map(|(_, count)| count).sum()
    }
}
