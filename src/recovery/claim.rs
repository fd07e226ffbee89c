//! What a login says about where its client was, and by what it is recognised.

use super::away::AwaySession;
use crate::{history::Since, key::SessionKey, message::MessageId};

/// What a login says about where its client was, and by what it is recognised.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// Since when it wants messages. `None` if it does not say so.
    pub since: Option<Since>,
    /// A hash of its page and its browser.
    pub agent: u64,
    /// A hash of the rooms that it names.
    pub list: u64,
    /// A hash of the user that it names.
    pub user: u64,
    /// Whether its signature or its token is for this user only.
    pub is_proven: bool,
    /// Whether a proxy or TLS is between relay and the client.
    pub proxied: bool,
    /// What has become of the session with that `pid`.
    pub recalled: Option<Recalled>,
}

/// What has become of the session with the `pid` of a login.
#[derive(Clone, Debug)]
pub enum Recalled {
    /// It is away, and goes on now.
    Away(Box<AwaySession>),
    /// It still looks alive. It is ended, and goes on then.
    Live {
        /// The session.
        session: SessionKey,
        /// The last message that its client has, as it says.
        offset: Option<MessageId>,
    },
}
