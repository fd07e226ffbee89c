//! A client that knows the key of its server, or need not know it.

use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
};
use webpki::EndEntityCert;

/// Accepts the certificates of certain keys and no others, or any certificate, whatever their names and dates. That the
/// server has the key of its certificate is checked as ever.
#[derive(Debug)]
pub struct Pinned {
    /// `None`: any.
    known: Option<Vec<SubjectPublicKeyInfoDer<'static>>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    /// Accepts these keys; `None`: any.
    pub fn new(known: Option<Vec<SubjectPublicKeyInfoDer<'static>>>) -> Pinned {
        Pinned { known, algorithms: ring::default_provider().signature_verification_algorithms }
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // A renewed certificate often has the key of the old one.
        let has_known_key = |known: &Vec<SubjectPublicKeyInfoDer<'_>>| {
            EndEntityCert::try_from(certificate).is_ok_and(|leaf| known.contains(&leaf.subject_public_key_info()))
        };
        match self.known.as_ref().is_none_or(has_known_key) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
