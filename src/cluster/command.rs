//! Commands and messages between relays, as data.

use std::borrow::Cow;

use super::{
    presence::{Present, Roll},
    receipts::{CountQuery, Counted, RemoteAcked},
    user_lookups::UserQuery,
};
use crate::{
    key::SessionKey,
    message::{Data, Event, MessageId, Target},
    state::{NamespaceId, TenantId},
};

/// A valid publication of another relay, an old server or a backend. It concerns only the clients of this relay: it
/// must not be published again.
#[derive(Debug, PartialEq)]
pub enum Command<'a> {
    /// Publish a message here.
    Message(IncomingMessage<'a>),
    /// Emit an event here, then report how many sessions it reached with
    /// [`Cluster::send_found`](super::Cluster::send_found).
    Event(IncomingEvent<'a>),
    /// Emit `refreshPage` here.
    Refresh(RefreshTarget<'a>),
    /// End these sessions, and give up those that are away.
    Disconnect {
        /// The sessions.
        sessions: Vec<SessionKey>,
        /// The tenant; `None`: all.
        tenant: Option<TenantId>,
        /// Whose sessions they are. Empty if it is one session.
        userid: Box<str>,
        /// Which session it is. Empty if it is all of a user.
        socket_id: Box<str>,
    },
    /// A user look-up has ended.
    UserLookup {
        /// The query.
        query: UserQuery,
        /// Whether another relay has the user.
        found: bool,
    },
    /// Users of another relay have joined or left a room.
    Present(Present),
    /// Another relay asks who is in the rooms of a tenant.
    RollCall {
        /// The relay.
        node: Box<str>,
        /// The tenant.
        tenant: TenantId,
    },
    /// A piece of the answer of another relay.
    Roll(Roll),
    /// Another relay asks who gets its last message.
    Count(CountQuery),
    /// Another relay has counted who gets a message of this relay.
    Counted(Counted),
    /// Another relay tells who has got a message of this relay.
    Acked(RemoteAcked),
    /// A client of another relay acknowledged an event of this relay.
    Ack {
        /// The number of the pending acknowledgement.
        number: u64,
        /// The arguments of the acknowledgement: a JSON array.
        list: Cow<'a, str>,
        /// The bytes that its placeholders stand for.
        attachments: Vec<Vec<u8>>,
    },
}

/// A message for rooms of a tenant.
#[derive(Debug, PartialEq)]
pub struct IncomingMessage<'a> {
    /// The tenant.
    pub tenant: TenantId,
    /// The rooms' names, separated by commas; at least one.
    pub room_ids: String,
    /// The data: a JSON value.
    pub json: Cow<'a, str>,
    /// The bytes that its placeholders stand for.
    pub attachments: Vec<Vec<u8>>,
    /// The message log file that it names. Empty if it names none, or one that it may not use.
    pub filename: Cow<'a, str>,
    /// Whether a client sent it.
    pub from_client: bool,
    /// A JSON object that says which one. Empty if that is not said.
    pub from: String,
    /// The id, if a relay published it.
    pub id: Option<MessageId>,
}

impl IncomingMessage<'_> {
    /// The rooms, in order. A room that is named twice appears twice.
    pub fn rooms(&self) -> Vec<&str> {
        self.room_ids.split(',').filter(|room| !room.is_empty()).collect()
    }

    /// The data.
    pub fn data(&self) -> Data<'_> {
        match self.attachments.as_slice() {
            [] => Data::Json(&self.json),
            attachments => Data::Mixed { json: &self.json, attachments },
        }
    }
}

/// An event for sessions in a namespace.
#[derive(Debug, PartialEq)]
pub struct IncomingEvent<'a> {
    /// The relay that published it.
    pub node: Cow<'a, str>,
    /// The number to use in the report of how many sessions the event reached. `None` if that relay wants no report.
    pub number: Option<u64>,
    /// Whether that relay wants the first acknowledgement.
    pub ack: bool,
    /// The tenant.
    pub tenant: TenantId,
    /// The namespace.
    pub namespace: NamespaceId,
    /// The sessions.
    pub recipients: Recipients,
    /// The event's name.
    pub name: Cow<'a, str>,
    /// The arguments, with commas between them.
    pub args: Cow<'a, str>,
    /// The bytes that their placeholders stand for.
    pub attachments: Vec<Vec<u8>>,
    /// Whether it is dropped for clients that still have unsent data.
    pub volatile: bool,
    /// Whether a backend has sent it, and not a client.
    pub by_backend: bool,
}

impl IncomingEvent<'_> {
    /// The event, without the number of an acknowledgement.
    pub fn event(&self) -> Event<'_> {
        Event { attachments: &self.attachments, volatile: self.volatile, ..Event::new(&self.name, &self.args) }
    }
}

/// The sessions that another relay's event is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// The members of any of these rooms, each once.
    Rooms(Vec<String>),
    /// The sessions of a user.
    User(String),
    /// The session with this `socket_id`.
    Session(String),
    /// All sessions of the tenant in the namespace.
    Namespace,
}

/// The sessions at other relays that an event of this relay is for.
#[derive(Clone, Copy, Debug)]
pub enum Reach<'a> {
    /// The target of an event that a client has sent.
    Target(&'a Target<'a>),
    /// The target of an event that a backend has sent.
    Backend(&'a Target<'a>),
    /// The members of any of these rooms, each once.
    Rooms(&'a [&'a str]),
}

/// The sessions whose clients should reload their page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefreshTarget<'a> {
    /// All.
    All,
    /// All of a tenant.
    Source(TenantId),
    /// The members of a room, in all namespaces.
    Room(TenantId, Cow<'a, str>),
    /// One session, if it belongs to that tenant.
    Session(Option<TenantId>, Cow<'a, str>),
    /// A `socket_id`, or a room as node-socket-im names it: the source's name directly followed by the room's. Several
    /// rooms may match: `abc` is room `c` of `ab` and room `bc` of `a`.
    Prefixed(Cow<'a, str>),
}
