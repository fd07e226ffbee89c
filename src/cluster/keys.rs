//! The names of keys in Redis: those of node-socket-im and a few that only relays use, all with one prefix.

/// Builds the names of keys.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    prefix: Box<str>,
}

impl Keys {
    /// Keys with this prefix.
    pub fn new(prefix: &str) -> Keys {
        Keys { prefix: prefix.into() }
    }

    /// A hash: the records of a source's sessions, by socket id.
    pub fn online(&self, source: &str) -> String {
        format!("{}xin_socket_connections_{source}", self.prefix)
    }

    /// A hash: the number of today's logins of a source, by username. For the source `x` it is the key that
    /// [`Keys::online`] has for `today_x`: a configuration may not have both.
    pub fn today(&self, source: &str) -> String {
        format!("{}xin_socket_connections_today_{source}", self.prefix)
    }

    /// A string: the date of those counts.
    pub fn date(&self, source: &str) -> String {
        format!("{}relay_today:{source}", self.prefix)
    }

    /// A hash: the number of messages received, by the server's address.
    pub fn messages(&self) -> String {
        format!("{}xin_socket_message_location", self.prefix)
    }

    /// A hash: the number of logins, by the server's address.
    pub fn logins(&self) -> String {
        format!("{}xin_socket_session_location", self.prefix)
    }

    /// A hash: the descriptions of the relays, by name.
    pub fn nodes(&self) -> String {
        format!("{}relay_nodes", self.prefix)
    }

    /// A string that expires unless the relay `node` renews it.
    pub fn alive(&self, node: &str) -> String {
        format!("{}relay_alive:{node}", self.prefix)
    }

    /// A string that exists while another relay removes the records of the dead relay `node`.
    pub fn cleanup(&self, node: &str) -> String {
        format!("{}relay_sweep:{node}", self.prefix)
    }
}
