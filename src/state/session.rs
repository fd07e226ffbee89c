//! A client in one namespace.

use smallvec::SmallVec;

use super::{identity::Identity, namespace::NamespaceId, record::RecordState, room::RoomIndex, tenant::TenantId};
use crate::{key::ClientKey, message::Form};

/// A client in one namespace, with its rooms and who it says it is.
pub struct Session {
    /// Whose it is.
    pub client: ClientKey,
    /// Who it is.
    pub identity: Identity,
    /// Where it is, in the order it came there.
    pub rooms: SmallVec<[Membership; 2]>,
    /// The tenant, as an index into the hub's list.
    pub tenant: TenantId,
    /// The namespace.
    pub namespace: NamespaceId,
    /// How it wants its messages.
    pub form: Form,
    /// Whether its rooms want to know when it leaves.
    pub watch_quit: bool,
    /// Whether the backend has not said yet that it may come in: nobody sees it until then.
    pub pending: bool,
    /// How it stands with Redis.
    pub record: RecordState,
}

const _: () = assert!(size_of::<Session>() <= 72);

/// A room, and the member's place in it.
#[derive(Clone, Copy, Debug)]
pub struct Membership {
    /// Which room of the tenant.
    pub room: RoomIndex,
    /// The index in the room's list of members.
    pub place: u32,
}
