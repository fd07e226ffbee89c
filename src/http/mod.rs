//! HTTP/1.1 (RFC 9110, RFC 9112) as a server speaks it: bytes to requests, replies to bytes, and the order of both on
//! one connection. Pure: no socket, no clock.

pub mod chunked;
pub mod exchange;
pub mod fields;
pub mod reply;
pub mod request;
pub mod response;

use std::borrow::Cow;

pub use self::{
    exchange::Exchange,
    fields::Fields,
    reply::Reply,
    request::{Framing, Head, Request},
};

/// Bytes as text, those that are no UTF-8 as U+FFFD. (Rust's own way looks at each character even where all is well.)
fn text(bytes: &[u8]) -> Cow<'_, str> {
    core::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// What is wrong with what came, by the answer it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The peer does not speak HTTP, or speaks it in a way that others could read differently.
    BadRequest(&'static str),
    /// The body is larger than allowed.
    BodyTooLarge,
    /// `Expect` names something other than `100-continue`.
    ExpectationFailed,
    /// The request line and headers are larger than allowed, or too many.
    HeadTooLarge,
    /// The body's length is not said.
    LengthRequired,
    /// A transfer coding other than chunked.
    NotImplemented,
    /// It took too long to arrive.
    Timeout,
    /// There is no room for one more connection.
    Unavailable,
    /// Another HTTP.
    VersionNotSupported,
}

impl Error {
    /// The status code (RFC 9110 section 15, RFC 6585).
    pub fn status(self) -> u16 {
        match self {
            Error::BadRequest(_) => 400,
            Error::BodyTooLarge => 413,
            Error::ExpectationFailed => 417,
            Error::HeadTooLarge => 431,
            Error::LengthRequired => 411,
            Error::NotImplemented => 501,
            Error::Timeout => 408,
            Error::Unavailable => 503,
            Error::VersionNotSupported => 505,
        }
    }

    /// What is said about it.
    pub fn text(self) -> &'static str {
        match self {
            Error::BadRequest(why) => why,
            Error::BodyTooLarge => "the body is too large",
            Error::ExpectationFailed => "only 100-continue can be expected",
            Error::HeadTooLarge => "the request's head is too large",
            Error::LengthRequired => "Content-Length is missing",
            Error::NotImplemented => "the only transfer coding is chunked",
            Error::Timeout => "the request took too long to arrive",
            Error::Unavailable => "too many connections",
            Error::VersionNotSupported => "HTTP/1.1 is spoken here",
        }
    }
}
