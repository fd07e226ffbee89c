//! The state that [`Cluster`](super::membership::Cluster) and its connections share.

use super::{
    cached_lookups::CachedLookups,
    fields::{number, text},
    nodes::{Nodes, is_name},
    publisher::Publisher,
    records::Records,
    refused::Refused,
    user_lookups::UserLookups,
};
use crate::{
    health::Health,
    journal::{EVERY, Reason, Subject, What, pack},
    json::Object,
    language::say,
    message_log::MessageLog,
    state::{Refused as Logged, State},
};

/// The publications of this relay and its knowledge of other relays, without the connections.
#[derive(Default)]
pub struct Shared {
    pub publisher: Publisher,
    pub nodes: Nodes,
    pub records: Records,
    pub cached: CachedLookups,
    pub users: UserLookups,
    /// Whether `from_sys` replaces a signature (`redis.trust_from_sys`).
    pub trust: bool,
    /// The number of publications to this relay's own channel since the start.
    pub answers: u64,
    /// Whether the connections work, for operators' pages.
    pub health: Health,
}

/// The shared parts, with the state and the message log.
pub struct Context<'a> {
    pub shared: &'a mut Shared,
    pub state: &'a mut State,
    pub log: &'a mut MessageLog,
}

impl Context<'_> {
    /// Counts a refused publication, and writes it to `error.log`.
    pub fn refuse(&mut self, refused: &Refused, text: &str) {
        self.state.stats.redis_refused += 1;
        let why = refused.to_string();
        self.log.error("redis", &why, |line| line.nonempty("message", text));
        let logged = Logged {
            what: "publication",
            source: "",
            is_known: false,
            why: &why,
            reason: Some("on Redis"),
            ip: None,
            facts: &[("message", text)],
        };
        self.state.log_refusal(&logged);
        let subject = Subject { tenant: EVERY, who: 0, session: 0 };
        let why = Reason::new(|language| {
            let why = refused.words(language);
            say!(language, "on Redis: {why}", "Redis 上：{why}")
        });
        self.state.journal.note_refusal(self.state.now.time, What::PublicationRefused, subject, 1, &why);
    }

    /// Whether another relay's publication is new. Publications that are missing before it are counted in
    /// `redis_missed`.
    pub fn is_new(&mut self, fields: &Object<'_>) -> bool {
        self.missing_before(fields).is_some()
    }

    /// How many publications are missing before another relay's publication, which are counted in `redis_missed`. `None` if it
    /// was received before.
    pub fn missing_before(&mut self, fields: &Object<'_>) -> Option<u64> {
        let (node, number) = (text(fields, "node"), number(fields, "seq").unwrap_or(0));
        if !is_name(&node) {
            return Some(0);
        }
        let missed = self.shared.nodes.receive(&node, number);
        self.count_missed(&node, missed.unwrap_or(0));
        missed
    }

    /// Counts publications of another relay that have not arrived.
    pub fn count_missed(&mut self, node: &str, missed: u64) {
        if missed > 0 {
            self.state.stats.redis_missed = self.state.stats.redis_missed.saturating_add(missed);
            let subject = Subject { tenant: EVERY, who: 0, session: pack(node) };
            self.state.journal.note_refusal(self.state.now.time, What::Missed, subject, missed, &Reason::default());
        }
    }
}
