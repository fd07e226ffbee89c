//! The bounds of a ring.

use crate::config::HistoryBounds;

/// What a ring keeps: [`HistoryBounds`] in the units of rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The number of messages, at least 1.
    pub count: u32,
    /// How long a message is kept, in seconds.
    pub seconds: u32,
    /// Bytes of the messages with their entries.
    pub bytes: u32,
    /// Whether the newest message is kept however old it is.
    pub last: bool,
}

impl Bounds {
    /// The bounds of a room; `None` if it keeps nothing.
    pub fn new(settings: &HistoryBounds) -> Option<Bounds> {
        let seconds = settings.age.as_secs() + u64::from(settings.age.subsec_nanos() > 0);
        settings.keep_any().then(|| Bounds {
            count: saturate(settings.count.max(1)),
            seconds: saturate(seconds),
            bytes: saturate(settings.bytes),
            last: settings.last,
        })
    }
}

fn saturate(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
