//! Certificates and keys in PEM files.

use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{Error as PemError, PemObject},
    },
};

use crate::tls::error::CertificateError;

impl From<rustls::Error> for CertificateError {
    fn from(error: rustls::Error) -> CertificateError {
        match error {
            rustls::Error::InconsistentKeys(_) => CertificateError::Pair("they have different public keys".into()),
            error => CertificateError::Other(error.to_string()),
        }
    }
}

/// The certificates in a PEM file, at least one.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let list = list.map_err(|_| CertificateError::Pem)?;
    if list.is_empty() { Err(CertificateError::NoCertificate) } else { Ok(list) }
}

/// The private key in a PEM file.
pub fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, CertificateError> {
    if pem.contains("BEGIN ENCRYPTED PRIVATE KEY") || pem.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(CertificateError::EncryptedKey);
    }
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| match error {
        PemError::NoItemsFound => CertificateError::NoKey,
        _ => CertificateError::Pem,
    })
}

/// The certificate authorities in a PEM file. All of them must be valid.
pub fn authorities(pem: &str) -> Result<RootCertStore, CertificateError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        store.add(certificate).map_err(|_| CertificateError::Authority)?;
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_be_used() {
        for (text, error) in [
            ("", CertificateError::NoCertificate),
            ("hello", CertificateError::NoCertificate),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", CertificateError::Pem),
            ("-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", CertificateError::Pem),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", CertificateError::Authority),
        ] {
            assert_eq!(authorities(text).unwrap_err(), error, "{text}");
        }
        for (text, error) in [
            ("", CertificateError::NoKey),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", CertificateError::NoKey),
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----\n", CertificateError::EncryptedKey),
            ("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", CertificateError::EncryptedKey),
        ] {
            assert_eq!(private_key(text).unwrap_err(), error, "{text}");
        }
    }
}
