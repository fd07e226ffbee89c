//! The certificate of a server with its chain and its key.

use core::{fmt, time::Duration};
use std::sync::Arc;

use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, UnixTime},
    sign::CertifiedKey,
};
use webpki::{EndEntityCert, KeyUsage};

use super::certificates::{certificates, private_key};
use crate::tls::error::CertificateError;

/// The certificate of a server with its chain and its key. Two are equal if their certificates are.
#[derive(Clone)]
pub struct Identity {
    pub(super) certified: Arc<CertifiedKey>,
    /// The host names that it is for, such as `example.org` and `*.example.org`, in small letters.
    pub(super) names: Vec<String>,
    /// From when it is valid, as a Unix time.
    not_before: u64,
    /// Until when it is valid, as a Unix time.
    not_after: u64,
    /// The file that it comes from.
    file: String,
    /// Whether the certificates behind the first one are in the order of their signatures.
    in_order: bool,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.names)
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Identity) -> bool {
        self.certified.cert == other.certified.cert
    }
}

impl Identity {
    /// A certificate, with those of its issuers, and its key, from PEM files. `file` is the name of the first one.
    pub fn new(file: &str, chain: &str, key: &str) -> Result<Identity, CertificateError> {
        let (chain, key) = (certificates(chain)?, private_key(key)?);
        let provider = ring::default_provider();
        // The algorithm of the key is named by the error.
        let signer = provider.key_provider.load_private_key(key).map_err(|_| CertificateError::UnknownKey)?;
        let leaf = parse(&chain[0])?;
        let names: Vec<String> = leaf.valid_dns_names().map(str::to_ascii_lowercase).collect();
        let (not_before, not_after) = validity(&leaf)?;
        let in_order = chain.windows(2).all(|pair| follows(&pair[0], &pair[1]));
        let is_of_key = |certificate: &CertificateDer<'static>| {
            CertifiedKey::new(vec![certificate.clone()], signer.clone()).keys_match().is_ok()
        };
        if !is_of_key(&chain[0]) {
            return Err(match chain[1..].iter().any(is_of_key) {
                true => CertificateError::Order,
                false => CertificateError::Pair("they have different public keys".into()),
            });
        }
        let certified = Arc::new(CertifiedKey::new(chain, signer));
        Ok(Identity { certified, names, not_before, not_after, file: file.into(), in_order })
    }

    /// The host names that it is for, in small letters.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Until when it is valid, as a Unix time.
    pub fn not_after(&self) -> u64 {
        self.not_after
    }

    /// What should be done about it at a Unix time.
    pub fn warnings(&self, unix: u64) -> Vec<String> {
        let mut warnings = Vec::new();
        let name = match self.names.first() {
            Some(name) => format!("{} ({name})", self.file),
            None => self.file.clone(),
        };
        if unix > self.not_after {
            let ago = span(unix - self.not_after);
            warnings.push(format!("the certificate {name} expired {ago} ago: clients refuse it, renew it"));
        } else if unix + SOON >= self.not_after {
            warnings.push(format!("the certificate {name} expires in {}: renew it", span(self.not_after - unix)));
        }
        if unix < self.not_before {
            let left = span(self.not_before - unix);
            warnings.push(format!(
                "the certificate {name} becomes valid in {left}: until then clients refuse it; check this machine's clock"
            ));
        }
        if !self.in_order {
            warnings.push(format!(
                "the certificates in {} are not in order: each must be signed by the one behind it, as in fullchain.pem",
                self.file
            ));
        }
        if self.names.is_empty() {
            warnings.push(format!(
                "the certificate {} has no host name (subjectAltName): only clients that connect to an IP address in it, or that \
                 send no name, can accept it",
                self.file
            ));
        }
        warnings
    }
}

/// Parses a certificate.
pub(super) fn parse<'a>(certificate: &'a CertificateDer<'a>) -> Result<EndEntityCert<'a>, CertificateError> {
    EndEntityCert::try_from(certificate)
        .map_err(|error| CertificateError::Other(format!("a certificate in it cannot be used: {error:?}")))
}

/// Whether `issuer` may have signed `certificate`.
fn follows(certificate: &CertificateDer<'_>, issuer: &CertificateDer<'_>) -> bool {
    match (EndEntityCert::try_from(certificate), EndEntityCert::try_from(issuer)) {
        (Ok(certificate), Ok(issuer)) => certificate.issuer() == issuer.subject(),
        _ => false,
    }
}

/// From when and until when a certificate is valid. webpki tells it when it refuses one for that, so it is asked about the
/// first and the last possible time.
pub(super) fn validity(certificate: &EndEntityCert<'_>) -> Result<(u64, u64), CertificateError> {
    let refusal = |seconds: u64| {
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        certificate.verify_for_usage(&[], &[], &[], time, KeyUsage::server_auth(), None, None).err()
    };
    let not_before = match refusal(0) {
        Some(webpki::Error::CertNotValidYet { not_before, .. }) => not_before.as_secs(),
        _ => 0,
    };
    match refusal(END_OF_TIME) {
        Some(webpki::Error::CertExpired { not_after, .. }) => Ok((not_before, not_after.as_secs())),
        Some(error) if !matches!(error, webpki::Error::UnknownIssuer) => {
            Err(CertificateError::Other(format!("the certificate cannot be used: {error:?}")))
        }
        _ => Ok((not_before, END_OF_TIME)),
    }
}

/// A number of seconds in words.
fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        172_800.. => (seconds / 86_400, "days"),
        7_200.. => (seconds / 3_600, "hours"),
        _ => (seconds / 60, "minutes"),
    };
    format!("{count} {unit}")
}

/// How long before its end a certificate is warned about: 14 days.
const SOON: u64 = 14 * 86_400;
/// Later than the last time that a certificate can have, in the year 9999.
const END_OF_TIME: u64 = 300_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::provided::testing::PEM;

    #[test]
    fn names_and_dates() {
        let identity = Identity::new("a.pem", PEM, PEM).unwrap();
        assert_eq!(identity.names, ["relay.example", "*.relay.example"]);
        assert_eq!(identity.not_after - identity.not_before, 36_500 * 86_400);
        let warning = |unix: u64| identity.warnings(unix).join("\n");
        let (begin, end) = (identity.not_before, identity.not_after);
        assert_eq!(warning(begin), "");
        assert_eq!(warning(end - 15 * 86_400), "");
        assert_eq!(warning(end - 13 * 86_400), "the certificate a.pem (relay.example) expires in 13 days: renew it");
        assert_eq!(warning(end), "the certificate a.pem (relay.example) expires in 0 minutes: renew it");
        assert_eq!(
            warning(end + 3 * 3600),
            "the certificate a.pem (relay.example) expired 3 hours ago: clients refuse it, renew it"
        );
        assert!(warning(begin - 600).contains("becomes valid in 10 minutes"));
    }
}
