//! What is called what in Redis: the old server's keys, and a few of relays' own, all behind one prefix.

/// The names of keys.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    prefix: Box<str>,
}

impl Keys {
    /// Keys that begin with that.
    pub fn new(prefix: &str) -> Keys {
        Keys { prefix: prefix.into() }
    }

    /// The hash of a source's sessions: by socket id, JSON.
    pub fn online(&self, source: &str) -> String {
        format!("{}xin_socket_connections_{source}", self.prefix)
    }

    /// The hash of a source's logins of the day: by username, numbers.
    pub fn today(&self, source: &str) -> String {
        format!("{}xin_socket_connections_today_{source}", self.prefix)
    }

    /// The date of those.
    pub fn date(&self, source: &str) -> String {
        format!("{}relay_today:{source}", self.prefix)
    }

    /// Messages that came in, by server.
    pub fn messages(&self) -> String {
        format!("{}xin_socket_message_location", self.prefix)
    }

    /// Logins, by server.
    pub fn logins(&self) -> String {
        format!("{}xin_socket_session_location", self.prefix)
    }

    /// The hash of what each relay says of itself.
    pub fn nodes(&self) -> String {
        format!("{}relay_nodes", self.prefix)
    }

    /// What is there as long as that relay lives.
    pub fn alive(&self, node: &str) -> String {
        format!("{}relay_alive:{node}", self.prefix)
    }

    /// What is there while somebody clears up after that relay.
    pub fn sweep(&self, node: &str) -> String {
        format!("{}relay_sweep:{node}", self.prefix)
    }
}
