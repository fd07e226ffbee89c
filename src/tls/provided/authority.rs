//! A small certificate authority for a local network.

use core::{net::IpAddr, slice};
use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData,
};
use rustls::{
    Error,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

use super::{
    certificates::{authorities, certificates, private_key},
    client::is_server_name,
    identity::{parse, validity},
    problem::explain,
};
use crate::tls::error::CertificateError;

/// A certificate authority. It may sign for the names that it was made for, and for no others.
pub struct Authority {
    key: KeyPair,
    pem: String,
    /// Until when it is valid, as a Unix time.
    not_after: u64,
}

impl Authority {
    /// A new authority for names and IP addresses. `now` is the time in Unix seconds.
    pub fn new(names: &[String], now: u64) -> Result<Authority, CertificateError> {
        let key = KeyPair::generate().map_err(other)?;
        let mut params = params(&key, now, AUTHORITY_DAYS)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = Some(constraints(names)?);
        let pem = to_pem("CERTIFICATE", params.self_signed(&key).map_err(other)?.der());
        Authority::open(&pem, &key_to_pem(&key))
    }

    /// The authority with this certificate and key, both PEM, which [`Authority::new`] made.
    pub fn open(certificate: &str, key: &str) -> Result<Authority, CertificateError> {
        let key = open_key(key)?;
        let not_after = validity(&parse(&certificates(certificate)?[0])?)?.1;
        let store = authorities(certificate)?;
        let public = key.subject_public_key_info();
        // The anchor has the content of a sequence, whose header has 2 bytes here.
        if !store.roots.iter().any(|root| public.ends_with(root.subject_public_key_info.as_ref())) {
            return Err(CertificateError::Pair("they have different public keys".into()));
        }
        Ok(Authority { key, pem: certificate.to_owned(), not_after })
    }

    /// Its name: what phones and browsers list.
    pub fn name(&self) -> String {
        name(&self.key)
    }

    /// Its certificate as PEM.
    pub fn certificate(&self) -> &str {
        &self.pem
    }

    /// Its key as PEM.
    pub fn key(&self) -> String {
        key_to_pem(&self.key)
    }

    /// The certificate of a server as PEM, for its key. Fails if clients that trust this authority would refuse it.
    pub fn issue(&self, key: &str, names: &[String], now: u64, days: u32) -> Result<String, CertificateError> {
        // No client would say why it refuses such a certificate.
        if now + u64::from(days) * 86_400 > self.not_after {
            return Err(CertificateError::Ending(self.not_after.saturating_sub(now) / 86_400));
        }
        if names.len() > 1 {
            // One name that is not permitted spoils the certificate for all: find out which one it is.
            names.iter().try_for_each(|name| self.issue(key, slice::from_ref(name), now, days).map(drop))?;
        }
        let key = open_key(key)?;
        let mut params = params(&key, now, i64::from(days))?;
        params.distinguished_name = distinguished("relay");
        params.subject_alt_names = CertificateParams::new(names).map_err(other)?.subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let mut own = CertificateParams::default();
        own.distinguished_name = distinguished(&self.name());
        let issued = params.signed_by(&key, &Issuer::from_params(&own, &self.key)).map_err(other)?;
        names.iter().try_for_each(|name| self.verify(issued.der(), name, now))?;
        Ok(to_pem("CERTIFICATE", issued.der()))
    }

    /// Checks a certificate as a client does that connects to `name`.
    fn verify(&self, certificate: &CertificateDer<'_>, name: &str, now: u64) -> Result<(), CertificateError> {
        let provider = Arc::new(ring::default_provider());
        let store = Arc::new(authorities(&self.pem)?);
        let verifier = WebPkiServerVerifier::builder_with_provider(store, provider).build().map_err(other)?;
        let name = name.replacen('*', "any", 1);
        let server = ServerName::try_from(name.as_str()).map_err(other)?;
        let time = UnixTime::since_unix_epoch(core::time::Duration::from_secs(now));
        match verifier.verify_server_cert(certificate, &[], &server, &[], time) {
            Ok(_) => Ok(()),
            Err(Error::InvalidCertificate(why)) if format!("{why:?}").contains("NameConstraint") => {
                Err(CertificateError::Constrained(name))
            }
            Err(error) => Err(CertificateError::Other(explain(&error))),
        }
    }
}

/// A new key of a server as PEM: ECDSA with the curve P-256.
pub fn new_key() -> Result<String, CertificateError> {
    KeyPair::generate().map(|key| key_to_pem(&key)).map_err(other)
}

fn params(key: &KeyPair, now: u64, days: i64) -> Result<CertificateParams, CertificateError> {
    let now = OffsetDateTime::from_unix_timestamp(now as i64).map_err(other)?;
    let mut params = CertificateParams::default();
    // A client's clock may be behind.
    (params.not_before, params.not_after) = (now - Duration::DAY, now + Duration::days(days));
    params.distinguished_name = distinguished(&name(key));
    Ok(params)
}

/// The name of the authority with a key. It differs from that of any other, also from that of one that it replaces.
fn name(key: &KeyPair) -> String {
    let digest = Sha256::digest(key.public_key_raw());
    format!("relay CA {:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3])
}

fn distinguished(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Permits these names, with what is below them, and these addresses. A kind without a name is excluded: it would be
/// permitted otherwise.
fn constraints(names: &[String]) -> Result<NameConstraints, CertificateError> {
    let (mut permitted, mut has_dns, mut has_v4, mut has_v6) = (Vec::new(), false, false, false);
    for name in names {
        let plain = name.strip_prefix("*.").unwrap_or(name);
        permitted.push(match plain.parse::<IpAddr>() {
            Ok(address) => {
                has_v4 |= address.is_ipv4();
                has_v6 |= address.is_ipv6();
                GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(
                    address,
                    if address.is_ipv4() { 32 } else { 128 },
                ))
            }
            Err(_) if is_server_name(plain) => {
                has_dns = true;
                GeneralSubtree::DnsName(plain.into())
            }
            Err(_) => return Err(CertificateError::Other(format!("{name:?} is not a host name or an IP address"))),
        });
    }
    let excluded = [
        (has_dns, GeneralSubtree::DnsName(String::new())),
        (has_v4, GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([0; 4], 0))),
        (has_v6, GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix([0; 16], 0))),
    ];
    let excluded = excluded.into_iter().filter(|(has, _)| !has).map(|(_, subtree)| subtree);
    Ok(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded.collect() })
}

