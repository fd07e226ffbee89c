//! The namespaces, and who is in them.

use std::rc::Rc;

use super::{Hub, Session, room::RoomTable, users::Users};
use crate::{config::Namespace, key::SessionKey};

/// A Socket.IO namespace. Plain WebSocket clients are in `/`.
pub(super) struct Space {
    /// Its name.
    pub name: Rc<str>,
    /// What is configured.
    pub config: Rc<Namespace>,
    /// It was taken out of the configuration.
    pub gone: bool,
    /// Who is who there, if anybody asks.
    pub users: Option<Box<Users>>,
}

/// Names a namespace: its place in the hub's list.
pub type SpaceId = u16;
/// The namespace `/`.
pub const MAIN: SpaceId = 0;

impl Hub {
    /// The namespaces as they are configured now.
    pub(super) fn adopt_spaces(&mut self) {
        let config = self.config.clone();
        self.spaces.iter_mut().for_each(|space| space.gone = true);
        let main = [("/", config.namespaces.get("/").cloned().unwrap_or_default())];
        let others = config.namespaces.iter().filter(|(name, _)| *name != "/");
        for (name, config) in main.into_iter().chain(others.map(|(name, config)| (name.as_str(), config.clone()))) {
            let known = self.spaces.iter_mut().find(|space| *space.name == *name);
            match known {
                Some(space) => (space.config, space.gone) = (config.into(), false),
                None => {
                    self.spaces.push(Space { name: name.into(), config: config.into(), gone: false, users: None });
                    self.tenants.iter_mut().for_each(|tenant| tenant.rooms.push(RoomTable::default()));
                }
            }
        }
    }

    /// The namespace of that name.
    pub(super) fn find_space(&self, name: &str) -> Option<SpaceId> {
        let index = self.spaces.iter().position(|space| !space.gone && *space.name == *name)?;
        SpaceId::try_from(index).ok()
    }

    /// Every session that was let in.
    pub(super) fn admitted(&self) -> impl Iterator<Item = (SessionKey, &Session)> {
        self.sessions.iter().filter(|(_, session)| !session.pending)
    }
}

impl Space {
    /// The tenant of who got in without a signature.
    pub fn open_source(&self) -> &str {
        self.config.open_source(&self.name)
    }
}
