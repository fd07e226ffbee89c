//! What the journal consists of.

use super::reason::Reason;
use crate::clock::Time;

/// Something that has happened: 40 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// When. Of several equal refusals or events, when the first was.
    pub time: Time,
    /// A stamp of messages, or the hash of a room: see [`What`]. Of refusals and events, when the last was, in microseconds.
    pub stamp: u64,
    /// The hash of the user, or of the room of a publication. 0: nobody.
    pub who: u64,
    /// The bits of the session's key, or the stamp of a publication's id. 0: none.
    pub session: u64,
    /// See [`What`]. Of refusals and events, how many there were.
    pub count: u32,
    /// The index of the source, or [`EVERY`].
    pub tenant: u16,
    /// The kind of the record.
    pub what: What,
    /// The index of the reason, or of the relay that has published the message; of an event, whether nobody was to get it.
    pub(super) reason: u8,
}

const _: () = assert!(size_of::<Record>() <= 40);

impl Record {
    /// For how many sessions a publication was queued.
    pub fn sessions(&self) -> u32 {
        self.count & !FURTHER
    }

    /// Whether an event was to be sent to a session of this relay.
    pub fn is_sent(&self) -> bool {
        self.reason == 0
    }

    /// Whether it is the publication of a message that the record before has published to another room.
    pub fn is_further(&self) -> bool {
        matches!(self.what, What::Published | What::Kept) && self.count & FURTHER != 0
    }
}

/// A publication of a message to a room.
#[derive(Clone, Copy, Debug, Default)]
pub struct Publication {
    /// The index of the source.
    pub tenant: u16,
    /// The hash of the room.
    pub room: u64,
    /// The stamp of the message here.
    pub stamp: u64,
    /// The stamp of its id.
    pub id: u64,
    /// The relay that has given out the id, if that is another one.
    pub node: Option<u32>,
    /// Whether the message was published to another room just before.
    pub is_further: bool,
    /// For how many sessions it was queued.
    pub queued: u64,
    /// Whether the room keeps it.
    pub kept: bool,
}

/// The kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A message was published to a room that does not keep it. `stamp` is its stamp here; [`Record::sessions`] for how many
    /// sessions it was queued.
    Published,
    /// The same in a room that keeps it.
    Kept,
    /// A session has begun. If `count` is 0, its `socket_id` follows from its key. 1: it has taken over the name in `stamp`. More:
    /// the `socket_id` follows from the client in `stamp` and the namespace `count` - 2.
    Came,
    /// A session has joined a room; `stamp` is the hash of its name.
    Joined,
    /// A session has left a room; `stamp` is the hash of its name.
    Left,
    /// A session has ended for good.
    Ended,
    /// A session was lost. It has all messages up to `stamp`, if `count` is 1; if it is 0, this is not known.
    Lost,
    /// A session did not answer when it was asked whether it is there.
    Silent,
    /// A session goes on from `stamp` in place of one that was lost; `count` is the number of messages that it gets again.
    Returned,
    /// A session has said that it has all messages up to `stamp`; `count` is the number of messages that it gets.
    Resumed,
    /// A session gets no more messages as they are published, because its client reads too slowly. It has all that were published
    /// up to `stamp`. `count` is the number of bytes that wait for it.
    Behind,
    /// Such a session has got what it had not.
    CaughtUp,
    /// A client was closed as a slow consumer; `count` is the number of bytes that waited for it.
    Slow,
    /// Messages of the room whose hash is `stamp` are not kept any more, and a session has not got them.
    Gap,
    /// The same in `count` further rooms.
    Gaps,
    /// An operator or the backend wants a session to end.
    SentAway,
    /// A session that was lost was given up before its time.
    GivenUp,
    /// An operator has loaded pages again, those of `count` sessions: of a session, of a room (`who`), or all.
    Refreshed,
    /// The backend has emitted an event, `count` times. `who` is the hash of the user or of the room; `session` is the index of the
    /// namespace, if the event was not for one session.
    Emitted(Recipient),
    /// A login was refused.
    Refused,
    /// A message or request of a client was refused.
    MessageRefused,
    /// The backend has not answered a call about a session.
    HookFailed,
    /// A publication was refused; `who` is the hash of the first room.
    PublicationRefused,
    /// A publication was not published, because it repeats an earlier one; `who` is the hash of the first room.
    Repeated,
    /// Publications of another relay have not arrived. `session` is the name of that relay ([`pack`]).
    Missed,
}

/// What else a record says.
#[derive(Clone, Debug, Default)]
pub struct More<'a> {
    /// See [`What`].
    pub stamp: u64,
    /// See [`What`].
    pub count: u32,
    /// Why it has happened.
    pub reason: Reason<'a>,
}

/// The recipients of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// The sessions in a room.
    Room,
    /// The sessions of a user.
    User,
    /// One session.
    Session,
    /// All sessions of a source in a namespace.
    All,
}

/// What a refusal or an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The index of the source, or [`EVERY`].
    pub tenant: u16,
    /// See [`Record::who`].
    pub who: u64,
    /// See [`Record::session`].
    pub session: u64,
}

/// The name of a relay as a number: its first eight bytes.
pub fn pack(node: &str) -> u64 {
    let mut bytes = [0; 8];
    bytes.iter_mut().zip(node.bytes()).for_each(|(place, byte)| *place = byte);
    u64::from_be_bytes(bytes)
}

/// The name that was [packed](pack).
pub fn unpack(node: u64) -> String {
    String::from_utf8_lossy(&node.to_be_bytes()).trim_end_matches('\0').into()
}

/// The index that stands for all sources, or for one that is not known.
pub const EVERY: u16 = u16::MAX;
/// The bit of [`Record::count`] that says that a publication is a [further](Record::is_further) one.
pub(super) const FURTHER: u32 = 1 << 31;
