//! The sessions that a backend's event is for.

/// Whom a backend means, in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// The members of a room.
    Room(&'a str),
    /// The sessions of a user.
    User(&'a str),
    /// One session by its name, whatever namespace it is in.
    Session(&'a str),
    /// Everybody of the tenant.
    Namespace,
}
