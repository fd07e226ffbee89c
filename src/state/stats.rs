//! Counters since the start (docs/protocol.md, Metrics).

use super::{close_reason::CloseReason, departure::Departure};
use crate::tls::HandshakeFailure;

/// A counter of `/metrics` and `/api/stats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The name, without `relay_` and `_total`.
    pub name: &'static str,
    /// What it counts: the text of `# HELP`, and how its row in docs/protocol.md, Metrics, begins.
    pub help: &'static str,
    /// How many there were since the start.
    pub count: u64,
}

/// Defines [`Stats`]. The comment of a counter is its text in `/metrics` and in the documentation.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident)*) => {
        /// Counters since the start.
        #[derive(Clone, Debug, Default)]
        pub struct Stats {
            $($(#[doc = $doc])+ pub $name: u64,)*
            /// `tls_failed` by kind.
            tls_failures: [u64; HandshakeFailure::ALL.len()],
            /// `closes` by reason.
            closes_by_reason: [u64; CloseReason::ALL.len()],
        }

        impl Stats {
            /// All counters with their names and meanings, in the order of the documentation.
            pub fn iter(&self) -> impl Iterator<Item = Counter> {
                [$(Counter {
                    name: stringify!($name),
                    help: concat!($($doc),+).trim_ascii_start(),
                    count: self.$name,
                }),*].into_iter()
            }
        }
    };
}

