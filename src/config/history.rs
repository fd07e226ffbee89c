//! Section `[history]`: which messages are kept for clients that were away.

use core::time::Duration;

use super::room_pattern::RoomPattern;

/// Section `[history]`.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// What rooms keep for which no rule says otherwise.
    pub bounds: HistoryBounds,
    /// Bytes that all kept messages may take together.
    pub memory: u64,
    /// Whether a session may get messages that were published before its first login.
    pub before: bool,
    /// What happens to slow consumers in rooms that keep messages.
    pub slow: SlowConsumers,
    /// Rules for single rooms. The first that matches applies.
    pub rooms: Vec<HistoryRule>,
}

/// What happens to slow consumers in rooms that keep messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowConsumers {
    /// They get the messages from the history, once they read again.
    #[default]
    Behind,
    /// They are closed with 1013, as in other rooms.
    Close,
}

impl SlowConsumers {
    /// Their names in the configuration.
    pub const NAMES: [(&str, SlowConsumers); 2] = [("behind", SlowConsumers::Behind), ("close", SlowConsumers::Close)];
}

/// What a room keeps: the newest messages that are within all of these bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryBounds {
    /// The number of messages.
    pub count: u64,
    /// How long a message is kept.
    pub age: Duration,
    /// Bytes of the messages.
    pub bytes: u64,
    /// Whether the newest message is kept however old it is, for sessions that join.
    pub last: bool,
}

impl HistoryBounds {
    /// Whether a room keeps any message.
    pub fn keep_any(&self) -> bool {
        self.count > 0 || self.last
    }
}

/// A rule for rooms.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryRule {
    /// The source of the rooms; `None`: all sources.
    pub source: Option<String>,
    /// The names of the rooms.
    pub room: RoomPattern,
    /// What they keep.
    pub bounds: HistoryBounds,
}

impl HistoryRule {
    /// Whether the rule is for this room of this source.
    pub fn matches(&self, source: &str, room: &str) -> bool {
        self.source.as_ref().is_none_or(|name| name == source) && self.room.matches(room)
    }

    /// Whether the rule matches all rooms that `other` matches. `false` if that is not obvious.
    pub fn covers(&self, other: &HistoryRule) -> bool {
        (self.source.is_none() || self.source == other.source) && (self.room.is_any() || self.room == other.room)
    }
}

impl History {
    /// Whether any room keeps messages.
    pub fn is_on(&self) -> bool {
        self.all_bounds().any(HistoryBounds::keep_any)
    }

    /// The bounds of the section and of each rule.
    pub fn all_bounds(&self) -> impl Iterator<Item = &HistoryBounds> {
        core::iter::once(&self.bounds).chain(self.rooms.iter().map(|rule| &rule.bounds))
    }
}

impl Default for History {
    fn default() -> Self {
        History {
            bounds: HistoryBounds { count: 0, age: Duration::from_secs(120), bytes: 262_144, last: false },
            memory: 16_777_216,
            before: true,
            slow: SlowConsumers::default(),
            rooms: Vec::new(),
        }
    }
}
