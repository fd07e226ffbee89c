//! The settings of a TLS server, and what its connections report.

use super::Identity;

/// The oldest version of TLS that a client may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Oldest {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Oldest {
    /// All values with their names in the file.
    pub const NAMES: [(&'static str, Oldest); 2] = [("1.2", Oldest::Tls12), ("1.3", Oldest::Tls13)];
}

/// The settings of a TLS server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerTls {
    /// The oldest version.
    pub oldest: Oldest,
    /// The certificates. The first one is for clients that name no host, or an unknown one.
    pub identities: Vec<Identity>,
}

impl ServerTls {
    /// When the first certificate expires, as a Unix time. `None` without certificates.
    pub fn not_after(&self) -> Option<u64> {
        self.identities.iter().map(Identity::not_after).min()
    }

    /// What should be done about the certificates at a Unix time.
    pub fn warnings(&self, unix: u64) -> Vec<String> {
        self.identities.iter().flat_map(|identity| identity.warnings(unix)).collect()
    }
}

/// What [`Session::open`](super::Session::open) finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Data.
    Data(&'a [u8]),
    /// The peer has announced that no more follows. All later input is ignored.
    End,
}
