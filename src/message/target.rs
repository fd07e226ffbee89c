//! Targets of backends' events.

/// The receivers of a backend's event, in a tenant and a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// The members of a room.
    Room(&'a str),
    /// The sessions of a user.
    User(&'a str),
    /// The session with this `socket_id`, in any namespace.
    Session(&'a str),
    /// All sessions of the tenant in the namespace.
    Namespace,
}
