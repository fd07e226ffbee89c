//! Questions of operators, and their answers.

use crate::{clock::Time, message::MessageId, state::TenantId};

/// A question of an operator. At least one of the last four is given.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The source.
    pub tenant: TenantId,
    /// A message.
    pub id: Option<MessageId>,
    /// A user; empty if it is about none.
    pub userid: &'a str,
    /// A room; empty if it is about none.
    pub room: &'a str,
    /// A session; empty if it is about none. It may have ended.
    pub socket_id: &'a str,
}

impl Question<'_> {
    /// Whether it is about a user or a session.
    pub fn is_personal(&self) -> bool {
        !self.userid.is_empty() || !self.socket_id.is_empty()
    }
}

/// The answer to a question.
#[derive(Debug, Default)]
pub struct Explanation {
    /// Since when the journal has everything but refusals. `None`: since relay was started.
    pub since: Option<Time>,
    /// Since when it has all refusals. `None`: since relay was started.
    pub refusals_since: Option<Time>,
    /// The events, the oldest first.
    pub lines: Vec<Line>,
    /// What follows from it.
    pub verdicts: Vec<String>,
    /// What can be done about it, each once.
    pub advice: Vec<Advice>,
}

impl Explanation {
    /// Adds a verdict, unless there are too many.
    pub(super) fn conclude(&mut self, verdict: String) {
        if self.verdicts.len() < MOST_VERDICTS {
            self.verdicts.push(verdict);
        }
    }

    /// Adds advice.
    pub(super) fn advise(&mut self, advice: Advice) {
        if !self.advice.contains(&advice) {
            self.advice.push(advice);
        }
    }

    /// Whether there is room for another verdict.
    pub(super) fn has_room(&self) -> bool {
        self.verdicts.len() < MOST_VERDICTS
    }
}

/// Something that has happened.
#[derive(Debug)]
pub struct Line {
    /// When.
    pub time: Time,
    /// What, in words.
    pub text: String,
}

macro_rules! advice {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)*) => {
        /// What can be done about it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Advice {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Advice {
            /// The words for operators.
            pub fn text(self) -> &'static str {
                match self {
                    $(Advice::$name => $text,)*
                }
            }
        }
    };
}

advice! {
    /// The message is not known.
    Unknown = "compare the id and the source with the answer to the notification; with several relays, ask each of them",
    /// The session was not in the room.
    NotMember = "let the client name the room in room_ids at its login, or join it: room ids are compared byte for byte",
    /// The room keeps nothing.
    KeepsNothing = "let the room keep messages, with count in [history] or in [history] rooms",
    /// A login was refused.
    Refused = "cure the refusal: docs/troubleshooting.md has each text, and relay sign --explain says what is wrong with a signature",
    /// A session has ended and has not come back.
    NotBack = "let the client connect again by itself, and say since when it has been away (since), or raise recovery.window",
    /// Connections are lost.
    Lost = "find out what ends the connections: the client's network, or a time-out of the proxy (relay doctor URL); relay trace shows the next loss",
    /// A client reads too slowly.
    Slow = "find out why the client reads slowly (its network, or a page in the background), send it less, or raise limits.unsent",
    /// The history had dropped messages before they were sent.
    Gap = "raise count, age or bytes in [history], and let the page load what is missing when it gets recovered: false",
    /// Messages were lost between relays.
    Missed = "look at relay_redis_missed_total, the log about Redis, and client-output-buffer-limit pubsub of Redis",
    /// A message of a client was refused.
    OwnRefused = "docs/troubleshooting.md has the text; too many messages: limits.message_rate",
    /// The backend has not answered.
    HookFailed = "look at the backend of [hooks], its log and hooks.timeout",
    /// A publication was refused.
    PublicationRefused = "let the backend read the answer to its notification: code is 0, and msg says why",
    /// A publication repeats another one.
    Repeated = "give each message an idempotency_key of its own",
    /// relay has done all it can.
    Sent = "look in the page: relay can not see what a page does with a message",
    /// The client has not confirmed it.
    Unconfirmed = "if this stays so, the connection is lost, which its heartbeat finds out (ping_interval)",
    /// An operator or the backend ends sessions.
    SentAway = "ask who sends POST /api/disconnect, or which answers of the backend have disconnect",
}

/// Verdicts of an answer.
const MOST_VERDICTS: usize = 50;
