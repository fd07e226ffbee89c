//! Counters since the start (docs/protocol.md, Metrics).

use crate::tls::HandshakeFailure;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// Counters since the start.
        #[derive(Clone, Debug, Default)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
            /// `tls_failed` by kind.
            tls_failures: [u64; HandshakeFailure::ALL.len()],
        }

        impl Stats {
            /// All counters with their names, in the order of the documentation.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
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
    /// How often accepting paused because no file descriptor was free.
    accept_pauses
    /// TLS handshakes completed.
    tls_handshakes
    /// TLS handshakes that continued an earlier session of the client. They count as completed as well.
    tls_resumed
    /// TLS handshakes that failed: refused by either side, incomplete in time, or not TLS.
    tls_failed
    /// TLS connections closed because a record was damaged, malformed or not expected, or because the client sent an alert.
    tls_errors
    /// HTTP requests answered.
    requests
    /// HTTP requests that were malformed, too large or too slow.
    bad_requests
    /// Logins accepted.
    logins
    /// Logins refused.
    logins_refused
    /// Sessions that ended because their login had expired.
    logins_expired
    /// Logins that were renewed by their clients.
    logins_renewed
    /// Requests of pages whose origin is not allowed.
    origins_refused
    /// Wrong admin tokens.
    tokens_wrong
    /// Notifications accepted.
    notifies
    /// Notifications refused.
    notifies_refused
    /// Notifications and emitted events refused because their signature had been used before.
    signatures_replayed
    /// Used signatures that were forgotten before their time, because there were too many.
    signatures_forgotten
    /// Notifications and emitted events that got the answer of an earlier one with the same `idempotency_key`.
    idempotency_repeated
    /// Keys of accepted requests that were forgotten before their time, because there were too many.
    idempotency_forgotten
    /// Receipts that backends have asked for.
    receipts_asked
    /// Receipts to which all relays have contributed what was asked for.
    receipts_complete
    /// Receipts in which something is missing.
    receipts_incomplete
    /// Messages and events from clients.
    client_messages
    /// Messages and events from clients that were refused.
    client_messages_refused
    /// Messages and events from clients that were refused because of `limits.message_rate`.
    rate_limited
    /// Messages from clients that were published.
    posted
    /// Messages published, counted once for each room.
    published
    /// Messages queued for members, counted once for each member.
    delivered
    /// Clients that got, or were told that they had, all messages since the position that they named.
    recovered
    /// Clients that were told that messages are missing.
    recovery_gaps
    /// Kept messages queued for clients that had missed them. They count as delivered as well.
    replayed
    /// Slow consumers that were not closed, because they get the messages from the history.
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
    /// Events from clients that a rule handled.
    events
    /// Events queued for clients, counted once for each client.
    emitted
    /// Volatile events dropped for clients that still had unsent data.
    volatile_dropped
    /// Events about who is in a room, counted once for each room and change.
    presence_events
    /// Lists of users that were asked for because changes at another relay were missed.
    presence_missed
    /// Users at other relays that were left out because there were too many.
    presence_dropped
    /// Calls sent to the backend, including retries.
    hook_calls
    /// Retries of calls to the backend.
    hook_retries
    /// Calls to the backend that got no usable answer, after all retries.
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
    /// Messages and commands from Redis that were malformed, unsigned, or for an unknown source.
    redis_refused
    /// Messages and commands of other relays that were lost.
    redis_missed
    /// Connections made to Redis.
    redis_connects
    /// Commands that Redis answered with an error.
    redis_errors
    /// Clients closed as slow consumers.
    slow_consumers
    /// How often caches were dropped because of `limits.memory`.
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

    /// How many TLS handshakes failed, by the name of the reason.
    pub fn tls_failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        HandshakeFailure::ALL.into_iter().map(|(failure, name)| (name, self.tls_failures[failure as usize]))
    }
}
