//! The channels of a cluster.

/// A Redis channel on which relays publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Messages in the format of node-socket-im. Old servers and backends use this channel as well.
    Messages,
    /// Commands for all relays.
    Commands,
    /// Answers for the relay of this name.
    Relay(Box<str>),
}

impl Channel {
    /// The text that stands for this channel in signatures, so that a publication is not valid on another channel.
    pub fn place(&self) -> &str {
        match self {
            Channel::Messages => "messages",
            Channel::Commands => "commands",
            Channel::Relay(node) => node,
        }
    }

    /// The channel's name in Redis. `main` is `redis.channel`.
    pub fn name(&self, main: &str) -> String {
        match self {
            Channel::Messages => main.to_owned(),
            Channel::Commands => format!("{main}{COMMANDS}"),
            Channel::Relay(node) => format!("{main}{COMMANDS}:{node}"),
        }
    }

    /// The channel of that name, among the three to which the relay `node` subscribes.
    pub fn from_name(name: &[u8], main: &str, node: &str) -> Channel {
        match name.strip_prefix(main.as_bytes()) {
            Some(b"") => Channel::Messages,
            Some(rest) if rest == COMMANDS.as_bytes() => Channel::Commands,
            _ => Channel::Relay(node.into()),
        }
    }
}

/// The suffix of `redis.channel` for commands.
const COMMANDS: &str = ":relay";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (channel, name) in [
            (Channel::Messages, "chat"),
            (Channel::Commands, "chat:relay"),
            (Channel::Relay("abc123".into()), "chat:relay:abc123"),
        ] {
            assert_eq!(channel.name("chat"), name);
            assert_eq!(Channel::from_name(name.as_bytes(), "chat", "abc123"), channel);
        }
    }
}
