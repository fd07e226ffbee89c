//! The settings of a TLS server.

use super::{
    error::CertificateError,
    provided::{Acceptor, Identity, Tickets},
    version::Oldest,
};

/// The settings of a TLS server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerTls {
    /// The oldest version.
    pub oldest: Oldest,
    /// The certificates. The first one is for clients that name no host, or an unknown one.
    pub identities: Vec<Identity>,
}

impl ServerTls {
    /// What the server offers to clients. There must be a certificate.
    pub fn acceptor(&self, tickets: &Tickets) -> Result<Acceptor, CertificateError> {
        Acceptor::new(&self.identities, self.oldest, tickets)
    }

    /// Whether there is a certificate.
    pub fn is_used(&self) -> bool {
        !self.identities.is_empty()
    }

    /// When the first certificate expires, as a Unix time. `None` without certificates.
    pub fn not_after(&self) -> Option<u64> {
        self.identities.iter().map(Identity::not_after).min()
    }

    /// What should be done about the certificates at a Unix time.
    pub fn warnings(&self, unix: u64) -> Vec<String> {
        self.identities.iter().flat_map(|identity| identity.warnings(unix)).collect()
    }
}
