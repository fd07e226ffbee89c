//! Why publications of other relays, old servers and backends are refused.

use core::{error, fmt};

use crate::state::Refusal;

/// Why a publication is refused. `Display` is the reason in the message log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is longer than the limit.
    TooLong {
        /// Its length in bytes.
        bytes: u64,
        /// The limit in bytes.
        longest: u64,
    },
    /// It is not UTF-8.
    NotText,
    /// It is JSON that is nested more than 128 levels deep.
    TooDeep,
    /// It is not a JSON object.
    NotObject,
    /// A command without the signature that `redis.secret` requires.
    Unsigned,
    /// The `node` of a command is empty or has more than this many bytes.
    Node(usize),
    /// The `to` of a `refresh` is unknown.
    RefreshTarget(String),
    /// The name of an event is empty, or reserved by Socket.IO.
    EventName(String),
    /// The arguments of an event are not an array.
    Args,
    /// The `to` of an event is unknown.
    Recipients(String),
    /// JSON with a placeholder whose attachment is missing.
    Attachment,
    /// A command about who is in which room is malformed.
    Presence,
    /// A command about who gets a message is malformed.
    Receipt,
    /// A message with `from_sys` in place of a signature, which `redis.trust_from_sys` does not allow.
    FromSys,
    /// A message that is refused for the same reason as a notification.
    Message(Refusal),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Refused::Message(refusal)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::TooLong { bytes, longest } => {
                return write!(f, "the message has {bytes} bytes; at most {longest} are accepted");
            }
            Refused::NotText => "the message is not UTF-8",
            Refused::TooDeep => "the message is nested more than 128 levels deep",
            Refused::NotObject => "the message is not a JSON object",
            Refused::Unsigned => "the command is not signed with redis.secret",
            Refused::Node(longest) => return write!(f, "the command's node must have 1 to {longest} bytes"),
            Refused::RefreshTarget(to) => return write!(f, "unknown target of refresh: {to:?}"),
            Refused::EventName(name) => return write!(f, "the event's name is empty or reserved: {name:?}"),
            Refused::Args => "the event's args must be an array",
            Refused::Recipients(to) => return write!(f, "unknown recipients of an event: {to:?}"),
            Refused::Attachment => "a placeholder without its attachment",
            Refused::Presence => "the command about who is in a room is malformed",
            Refused::Receipt => "the command about who gets a message is malformed",
            Refused::FromSys => "from_sys does not replace a signature, because redis.trust_from_sys is false",
            Refused::Message(refusal) => {
                refusal.fmt(f)?;
                return refusal.reason().map_or(Ok(()), |reason| write!(f, " ({reason})"));
            }
        })
    }
}

impl error::Error for Refused {}
