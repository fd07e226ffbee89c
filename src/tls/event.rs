//! What a connection of a server reports.

/// What [`Session::open`](crate::tls::Session::open) finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Data.
    Data(&'a [u8]),
    /// The peer has announced that no more follows. All later input is ignored.
    End,
}