fn open_key(pem: &str) -> Result<KeyPair, CertificateError> {
    KeyPair::try_from(&private_key(pem)?).map_err(other)
}

fn key_to_pem(key: &KeyPair) -> String {
    to_pem("PRIVATE KEY", key.serialized_der())
}

/// A section of a PEM file (RFC 7468).
fn to_pem(label: &str, der: &[u8]) -> String {
    let digits = BASE64.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in digits.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|digit| char::from(*digit)));
        pem.push('\n');
    }
    pem + &format!("-----END {label}-----\n")
}

fn other(error: impl ToString) -> CertificateError {
    CertificateError::Other(error.to_string())
}

/// Ten years: an authority is installed by hand on every device.
const AUTHORITY_DAYS: i64 = 3650;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn an_authority_signs_for_its_names_only() {
        let own = names(&["relay.lan", "*.chat.lan", "192.168.1.20", "fd00::1"]);
        let authority = Authority::new(&own, NOW).unwrap();
        let again = Authority::open(authority.certificate(), &authority.key()).unwrap();
        assert_eq!(again.name(), authority.name());
        let key = new_key().unwrap();
        assert!(again.issue(&key, &own, NOW + 86_400 * 400, 397).is_ok());
        for good in ["relay.lan", "www.relay.lan", "chat.lan", "a.chat.lan"] {
            assert!(again.issue(&key, &names(&[good]), NOW, 1).is_ok(), "{good}");
        }
        for bad in ["lan", "bank.example", "192.168.1.21", "fd00::2"] {
            let error = again.issue(&key, &names(&["relay.lan", bad]), NOW, 1).unwrap_err();
            assert_eq!(error, CertificateError::Constrained(bad.into()));
        }
        // Kinds of names that it was not made for.
        for (own, bad) in [("relay.lan", "10.0.0.1"), ("10.0.0.1", "relay.lan"), ("10.0.0.1", "::1")] {
            let authority = Authority::new(&names(&[own]), NOW).unwrap();
            assert!(authority.issue(&key, &names(&[own]), NOW, 1).is_ok(), "{own}");
            let error = authority.issue(&key, &names(&[bad]), NOW, 1).unwrap_err();
            assert_eq!(error, CertificateError::Constrained(bad.into()), "{own}");
        }
    }

    #[test]
    fn files_that_do_not_fit() {
        let one = Authority::new(&names(&["a"]), NOW).unwrap();
        let other = Authority::new(&names(&["a"]), NOW).unwrap();
        assert_ne!(one.name(), other.name());
        assert!(matches!(Authority::open(one.certificate(), &other.key()), Err(CertificateError::Pair(_))));
        assert!(matches!(Authority::open(one.certificate(), "x"), Err(CertificateError::NoKey)));
        assert!(matches!(Authority::new(&names(&["a b"]), NOW), Err(CertificateError::Other(_))));
        let late = NOW + 86_400 * 3651;
        let error = one.issue(&new_key().unwrap(), &names(&["a"]), late, 1).unwrap_err();
        assert_eq!(error, CertificateError::Ending(0));
        let error = one.issue(&new_key().unwrap(), &names(&["a"]), NOW + 86_400 * 3600, 51).unwrap_err();
        assert_eq!(error, CertificateError::Ending(50));
    }
}
