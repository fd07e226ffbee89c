//! What other relays know of a session.

/// Whether the record that other relays read of a session is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordState {
    /// There is no record.
    #[default]
    Absent,
    /// There is none, and one is about to be written.
    Queued,
    /// There is one, or it is on its way.
    Written,
    /// There is one that is out of date, and a newer one is about to be written.
    Stale,
}
