//! Namespaces.

use std::rc::Rc;

use super::user_index::UserIndex;
use crate::config::Namespace as Settings;

/// A namespace that is configured, or was configured before a reload (docs/protocol.md, Namespaces and rules).
pub struct Namespace {
    /// Its name, with its leading slash.
    pub name: Rc<str>,
    /// Its settings.
    pub config: Rc<Settings>,
    /// Whether it was removed from the configuration.
    pub gone: bool,
    /// The sessions of each user. `None` if no rule and no pairing looks users up in this namespace.
    pub users: Option<Box<UserIndex>>,
}

/// A namespace's index in [`State`](super::State). A reload gives it to another namespace if its own was removed and has no
/// session.
pub type NamespaceId = u16;

/// The namespace `/`.
pub const MAIN: NamespaceId = 0;

impl Namespace {
    /// The source of sessions that are admitted without a signature.
    pub fn open_source(&self) -> &str {
        self.config.open_source(&self.name)
    }
}
