//! Questions of operators that wait for the kernel.

use crate::{
    hub::{
        Hub,
        why::{Question, sessions_of},
    },
    key::ClientKey,
    language::Language,
    message::MessageId,
    state::TenantId,
};

/// A question that has an answer once the kernel was asked what clients have confirmed.
#[derive(Debug)]
pub struct Inquiry {
    /// The source.
    pub tenant: TenantId,
    /// A message.
    pub id: Option<MessageId>,
    /// A user, or nothing.
    pub userid: Box<str>,
    /// A room, or nothing.
    pub room: Box<str>,
    /// A session, or nothing.
    pub socket_id: Box<str>,
    /// The language of the answer.
    pub language: Language,
}

impl Inquiry {
    /// The question, with what is known of clients: see [`Question::confirmed`].
    pub fn question<'a>(&'a self, confirmed: &'a [(ClientKey, u64)]) -> Question<'a> {
        let Inquiry { tenant, id, userid, room, socket_id, language: _ } = self;
        Question { tenant: *tenant, id: *id, userid, room, socket_id, confirmed }
    }

    /// The clients of which the answer says what they have; none without a message.
    pub fn clients(&self, hub: &Hub) -> Vec<ClientKey> {
        let question = self.question(&[]);
        if self.id.is_none() || !question.is_personal() {
            return Vec::new();
        }
        let sessions = sessions_of(hub, &question);
        sessions.into_iter().take(MOST_CLIENTS).filter_map(|key| Some(hub.state.sessions.get(key)?.client)).collect()
    }
}

/// Of how many clients the kernel is asked at most.
const MOST_CLIENTS: usize = 20;
