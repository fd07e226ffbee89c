//! The state of a session's presence record.

/// Whether Redis has a record of a session (docs/protocol.md, Redis wire format, Records).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordState {
    /// No record.
    #[default]
    Absent,
    /// No record; the first one is queued.
    Queued,
    /// Written, or being written.
    Written,
    /// Written but out of date; a newer one is queued.
    Stale,
}
