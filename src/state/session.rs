//! Sessions.

use smallvec::SmallVec;

use super::{
    identity::Identity, namespace::NamespaceId, record::RecordState, room::RoomIndex, tenant::TenantId, wants::Wants,
};
use crate::{key::ClientKey, message::Form};

/// A client in one namespace, with its user and its rooms.
pub struct Session {
    /// Its client.
    pub client: ClientKey,
    /// Its user, address and browser.
    pub identity: Identity,
    /// Its rooms. When it leaves one, the last room moves to the freed index.
    pub rooms: SmallVec<[Membership; 2]>,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its namespace.
    pub namespace: NamespaceId,
    /// The form in which it receives messages.
    pub form: Form,
    /// What its login asked for.
    pub wants: Wants,
    /// Whether it still waits for the backend's decision. Until then it gets no messages and is in no list.
    pub pending: bool,
    /// The state of its presence record in Redis.
    pub record: RecordState,
}

const _: () = assert!(size_of::<Session>() <= 72);

/// A session's membership in a room.
#[derive(Clone, Copy, Debug)]
pub struct Membership {
    /// The room.
    pub room: RoomIndex,
    /// The index in the room's list of members.
    pub place: u32,
}
