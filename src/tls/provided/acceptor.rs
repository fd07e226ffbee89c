//! What a TLS server offers to its clients: certificates, versions, cipher suites and tickets.

use core::fmt;
use std::{collections::HashMap, sync::Arc};

use rustls::{
    CipherSuite, ServerConfig,
    crypto::ring,
    server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use super::identity::Identity;
use crate::tls::{error::CertificateError, version::Oldest};

/// What keeps sessions alive over a new [`ServerConfig`]: the keys of the tickets that clients continue their sessions with.
#[derive(Clone)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// New keys, which are changed every six hours. Fails without random numbers.
    pub fn new() -> Result<Tickets, CertificateError> {
        Ok(Tickets(ring::Ticketer::new()?))
    }
}

/// What a server offers to a client.
#[derive(Clone)]
pub struct Acceptor(pub(super) Arc<ServerConfig>);

impl Acceptor {
    /// With certificates, of which there must be at least one.
    pub fn new(identities: &[Identity], oldest: Oldest, tickets: &Tickets) -> Result<Acceptor, CertificateError> {
        let mut provider = ring::default_provider();
        let slow_aes = !has_fast_aes();
        if slow_aes {
            provider.cipher_suites.sort_by_key(|suite| !is_chacha(suite.suite()));
        }
        let versions: &[_] = match oldest {
            Oldest::Tls12 => &[&TLS13, &TLS12],
            Oldest::Tls13 => &[&TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ByName::new(identities)));
        // Otherwise the client decides: it knows whether its processor has instructions for AES.
        config.ignore_client_order = slow_aes;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = tickets.0.clone();
        config.enable_secret_extraction = true;
        Ok(Acceptor(Arc::new(config)))
    }
}

fn is_chacha(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    )
}

/// Whether the processor has instructions for AES and for its GCM mode.
fn has_fast_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

/// Finds the certificate for the host that a client names.
struct ByName {
    names: HashMap<String, Arc<CertifiedKey>>,
    default: Option<Arc<CertifiedKey>>,
}

impl ByName {
    fn new(identities: &[Identity]) -> ByName {
        let mut names = HashMap::new();
        for identity in identities {
            for name in &identity.names {
                names.entry(name.clone()).or_insert_with(|| identity.certified.clone());
            }
        }
        ByName { names, default: identities.first().map(|identity| identity.certified.clone()) }
    }

    fn find(&self, host: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let host = host.unwrap_or_default().to_ascii_lowercase();
        let host = host.trim_end_matches('.');
        let wildcard = || self.names.get(&format!("*.{}", host.split_once('.')?.1));
        self.names.get(host).or_else(wildcard).or(self.default.as_ref()).cloned()
    }
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ByName({:?})", self.names.keys())
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(client_hello.server_name())
    }
}
