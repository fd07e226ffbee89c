//! The settings of a TLS client: which authorities it trusts, and its own certificate.

use core::fmt;
use std::sync::Arc;

use rustls::{
    CipherSuite, ClientConfig, ClientConnection, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{PrivateKeyDer, ServerName},
};

use super::{
    certificates::{authorities, certificates, private_key},
    identity::{Identity, parse},
    pinned::Pinned,
};
use crate::tls::error::CertificateError;

/// The settings of a TLS client. Two are equal if they were made of the same files.
#[derive(Clone)]
pub struct ClientTls {
    /// The authorities as a PEM file; `None`: those of the system.
    authorities: Option<String>,
    /// The client's own certificate and key as PEM files.
    identity: Option<(String, String)>,
    /// `None` until the authorities of the system are set.
    config: Option<Arc<ClientConfig>>,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls(…)")
    }
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &ClientTls) -> bool {
        self.authorities == other.authorities && self.identity == other.identity
    }
}

impl ClientTls {
    /// Settings with the authorities in a PEM file. Without one, [`ClientTls::load_system_authorities`] must follow.
    /// `identity` is the client's certificate, with those of its issuers, and its key.
    pub fn new(pem: Option<String>, identity: Option<(String, String)>) -> Result<ClientTls, CertificateError> {
        let store = pem.as_deref().map(authorities).transpose()?;
        let mut tls = ClientTls { authorities: pem, identity, config: None };
        // Also without authorities: the identity is checked.
        let config = tls.build(store.clone().unwrap_or_else(RootCertStore::empty))?;
        tls.config = store.map(|_| config);
        Ok(tls)
    }

    /// Settings that trust exactly the keys of these certificates, whatever the names and dates: for a client on the machine
    /// of the server.
    pub fn pinned(servers: &[Identity]) -> Result<ClientTls, CertificateError> {
        let own = servers.iter().filter_map(|identity| identity.certified.cert.first());
        let keys = own.map(|own| Ok(parse(own)?.subject_public_key_info()));
        ClientTls::verified_by(Pinned::new(Some(keys.collect::<Result<_, CertificateError>>()?)))
    }

    /// Settings that accept any server: for what needs no secrecy.
    pub fn unverified() -> Result<ClientTls, CertificateError> {
        ClientTls::verified_by(Pinned::new(None))
    }

    fn verified_by(verifier: Pinned) -> Result<ClientTls, CertificateError> {
        let config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(ClientTls { authorities: None, identity: None, config: Some(Arc::new(config)) })
    }

    /// Whether [`ClientTls::load_system_authorities`] must be called.
    pub fn needs_system_authorities(&self) -> bool {
        self.config.is_none()
    }

    /// Reads the authorities of the system. Those that rustls cannot parse are ignored. Blocks as long as the file system does.
    pub fn load_system_authorities(&mut self) -> Result<(), CertificateError> {
        let mut store = RootCertStore::empty();
        if store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs).0 == 0 {
            return Err(CertificateError::NoSystemAuthorities);
        }
        self.config = Some(self.build(store)?);
        Ok(())
    }

    fn build(&self, store: RootCertStore) -> Result<Arc<ClientConfig>, CertificateError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store);
        Ok(Arc::new(match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let (chain, key): (_, PrivateKeyDer<'static>) = (certificates(certificate)?, private_key(key)?);
                builder.with_client_auth_cert(chain, key)?
            }
        }))
    }

    /// A new connection to `host`, a name or an IP address, which the server's certificate must be for.
    pub fn connect(&self, host: &str) -> Result<ClientConnection, CertificateError> {
        let config = self.config.clone().ok_or(CertificateError::NoSystemAuthorities)?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| CertificateError::Other(format!("{host} is not a host name")))?;
        Ok(ClientConnection::new(config, name)?)
    }
}

/// AES with 128 bits is asked for first, as by browsers: with 256 bits both sides compute more for each byte.
fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| {
        !matches!(
            suite.suite(),
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    });
    provider
}

/// Whether a host can be the name of a server in a certificate.
pub fn is_server_name(host: &str) -> bool {
    ServerName::try_from(host).is_ok()
}
