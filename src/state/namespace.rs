//! A Socket.IO namespace.

use std::rc::Rc;

use super::user_index::UserIndex;
use crate::config::Namespace as Settings;

/// A namespace, configured or once configured.
pub struct Namespace {
    /// Its name, with its leading slash.
    pub name: Rc<str>,
    /// Its settings.
    pub config: Rc<Settings>,
    /// Whether it was taken out of the configuration.
    pub gone: bool,
    /// The sessions of each user, kept only if a rule or pairing looks users up here.
    pub users: Option<Box<UserIndex>>,
}

/// A namespace's index in [`State`](super::State).
pub type NamespaceId = u16;

/// The namespace `/`.
pub const MAIN: NamespaceId = 0;

impl Namespace {
    /// The source of sessions that were admitted without a signature.
    pub fn open_source(&self) -> &str {
        self.config.open_source(&self.name)
    }
}
