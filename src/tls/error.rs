//! Certificates and keys that cannot be used, and connections of clients that fail.

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
    /// The private key belongs to a certificate behind the first one.
    Order,
    /// The private key has an algorithm that is not supported, or is damaged.
    UnknownKey,
    /// There is no public key.
    NoPublicKey,
    /// The public key has an algorithm or a size that is not supported.
    UnknownPublicKey,
    /// No certificate authority of this system is known.
    NoSystemAuthorities,
    /// An authority may not sign for this name.
    Constrained(String),
    /// An authority is valid for this many days only.
    Ending(u64),
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
            CertificateError::Order => {
                "the certificates are in the wrong order: the one of the private key must be the first, its issuers follow"
            }
            CertificateError::UnknownKey => {
                "the private key is damaged or of an unknown kind: use ECDSA (P-256, P-384), RSA of 2048 to 8192 bits, or \
                 Ed25519"
            }
            CertificateError::NoPublicKey => "no public key found: expected -----BEGIN PUBLIC KEY-----",
            CertificateError::UnknownPublicKey => {
                "the public key is damaged or of an unknown kind: use Ed25519, or RSA of 2048 to 8192 bits"
            }
            CertificateError::NoSystemAuthorities => {
                "this system has no certificate authorities: install the package ca-certificates, or name a file of \
                 authorities"
            }
            CertificateError::Constrained(name) => {
                return write!(f, "the certificate authority was made for other names and may not sign for {name}");
            }
            CertificateError::Ending(days) => {
                return write!(f, "the certificate authority is valid for {days} more days only");
            }
            CertificateError::Other(why) => why,
            CertificateError::NoTls => {
                "this build of relay has no TLS: use a build with the cargo feature tls, which is on by default"
            }
        })
    }
}

impl error::Error for CertificateError {}

/// Why a handshake fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// The peer does not speak TLS.
    NotTls,
    /// Its messages are too long.
    TooLong,
    /// The peer has closed the connection.
    Closed,
    /// One of both sides refuses it; with the reason.
    Refused(HandshakeFailure, String),
}

impl HandshakeError {
    /// The kind under which the failure is counted.
    pub fn failure(&self) -> HandshakeFailure {
        match self {
            HandshakeError::NotTls => HandshakeFailure::NotTls,
            HandshakeError::TooLong => HandshakeFailure::Protocol,
            HandshakeError::Closed => HandshakeFailure::Closed,
            HandshakeError::Refused(failure, _) => *failure,
        }
    }
}

/// The kinds of failed handshakes, for counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The client does not speak TLS.
    NotTls,
    /// It was not complete in time.
    Timeout,
    /// The client has closed the connection.
    Closed,
    /// The client does not accept the certificate.
    Certificate,
    /// The client has sent another alert.
    Alert,
    /// Both sides have no version, cipher suite or protocol in common.
    Incompatible,
    /// A message is malformed, too long or not expected.
    Protocol,
}

impl HandshakeFailure {
    /// All of them in their order, each with its name in metrics.
    pub const ALL: [(HandshakeFailure, &'static str); 7] = [
        (HandshakeFailure::NotTls, "not_tls"),
        (HandshakeFailure::Timeout, "timeout"),
        (HandshakeFailure::Closed, "closed"),
        (HandshakeFailure::Certificate, "certificate"),
        (HandshakeFailure::Alert, "alert"),
        (HandshakeFailure::Incompatible, "incompatible"),
        (HandshakeFailure::Protocol, "protocol"),
    ];
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::NotTls => f.write_str("the client does not speak TLS"),
            HandshakeError::TooLong => f.write_str("the client's messages are too long"),
            HandshakeError::Closed => f.write_str("the client has left"),
            HandshakeError::Refused(_, why) => f.write_str(why),
        }
    }
}

impl error::Error for HandshakeError {}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// A record cannot be opened: it was changed on its way, or made with other keys.
    Damaged,
    /// A record is longer than TLS allows.
    TooLong,
    /// A record does not belong here.
    Unexpected,
    /// The content of a record is malformed.
    Malformed,
    /// The peer sends one record without data after the other.
    Flood,
    /// The peer has sent an alert with this number.
    Alert(u8),
    /// The key has sealed as many records as it may, and the version of TLS has no new keys.
    Exhausted,
}

impl RecordError {
    /// The number of the alert that tells the peer (RFC 8446 section 6.2). A peer that has sent one gets none.
    pub fn alert(self) -> Option<u8> {
        match self {
            RecordError::Damaged => Some(20),
            RecordError::TooLong => Some(22),
            RecordError::Unexpected | RecordError::Flood => Some(10),
            RecordError::Malformed => Some(50),
            RecordError::Exhausted => Some(0),
            RecordError::Alert(_) => None,
        }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RecordError::Damaged => "a TLS record was changed on its way",
            RecordError::TooLong => "a TLS record is too long",
            RecordError::Unexpected => "a TLS record is not expected here",
            RecordError::Malformed => "a TLS record is malformed",
            RecordError::Flood => "too many TLS records without data",
            RecordError::Alert(alert) => return write!(f, "the peer ended TLS with alert {alert}"),
            RecordError::Exhausted => "the keys of this TLS 1.2 connection are used up",
        })
    }
}

impl error::Error for RecordError {}
