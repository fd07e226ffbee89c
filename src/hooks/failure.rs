//! Why a call has no answer.

use core::{error::Error, fmt};

use super::answer::AnswerError;
use crate::{http::response::Malformed, state::Refusal};

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The queue is full, or the call waited too long to be sent.
    Busy,
    /// No connection could be opened; with the error of the operating system.
    NoConnection(String),
    /// A reused connection ended without a response.
    Closed,
    /// The response did not come within `hooks.timeout`.
    Timeout,
    /// TLS failed after the handshake; with the explanation.
    Tls(String),
    /// A status other than 2xx.
    Status(u16),
    /// The bytes that came are not an HTTP response that relay can use.
    NotHttp(Malformed),
    /// The body of a response is not an answer.
    BadAnswer(AnswerError),
}

impl Failure {
    /// The refusal that the waiting client gets.
    pub fn refusal(&self) -> Refusal {
        match self {
            Failure::Busy => Refusal::BackendBusy,
            _ => Refusal::BackendDown,
        }
    }

    /// Whether the backend does not answer, so that `hooks.on_failure` decides about a login. If it has answered, no
    /// answer but a valid one admits a client; otherwise a client could provoke an error, or fill the queue, to be
    /// admitted.
    pub fn is_outage(&self) -> bool {
        match self {
            Failure::NoConnection(_) | Failure::Closed | Failure::Timeout | Failure::Tls(_) | Failure::NotHttp(_) => {
                true
            }
            Failure::Status(status) => is_gateway_error(*status),
            Failure::Busy | Failure::BadAnswer(_) => false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Busy => f.write_str("too many calls are waiting (hooks.queue)"),
            Failure::NoConnection(reason) | Failure::Tls(reason) => f.write_str(reason),
            Failure::Closed => f.write_str("the connection ended without a response"),
            Failure::Timeout => f.write_str("no answer in time"),
            Failure::Status(status) => write!(f, "status {status}"),
            Failure::NotHttp(malformed) => malformed.fmt(f),
            Failure::BadAnswer(error) => write!(f, "the answer makes no sense: {error}"),
        }
    }
}

impl Error for Failure {}

/// Whether a status means that no backend has answered: a proxy in front of it reports that.
pub const fn is_gateway_error(status: u16) -> bool {
    matches!(status, 502..=504)
}

/// Why an attempt to send a call got no usable response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptError {
    /// No connection could be opened, or its TLS handshake failed, so the backend has received nothing of the call.
    NoConnection(String),
    /// A reused connection ended before any response. Most likely the backend had just closed it, and has not received
    /// the call.
    Stale,
    /// The response did not come within `hooks.timeout`.
    Timeout,
    /// TLS failed after the handshake; with the explanation.
    Tls(String),
    /// The bytes that came are not an HTTP response that relay can use.
    NotHttp(Malformed),
}

impl From<AttemptError> for Failure {
    fn from(error: AttemptError) -> Failure {
        match error {
            AttemptError::NoConnection(reason) => Failure::NoConnection(reason),
            AttemptError::Stale => Failure::Closed,
            AttemptError::Timeout => Failure::Timeout,
            AttemptError::Tls(reason) => Failure::Tls(reason),
            AttemptError::NotHttp(malformed) => Failure::NotHttp(malformed),
        }
    }
}

impl fmt::Display for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Failure::from(self.clone()).fmt(f)
    }
}

impl Error for AttemptError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let malformed = Malformed::Syntax;
        for (error, text) in [
            (
                AttemptError::NoConnection("Connection refused (os error 111)".into()),
                "Connection refused (os error 111)",
            ),
            (AttemptError::Stale, "the connection ended without a response"),
            (AttemptError::Timeout, "no answer in time"),
            (AttemptError::Tls("TLS failed: why".into()), "TLS failed: why"),
            (AttemptError::NotHttp(malformed), "not an HTTP response"),
        ] {
            assert_eq!((error.to_string(), Failure::from(error).to_string()), (text.into(), text.into()));
        }
        assert_eq!(Failure::Status(503).to_string(), "status 503");
        assert_eq!(Failure::Busy.refusal(), Refusal::BackendBusy);
        assert_eq!(Failure::Timeout.refusal(), Refusal::BackendDown);
    }

    /// With `on_failure = "allow"` these failures admit a client, and no others.
    #[test]
    fn outages() {
        for failure in [
            Failure::NoConnection("refused".into()),
            Failure::Closed,
            Failure::Timeout,
            Failure::Tls("TLS failed".into()),
            Failure::NotHttp(Malformed::Syntax),
            Failure::Status(502),
            Failure::Status(504),
        ] {
            assert!(failure.is_outage(), "{failure}");
        }
        for status in [199, 301, 302, 400, 401, 403, 404, 429, 500, 501, 505] {
            assert!(!Failure::Status(status).is_outage(), "{status}");
        }
        assert!(!Failure::Busy.is_outage() && !Failure::BadAnswer(AnswerError::NotObject).is_outage());
    }
}
