//! Section `[recovery]`: sessions that were lost and come back.

use core::time::Duration;

/// Section `[recovery]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// How long a lost session is kept. Zero: not at all.
    pub window: Duration,
    /// Which clients get what they have missed although they cannot say where they were.
    pub unknowing: Unknowing,
    /// How it is found out what such a client has received.
    pub proof: ProofMode,
    /// How long two questions to one client behind a proxy are apart.
    pub pong_interval: Duration,
    /// How long a login waits for the word of an older session that looks like its own.
    pub hold: Duration,
    /// Which Socket.IO clients get the position as a further argument of each message.
    pub offsets: Offsets,
}

/// Which clients get what they have missed although they cannot say where they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknowing {
    /// None.
    No,
    /// Those whose connection was lost.
    #[default]
    Return,
    /// Also those that have left, or whose page was loaded again.
    User,
}

impl Unknowing {
    /// Their names in the configuration.
    pub const NAMES: [(&str, Unknowing); 3] =
        [("no", Unknowing::No), ("return", Unknowing::Return), ("user", Unknowing::User)];
}

/// How it is found out what a client has received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProofMode {
    /// By pongs where a proxy or TLS is in between, else by what the client's kernel has confirmed.
    #[default]
    Auto,
    /// By what the kernel at the other end of the connection has confirmed.
    Tcp,
    /// By pongs.
    Pong,
}

impl ProofMode {
    /// Their names in the configuration.
    pub const NAMES: [(&str, ProofMode); 3] =
        [("auto", ProofMode::Auto), ("tcp", ProofMode::Tcp), ("pong", ProofMode::Pong)];
}

/// Which Socket.IO clients get the position as a further argument of each message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offsets {
    /// None.
    No,
    /// Those that have come back with the `pid` of a session, and so know what it is.
    #[default]
    Known,
    /// All of protocol 5.
    All,
}

impl Offsets {
    /// Their names in the configuration.
    pub const NAMES: [(&str, Offsets); 3] = [("no", Offsets::No), ("known", Offsets::Known), ("all", Offsets::All)];
}

impl Default for Recovery {
    fn default() -> Self {
        Recovery {
            window: Duration::from_secs(120),
            unknowing: Unknowing::default(),
            proof: ProofMode::default(),
            pong_interval: Duration::from_secs(1),
            hold: Duration::from_secs(2),
            offsets: Offsets::default(),
        }
    }
}
