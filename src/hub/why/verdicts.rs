//! What can follow from the records, without words: those are in `words.rs`. Sessions are named by the bits of their keys.

use std::rc::Rc;

use super::away::Away;
use crate::{clock::Time, journal::Record};

/// What follows from the records.
pub enum Verdict<'a> {
    /// The message is not in the journal.
    NotFound,
    /// The message is of another relay, and publications of that one did not arrive.
    PerhapsMissed(Missed),
    /// The message is of another relay, which has this name, or of this one before its last start.
    OfRelay(String),
    /// The message came from another relay, which the record names.
    CameFrom(&'a Record),
    /// The message was published to so many rooms that are not looked at.
    MoreRooms(usize),
    /// The session was there when the message was published, and in the room.
    Member(u64, Fate<'a>),
    /// The session was there, but not in the room with this hash.
    NotMember(u64, u64),
    /// The session was there; whether it was in the room is not known any more.
    PerhapsMember(u64),
    /// The user had no session, because a login was refused.
    NotAdmitted(&'a Record),
    /// The user had no session that the journal knows of.
    NeverThere,
    /// The user's session was lost before.
    LostBefore(&'a Record, After<'a>),
    /// The user's session had ended before; another may have got the message later.
    EndedBefore(Ending<'a>, Option<Resumption<'a>>),
    /// A session is connected.
    Connected {
        /// The session.
        session: u64,
        /// Its rooms.
        place: Place<'a>,
        /// Whether it is behind.
        is_behind: bool,
        /// Bytes that wait for it.
        bytes: usize,
    },
    /// There is no session any more.
    Gone(Ending<'a>),
    /// There is no session, and none in the journal.
    NoSession,
    /// None of so many sessions that have ended was in the room.
    NeverInRoom(usize, &'a str),
    /// Messages were published while the user had no session.
    Away(Away),
    /// Something went wrong so often, and this was the last time.
    Troubles(Trouble, u64, &'a Record),
    /// Publications of other relays did not arrive; the relay is that of the last ones.
    MissedOfOthers(Missed),
    /// What the room is like.
    Room {
        /// Its name.
        name: &'a str,
        /// Its sessions here.
        members: usize,
        /// Whether it keeps messages.
        keeps: bool,
    },
    /// So many publications were refused, the last one as the record says.
    PublicationsRefused(u64, &'a Record),
    /// So many publications repeated earlier ones.
    PublicationsRepeated(u64, &'a Record),
}

/// Publications of another relay that did not arrive.
pub struct Missed {
    /// The name of the relay.
    pub node: String,
    /// How many.
    pub count: u64,
    /// When it was noticed last.
    pub last: Time,
}

/// What became of a message for a session that was in the room.
pub enum Fate<'a> {
    /// It has received the message.
    Received,
    /// It was behind since a time, and had caught up later. With a gap, not all messages were kept until then.
    CaughtUp(&'a Record, &'a Record, Option<&'a Record>),
    /// It is there. It may have fallen behind before the message.
    There(Option<&'a Record>, Progress<'a>),
    /// It was lost before it had confirmed the message.
    Lost(Slowness<'a>, &'a Record, After<'a>),
    /// It was lost, and what it had received is not known.
    LostUnknown(Slowness<'a>, &'a Record, After<'a>),
    /// It has ended.
    Ended(Slowness<'a>, Ending<'a>),
}

/// Whether a session that has ended was slow.
pub enum Slowness<'a> {
    /// No.
    Not,
    /// It fell behind, and had not caught up.
    Behind(&'a Record),
    /// It was closed as a slow consumer. It may have fallen behind before the message.
    Closed(Option<&'a Record>, &'a Record),
}

/// How far a session that is there is with a message.
pub enum Progress<'a> {
    /// Nothing more is known.
    Unknown,
    /// The history did not have all messages any more.
    Gap(&'a Record),
    /// It has received the message.
    Received,
    /// It is behind, and gets the message when it has read so many bytes.
    Behind(usize),
    /// It was sent the message, and has not confirmed it.
    Unconfirmed,
    /// It was sent the message, which nobody confirms.
    Unchecked,
    /// So many bytes wait, perhaps with the message.
    Waiting(usize),
}

/// What became of a message after a session was lost.
pub enum After<'a> {
    /// The room does not keep messages.
    NotKept,
    /// Another session goes on where it was.
    Resumed(Resumption<'a>),
    /// It is away, and can still come back.
    Away,
    /// It was given up.
    GivenUp(&'a Record),
    /// It has not come back.
    NotBack,
}

/// A session that goes on where another was, or where it said that it was: as the record says.
pub struct Resumption<'a> {
    /// The record.
    pub record: &'a Record,
    /// Where it went on.
    pub from: Begin<'a>,
}

/// Where a session went on.
pub enum Begin<'a> {
    /// After the message.
    Later,
    /// The history did not have all messages any more.
    Gap(&'a Record),
    /// Before the message, which it has got.
    Before,
}

/// The end of a session.
pub struct Ending<'a> {
    /// The record.
    pub record: &'a Record,
    /// That somebody wanted it to end.
    pub sent_away: Option<&'a Record>,
}

/// In which rooms a session is.
pub enum Place<'a> {
    /// In these.
    Rooms(Vec<Rc<str>>),
    /// In the room of the question.
    In(&'a str),
    /// Not in the room of the question, but in one with a similar name.
    InSimilar(&'a str, String),
    /// Not in the room of the question, but in these.
    NotIn(&'a str, Vec<Rc<str>>),
}

/// What can go wrong for a user or a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A connection was lost.
    Lost,
    /// A login was refused.
    LoginRefused,
    /// It fell behind.
    Behind,
    /// It was closed as a slow consumer.
    Slow,
    /// It has not got messages that were not kept any more.
    Gap,
    /// It was given up after a loss.
    GivenUp,
    /// What it sent was refused.
    MessageRefused,
    /// The backend did not answer a call about it.
    HookFailed,
    /// Somebody wanted it to end.
    SentAway,
}