counters! {
    /// Connections accepted.
    accepted
    /// Connections answered with 503 because of `limits.connections`.
    connections_refused
    /// Connections and handshakes answered with 429, or closed, because of `limits.per_address`.
    address_refused
    /// Socket.IO clients without a namespace that were closed to make room for others.
    unjoined_closed
    /// Times that accepting paused for want of file descriptors or memory.
    accept_pauses
    /// TLS handshakes completed.
    tls_handshakes
    /// TLS handshakes that continued an earlier session of the client. They count as completed as well.
    tls_resumed
    /// TLS handshakes that failed: refused by either side, incomplete in time, or not TLS.
    tls_failed
    /// TLS connections closed because a record was damaged, malformed or not expected, or because the client sent an alert.
    tls_errors
    /// HTTP requests answered, polls and upgrades included.
    requests
    /// HTTP requests that were malformed, too large or too slow.
    bad_requests
    /// Logins admitted.
    logins
    /// Logins refused, by relay or by the backend.
    logins_refused
    /// Sessions that ended because their login had expired.
    logins_expired
    /// Logins that were renewed by their clients.
    logins_renewed
    /// Sessions that ended, by reason.
    closes
    /// Sessions that ended and whose users are expected back, because they were lost or relay had to close them.
    losses
    /// Sessions that ended for good: their users left, or must not come back.
    goodbyes
    /// Requests of pages whose origin `origins` does not list.
    origins_refused
    /// Requests with a wrong admin token.
    tokens_wrong
    /// Notifications accepted.
    notifies
    /// Notifications refused, and emitted events with a wrong or used signature or a wrong key.
    notifies_refused
    /// Notifications and emitted events refused because their signature had been used before.
    signatures_replayed
    /// Used signatures that were forgotten before their time, because there were too many.
    signatures_forgotten
    /// Notifications and emitted events that got the answer of an earlier one with the same `idempotency_key`.
    idempotency_repeated
    /// Keys of accepted requests that were forgotten before their time, because there were too many.
    idempotency_forgotten
    /// Receipts that backends have asked for. Those of repeated requests do not count.
    receipts_asked
    /// Receipts to which all relays have contributed what was asked for.
    receipts_complete
    /// Receipts to which another relay has not contributed, or for which too many were open.
    receipts_incomplete
    /// Messages and events from clients, refused ones included.
    client_messages
    /// Messages and events from clients that were refused or had no rule.
    client_messages_refused
    /// Messages and events from clients that were refused because of `limits.message_rate` or `limits.delivery_rate`.
    rate_limited
    /// Messages from clients that were published.
    posted
    /// Messages published at this relay from any origin, counted once for each room.
    published
    /// Messages queued for members, counted once for each member.
    delivered
    /// Logins with `since` after which no message is missing.
    recovered
    /// Times that messages were missing for a client, at its login or later.
    recovery_gaps
    /// Kept messages queued for clients: missed ones and last values. They count as delivered as well.
    replayed
    /// Times that a slow client was not closed, because it gets the messages from the history.
    fell_behind
    /// Sessions that were lost and are kept for their return.
    sessions_lost
    /// Sessions that came back and got all that they had missed.
    returned
    /// Sessions that came back when a part of what they had missed was not kept any more.
    returned_with_gaps
    /// Messages that sessions which came back had missed.
    repeated
    /// Lost sessions that were given up after `recovery.window`.
    away_expired
    /// Lost sessions that were given up because there was no memory for them.
    away_dropped
    /// Events from clients that a rule matched.
    events
    /// Events queued for clients, counted once for each client.
    emitted
    /// Volatile events dropped for clients that still had unsent data.
    volatile_dropped
    /// Events about who is in a room, counted once for each room and change.
    presence_events
    /// Lists of users that were asked for because changes at another relay were missed, or because it was new.
    presence_missed
    /// Users at other relays that were left out because there were too many.
    presence_dropped
    /// Calls sent to the backend, including retries.
    hook_calls
    /// Retries of calls to the backend.
    hook_retries
    /// Calls to the backend that got no usable answer, after all retries, refused ones included.
    hook_failures
    /// Calls to the backend that were dropped because too many were waiting. They count as failures as well.
    hook_dropped
    /// Messages and commands for other relays.
    redis_published
    /// Messages and commands for other relays that were dropped: Redis was unreachable for too long, or the queue was
    /// full.
    redis_dropped
    /// Messages and commands from other relays, from node-socket-im servers, and from backends that publish to Redis.
    redis_received
    /// Messages and commands from Redis that were malformed, unsigned, or for an unknown source, and malformed records.
    redis_refused
    /// Messages and commands of other relays that were lost.
    redis_missed
    /// Connections made to Redis.
    redis_connects
    /// Commands that Redis answered with an error.
    redis_errors
    /// Clients closed as slow consumers.
    slow_consumers
    /// Times that caches were dropped because of `limits.memory`.
    memory_caches_dropped
    /// Slow clients, and HTTP connections with unread answers, closed because of `limits.memory`.
    memory_slow_closed
    /// Incomplete requests and messages refused because of `limits.memory`.
    memory_input_refused
    /// Connections and handshakes refused because of `limits.memory`.
    memory_connections_refused
    /// Incomplete requests and messages refused because of `limits.unfinished`.
    unfinished_refused
    /// WebSocket clients closed because they broke the protocol.
    protocol_errors
    /// Clients closed because they did not answer a ping, joined no namespace in time, or did not send all attachments
    /// in time.
    ping_timeouts
}

impl Stats {
    /// Counts a TLS handshake that failed.
    pub fn count_tls_failure(&mut self, failure: HandshakeFailure) {
        self.tls_failed += 1;
        self.tls_failures[failure as usize] += 1;
    }

    /// Counts a session that ended.
    pub fn count_close(&mut self, reason: CloseReason, departure: Departure) {
        self.closes += 1;
        self.closes_by_reason[reason as usize] += 1;
        match departure {
            Departure::Loss => self.losses += 1,
            Departure::Goodbye => self.goodbyes += 1,
        }
    }

    /// How many sessions ended, by the name of the reason.
    pub fn closes_by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CloseReason::ALL.into_iter().map(|(reason, name)| (name, self.closes_by_reason[reason as usize]))
    }

    /// How many TLS handshakes failed, by the name of the reason.
    pub fn tls_failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        HandshakeFailure::ALL.into_iter().map(|(failure, name)| (name, self.tls_failures[failure as usize]))
    }
}
