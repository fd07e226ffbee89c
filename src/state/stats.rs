//! What happened so far, in numbers that only grow.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// Counters since the start.
        #[derive(Clone, Debug, Default)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Stats {
            /// All of them with their names, for who shows them.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

counters! {
    /// Connections taken.
    accepted
    /// Connections that got a 503 because there were too many.
    connections_refused
    /// Times that accepting paused for want of descriptors.
    accept_pauses
    /// HTTP requests answered.
    requests
    /// HTTP requests that were none, or too large, or too slow.
    bad_requests
    /// Logins accepted.
    logins
    /// Logins refused.
    logins_refused
    /// Admin tokens that were wrong.
    tokens_wrong
    /// Notifications accepted.
    notifies
    /// Notifications refused.
    notifies_refused
    /// Messages and events from clients.
    client_messages
    /// Of those, refused.
    client_messages_refused
    /// Of those, refused because they were too many.
    rate_limited
    /// Messages from clients that were published.
    posted
    /// Messages published: one for each room.
    published
    /// Messages queued for members: one for each member.
    delivered
    /// Events from clients that a rule was for.
    events
    /// Events queued for clients: one for each.
    emitted
    /// Events not queued for clients because they were behind.
    volatile_dropped
    /// Calls to the business backend.
    hook_calls
    /// Of those, attempts after the first.
    hook_retries
    /// Calls without an answer.
    hook_failures
    /// Messages and commands for siblings.
    redis_published
    /// Of those, given up: Redis was away too long, or too much waited.
    redis_dropped
    /// Messages and commands from siblings, old servers and backends on Redis.
    redis_received
    /// Of those, garbage, unsigned or for no source here.
    redis_refused
    /// Messages and commands of relays that never came.
    redis_missed
    /// Connections to Redis made.
    redis_connects
    /// Commands that Redis refused.
    redis_errors
    /// Clients closed because they did not read.
    slow_consumers
    /// Clients closed because they broke the protocol.
    protocol_errors
    /// Clients closed because they answered no ping.
    ping_timeouts
}
