//! What an error of TLS means, and what to do about it.

use rustls::{AlertDescription, CertificateError, Error};

/// The text of an error of a connection to a server.
pub fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => certificate(why),
        Error::NoCertificatesPresented => "the server has no certificate".into(),
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure => format!(
                "the server ended TLS ({alert:?}): if it requires a client certificate, set cert_file and key_file"
            ),
            alert if refuses_certificate(error) => {
                format!("the server does not accept the client certificate ({alert:?}): check cert_file")
            }
            AlertDescription::UnrecognisedName => {
                "the server does not know this name: use the name in its certificate".into()
            }
            _ => format!("the server ended TLS: {alert:?}"),
        },
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => {
            "the server does not speak TLS at this port: name its TLS port, or use no TLS".into()
        }
        Error::PeerIncompatible(_) => {
            format!("the server's TLS is too old or incompatible (1.2 or 1.3 is needed): {error}")
        }
        _ => format!("TLS failed: {error}"),
    }
}

/// Whether the peer refuses our certificate, or refuses us because we have none.
pub fn refuses_certificate(error: &Error) -> bool {
    matches!(
        error,
        Error::AlertReceived(
            AlertDescription::CertificateRequired
                | AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRevoked
                | AlertDescription::AccessDenied
        )
    )
}

fn certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => {
            "the server's certificate is signed by an unknown authority: name the file with its CA in ca_file".into()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired: renew it, or set this machine's clock".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet: set the clocks of both machines".into()
        }
        CertificateError::NotValidForName => {
            "the server's certificate is for another name: connect to that name".into()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            // They are written as `DnsName("example.org")`.
            let plain = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
            let mut names = presented.iter().take(MOST_NAMES).map(plain).collect::<Vec<_>>().join(", ");
            if names.is_empty() {
                names.push_str("no name (subjectAltName)");
            }
            format!(
                "the server's certificate is not for {} but for {names}: connect to a name of the certificate",
                expected.to_str()
            )
        }
        CertificateError::BadSignature => {
            "the server's certificate has a wrong signature: ca_file may have an old certificate of its CA".into()
        }
        // Of a client that knows the key of its server.
        CertificateError::ApplicationVerificationFailure => {
            "the server's certificate is not that of cert_file: if the file was \
            renewed, make relay read it ('systemctl reload relay'); otherwise another program answers at this address"
                .into()
        }
        why if format!("{why:?}").contains("CaUsedAsEndEntity") => "the server's certificate is that of a CA \
            (basicConstraints CA:TRUE): give the server a certificate that the CA has signed"
            .into(),
        why => format!("the server's certificate is not accepted: {why}"),
    }
}

/// The most names of a certificate in a text.
const MOST_NAMES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_name_the_cure() {
        for (error, text) in [
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), "name the file with its CA in ca_file"),
            (Error::InvalidCertificate(CertificateError::Expired), "has expired: renew it"),
            (Error::InvalidCertificate(CertificateError::NotValidYet), "set the clocks"),
            (Error::InvalidCertificate(CertificateError::NotValidForName), "is for another name"),
            (
                Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                    expected: rustls::pki_types::ServerName::try_from("a.example").unwrap(),
                    presented: vec!["DnsName(\"b.example\")".into(), "IpAddress(192.0.2.1)".into()],
                }),
                "is not for a.example but for b.example, IpAddress(192.0.2.1): connect",
            ),
            (Error::InvalidCertificate(CertificateError::BadSignature), "old certificate of its CA"),
            (Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure), "systemctl reload relay"),
            (Error::InvalidCertificate(CertificateError::Revoked), "is not accepted"),
            (Error::AlertReceived(AlertDescription::CertificateRequired), "set cert_file and key_file"),
            (Error::AlertReceived(AlertDescription::UnknownCA), "check cert_file"),
            (Error::AlertReceived(AlertDescription::UnrecognisedName), "the name in its certificate"),
            (Error::AlertReceived(AlertDescription::InternalError), "ended TLS: InternalError"),
            (Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType), "does not speak TLS at this port"),
            (Error::DecryptError, "TLS failed"),
        ] {
            assert!(explain(&error).contains(text), "{error:?}: {}", explain(&error));
        }
    }
}
