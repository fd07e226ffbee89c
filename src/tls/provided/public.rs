//! Public keys of tokens.

use rustls::pki_types::{
    SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer,
    pem::{Error as PemError, PemObject},
};
use webpki::{Error, RawPublicKeyEntity, ring};

use crate::tls::error::CertificateError;

/// A public key for signatures, of Ed25519 or RSA.
#[derive(Clone, Debug, PartialEq)]
pub struct PublicKey {
    key: SubjectPublicKeyInfoDer<'static>,
    is_rsa: bool,
}

impl PublicKey {
    /// The key in a PEM file.
    pub fn from_pem(pem: &str) -> Result<PublicKey, CertificateError> {
        let key = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).map_err(|error| match error {
            PemError::NoItemsFound => CertificateError::NoPublicKey,
            _ => CertificateError::Pem,
        })?;
        let found = [false, true].into_iter().find(|is_rsa| {
            // No signature is that short. What matters is that the key is one of the algorithm.
            matches!(check(&key, algorithm(*is_rsa), &[], &[]), Err(Error::InvalidSignatureForPublicKey))
        });
        match found {
            Some(true) if !RSA_SIZE.contains(&key.len()) => Err(CertificateError::UnknownPublicKey),
            Some(is_rsa) => Ok(PublicKey { key, is_rsa }),
            None => Err(CertificateError::UnknownPublicKey),
        }
    }

    /// The only algorithm that the key is used with (RFC 7518 section 3.1, RFC 8037 section 3.1).
    pub fn algorithm(&self) -> &'static str {
        if self.is_rsa { "RS256" } else { "EdDSA" }
    }

    /// Whether `signature` is one of `signed`.
    pub fn verify(&self, signed: &[u8], signature: &[u8]) -> bool {
        check(&self.key, algorithm(self.is_rsa), signed, signature).is_ok()
    }
}

fn algorithm(is_rsa: bool) -> &'static dyn SignatureVerificationAlgorithm {
    if is_rsa { ring::RSA_PKCS1_2048_8192_SHA256 } else { ring::ED25519 }
}

fn check(
    key: &SubjectPublicKeyInfoDer<'_>,
    algorithm: &dyn SignatureVerificationAlgorithm,
    signed: &[u8],
    signature: &[u8],
) -> Result<(), Error> {
    RawPublicKeyEntity::try_from(key)?.verify_signature(algorithm, signed, signature)
}

/// Bytes of RSA keys of 2048 to 8192 bits: the modulus, and 38 bytes or a few fewer around it. ring accepts no others.
const RSA_SIZE: core::ops::RangeInclusive<usize> = 256 + 34..=1024 + 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037 appendix A.2 and A.4, with the key of A.2 as PEM.
    const ED25519: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
    const SIGNED: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    const SIGNATURE: &str = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

    #[test]
    fn a_signature_of_the_standard() {
        use base64::Engine as _;
        let signature = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(SIGNATURE).unwrap();
        let key = PublicKey::from_pem(ED25519).unwrap();
        assert_eq!(key.algorithm(), "EdDSA");
        assert!(key.verify(SIGNED.as_bytes(), &signature));
        for index in 0..signature.len() {
            let mut other = signature.clone();
            other[index] ^= 1;
            assert!(!key.verify(SIGNED.as_bytes(), &other) && !key.verify(SIGNED.as_bytes(), &signature[..index]));
        }
        assert!(!key.verify(&SIGNED.as_bytes()[1..], &signature));
    }
}
