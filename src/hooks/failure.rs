//! Why a call has no answer.

use core::{error::Error, fmt};

use super::answer::AnswerError;
use crate::{
    http::response::Malformed,
    language::{Language, say},
    state::Refusal,
};

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

    /// Why, in a language. The errors of the operating system and of TLS stay as they are.
    pub fn words(&self, language: Language) -> String {
        match self {
            Failure::Busy => {
                say!(language, "too many calls are waiting (hooks.queue)", "等待的调用过多（hooks.queue）")
            }
            Failure::NoConnection(reason) | Failure::Tls(reason) => reason.clone(),
            Failure::Closed => say!(language, "the connection ended without a response", "没有应答，连接已断开"),
            Failure::Timeout => say!(language, "no answer in time", "没有及时应答"),
            Failure::Status(status) => say!(language, "status {status}", "状态码 {status}"),
            Failure::NotHttp(malformed) => malformed.words(language).into(),
            Failure::BadAnswer(error) => {
                let error = error.words(language);
                say!(language, "the answer makes no sense: {error}", "应答无法理解：{error}")
            }
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
        f.write_str(&self.words(Language::English))
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
    use super::super::answer::Answer;
    use super::*;
    use crate::language::testing::{assert_chinese, samples};

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

    #[test]
    fn operators_get_them_in_chinese() {
        let failures = samples!(Failure:
            Failure::Busy => Failure::Busy,
            // The error of the operating system stays as it is.
            Failure::NoConnection(_) => Failure::NoConnection("连接".into()),
            Failure::Closed => Failure::Closed,
            Failure::Timeout => Failure::Timeout,
            Failure::Tls(_) => Failure::Tls("连接".into()),
            Failure::Status(_) => Failure::Status(503),
            Failure::NotHttp(_) => Failure::NotHttp(Malformed::Syntax),
            Failure::BadAnswer(_) => Failure::BadAnswer(AnswerError::NotUtf8),
        );
        let malformed = samples!(Malformed:
            Malformed::Interim => Malformed::Interim,
            Malformed::BodyTooLarge => Malformed::BodyTooLarge,
            Malformed::Chunks => Malformed::Chunks,
            Malformed::Incomplete => Malformed::Incomplete,
            Malformed::Missing => Malformed::Missing,
            Malformed::HeadTooLarge => Malformed::HeadTooLarge,
            Malformed::Syntax => Malformed::Syntax,
            Malformed::ContentLength => Malformed::ContentLength,
            Malformed::ContentLengths => Malformed::ContentLengths,
            Malformed::TransferEncoding => Malformed::TransferEncoding,
            Malformed::LengthAndCoding => Malformed::LengthAndCoding,
        );
        let answers = ["\u{ff}", "[]", "{\"ack\":1,\"ack\":1}", "{\"allow\":1}", "{\"userid\":[]}", "{\"ack\":1}"];
        let more = ["{\"join\":[\"a,b\"]}", "{\"join\":[[]]}", "{\"emit\":1}"];
        let errors = answers.iter().chain(&more).filter_map(|body| Answer::parse(body.as_bytes()).err());
        let errors = errors.map(Failure::BadAnswer);
        let all = failures.into_iter().chain(malformed.into_iter().map(Failure::NotHttp)).chain(errors);
        for failure in all {
            let names = ["Content-Length", "Transfer-Encoding", "ack", "allow", "chunked", "emit"];
            assert_chinese(
                &failure.words(Language::Chinese),
                &[&names[..], &["hooks.queue", "join", "userid"]].concat(),
            );
        }
    }
}
