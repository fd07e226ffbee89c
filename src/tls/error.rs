//! Certificates and keys that cannot be used.

use core::fmt;
use std::error;

/// Why certificates or a key cannot be used. `Display` contains nothing of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateError {
    /// There is no certificate.
    NoCertificate,
    /// There is no private key.
    NoKey,
    /// The private key is encrypted.
    EncryptedKey,
    /// A section of the file is damaged.
    Pem,
    /// A certificate is not one of X.509 that an authority may have.
    Authority,
    /// The certificate and the key do not belong together, or have an unknown algorithm; with the reason.
    Pair(String),
    /// No certificate authority of this system is known.
    NoSystemAuthorities,
    /// The settings are refused; with the reason.
    Other(String),
    /// This build has no TLS.
    NoTls,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CertificateError::NoCertificate => "no certificate found: expected -----BEGIN CERTIFICATE-----",
            CertificateError::NoKey => "no private key found: expected -----BEGIN PRIVATE KEY-----",
            CertificateError::EncryptedKey => {
                "the private key is encrypted: decrypt it with 'openssl pkey -in FILE -out NEWFILE'"
            }
            CertificateError::Pem => "a section of the PEM file is damaged: copy the whole file again",
            CertificateError::Authority => "a certificate in it is not that of a certificate authority (X.509)",
            CertificateError::Pair(why) => return write!(f, "the certificate and the private key do not match: {why}"),
            CertificateError::NoSystemAuthorities => {
                "this system has no certificate authorities: install the package ca-certificates, or name a file of \
                 authorities"
            }
            CertificateError::Other(why) => why,
            CertificateError::NoTls => {
                "this build of relay has no TLS: use a build with the cargo feature tls, which is on by default"
            }
        })
    }
}

impl error::Error for CertificateError {}
