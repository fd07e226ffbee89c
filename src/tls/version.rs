//! Versions of TLS.

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
