//! Errors in a request, and the status code that answers each.

use core::fmt;

/// A request that cannot be served. [`Error::status`] is the status code of the answer, `Display` its `msg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// 400: the bytes are not an HTTP/1.1 request, or are one that two parsers could read differently (RFC 9112 section 11).
    BadRequest(Syntax),
    /// 413: the body has more than `limits.body` bytes.
    BodyTooLarge,
    /// 413: a request that does not need a large body, or whose client has not logged in, has one of more than 64 KiB.
    BodyUnexpected,
    /// 417: `Expect` has a value other than `100-continue` (RFC 9110 section 10.1.1).
    ExpectationFailed,
    /// 431: the head has more than `limits.request_head` bytes or `limits.request_headers` lines (RFC 6585 section 5).
    HeadTooLarge,
    /// 411: the request needs a body, and neither `Content-Length` nor `Transfer-Encoding` says where it ends.
    LengthRequired,
    /// 501: `Transfer-Encoding` has a value other than `chunked`.
    NotImplemented,
    /// 400: a connection to an address with TLS begins with something else.
    NeedsTls,
    /// 400: a connection to an address without TLS begins with TLS.
    UnexpectedTls,
    /// 400: a connection that must begin with a header of the PROXY protocol begins with something else.
    ProxyHeader,
    /// 408: the request did not arrive within `limits.request_timeout`.
    Timeout,
    /// 503: `limits.memory` is reached.
    Memory,
    /// 503: `limits.connections` is reached.
    Unavailable,
    /// 503: all incomplete requests and messages together reach `limits.unfinished`.
    Unfinished,
    /// 429: `limits.per_address` is reached.
    TooManyFromAddress,
    /// 505: the request line names a version other than HTTP/1.0 or HTTP/1.1.
    VersionNotSupported,
}

/// A syntax error in a request or a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// The request line, or something that has no variant of its own.
    Request,
    /// A header's name (RFC 9110 section 5.1).
    HeaderName,
    /// A header's value (RFC 9110 section 5.5).
    HeaderValue,
    /// A header that must not be repeated is: its name.
    Repeated(&'static str),
    /// `Host` is missing or there are several (RFC 9112 section 3.2).
    HostCount,
    /// `Host` contains a character that no host and port can have.
    Host,
    /// The target is neither a path nor an absolute URL (RFC 9112 section 3.2).
    Target,
    /// `Content-Length` is not a decimal number.
    ContentLength,
    /// The request has both `Content-Length` and `Transfer-Encoding` (RFC 9112 section 6.3).
    LengthAndCoding,
    /// `Transfer-Encoding` is repeated, or sent by a client of HTTP/1.0.
    TransferEncoding,
    /// A chunk's size is not a hexadecimal number of at most 15 digits (RFC 9112 section 7.1).
    ChunkSize,
    /// A chunk's data are not followed by CR LF.
    ChunkEnd,
    /// A chunk's size line or a trailer does not end with CR LF.
    ChunkLine,
    /// A chunk's size line or a trailer is longer than 4,096 bytes.
    ChunkLineTooLong,
    /// The chunk extensions of a body have more than 16 KiB.
    ChunkExtensions,
}

impl Error {
    /// The status code (RFC 9110 section 15, RFC 6585).
    pub fn status(self) -> u16 {
        match self {
            Error::BadRequest(_) | Error::NeedsTls | Error::UnexpectedTls | Error::ProxyHeader => 400,
            Error::BodyTooLarge | Error::BodyUnexpected => 413,
            Error::ExpectationFailed => 417,
            Error::HeadTooLarge => 431,
            Error::LengthRequired => 411,
            Error::NotImplemented => 501,
            Error::Timeout => 408,
            Error::Memory | Error::Unavailable | Error::Unfinished => 503,
            Error::TooManyFromAddress => 429,
            Error::VersionNotSupported => 505,
        }
    }
}

impl From<Syntax> for Error {
    fn from(syntax: Syntax) -> Error {
        Error::BadRequest(syntax)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::BadRequest(syntax) => return fmt::Display::fmt(syntax, f),
            Error::BodyTooLarge => "the body is larger than limits.body allows",
            Error::BodyUnexpected => "the body is larger than 65536 bytes, which this request may not have",
            Error::ExpectationFailed => "Expect must be 100-continue",
            Error::HeadTooLarge => {
                "the request's head is larger than limits.request_head or limits.request_headers allows"
            }
            Error::LengthRequired => "Content-Length is missing",
            Error::Memory => "relay is short of memory, try again later",
            Error::NeedsTls => "this address uses TLS: connect with https:// or wss://",
            Error::UnexpectedTls => "this address does not use TLS: connect with http:// or ws://",
            Error::NotImplemented => "Transfer-Encoding must be chunked",
            Error::ProxyHeader => "a connection to this address must begin with a PROXY protocol header",
            Error::Timeout => "the request did not arrive within limits.request_timeout",
            Error::Unavailable => "too many connections, try again later",
            Error::Unfinished => "too many requests are incomplete, try again later",
            Error::TooManyFromAddress => "too many connections from this address, try again later",
            Error::VersionNotSupported => "the HTTP version must be 1.0 or 1.1",
        })
    }
}

impl fmt::Display for Syntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Syntax::Repeated(name) => return write!(f, "{name} must not be repeated"),
            Syntax::Request => "malformed request",
            Syntax::HeaderName => "malformed header name",
            Syntax::HeaderValue => "malformed header value",
            Syntax::HostCount => "a request needs exactly one Host",
            Syntax::Host => "Host must be a host name or address, with an optional port",
            Syntax::Target => "the request's target must be a path or an absolute URL",
            Syntax::ContentLength => "Content-Length must be a decimal number",
            Syntax::LengthAndCoding => "Content-Length and Transfer-Encoding exclude each other",
            Syntax::TransferEncoding => "Transfer-Encoding must be sent once, and needs HTTP/1.1",
            Syntax::ChunkSize => "a chunk's size must be a hexadecimal number",
            Syntax::ChunkEnd => "a chunk has more data than its size says",
            Syntax::ChunkLine => "a chunk's size line must end with CR LF",
            Syntax::ChunkLineTooLong => "a chunk's size line is longer than 4096 bytes",
            Syntax::ChunkExtensions => "the chunk extensions of a body are longer than 16384 bytes",
        })
    }
}

impl std::error::Error for Error {}

impl std::error::Error for Syntax {}
