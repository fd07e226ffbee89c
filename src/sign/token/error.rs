//! Why a token is not valid.

use core::{error, fmt};

/// The longest token, in bytes.
pub const MAX_TOKEN: usize = 8192;

/// The most names and patterns of `rooms`.
pub const MAX_ROOMS: usize = 256;

/// Why a token is not valid. `Display` is the `reason` that any client may read: it says nothing about the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// The source has no key for tokens.
    NotAccepted,
    /// It has more than [`MAX_TOKEN`] bytes.
    TooLong,
    /// It is not in the compact form.
    Parts,
    /// Its header is no object, or has a name twice.
    Header,
    /// Its header has another algorithm than that of the key.
    Algorithm(&'static str),
    /// Its header asks for an extension.
    Critical,
    /// Its header names no key, and the source has several.
    KidMissing,
    /// Its header names a key that the source does not have.
    KidUnknown,
    /// Its signature was not made with the key of the source.
    Signature,
    /// Its claims are no object, or have a name twice.
    Claims,
    /// A claim is missing.
    Missing(&'static str),
    /// A claim is not a time.
    Time(&'static str),
    /// A claim is not a string.
    Text(&'static str),
    /// A claim is too long or has control characters.
    Name(&'static str),
    /// `post` is not a Boolean.
    Post,
    /// `rooms` is not a list of names and patterns, or too long.
    Rooms,
    /// `exp` was this many seconds ago.
    Expired {
        /// The difference in seconds.
        seconds: u64,
    },
    /// `nbf` is in this many seconds.
    NotYet {
        /// The difference in seconds.
        seconds: u64,
    },
    /// `aud` names somebody else.
    Audience,
    /// `iss` is another issuer.
    Issuer,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            TokenError::NotAccepted => "the source accepts no tokens: it has no [sources.NAME.jwt]",
            TokenError::TooLong => return write!(f, "the token has more than {MAX_TOKEN} bytes"),
            TokenError::Parts => "the token must be three parts in base64url without padding, with points between them",
            TokenError::Header => "the header of the token must be a JSON object without repeated names",
            TokenError::Algorithm(name) => {
                return write!(f, "alg must be {name}: the key of the source is for no other");
            }
            TokenError::Critical => "the token has crit, but relay knows no extension",
            TokenError::KidMissing => "the token has no kid, and the source has several keys",
            TokenError::KidUnknown => "the source has no key with the kid of the token",
            TokenError::Signature => "the token was not signed with the key of the source",
            TokenError::Claims => "the claims of the token must be a JSON object without repeated names",
            TokenError::Missing(claim) => return write!(f, "the token has no {claim}"),
            TokenError::Time(claim) => {
                return write!(f, "{claim} must be a number of Unix seconds, such as 1700000000, not of milliseconds");
            }
            TokenError::Text(claim) => return write!(f, "{claim} must be a string"),
            TokenError::Name(claim) => {
                return write!(f, "{claim} must have at most 512 bytes and no control characters");
            }
            TokenError::Post => "post must be true or false",
            TokenError::Rooms => {
                return write!(
                    f,
                    "rooms must be a list of at most {MAX_ROOMS} strings, each a room or a pattern, without commas"
                );
            }
            TokenError::Expired { seconds } => return write!(f, "the token has expired: exp was {seconds} s ago"),
            TokenError::NotYet { seconds } => {
                return write!(f, "the token is not valid yet: nbf is in {seconds} s, check the clocks");
            }
            TokenError::Audience => "aud of the token is not the audience of the source",
            TokenError::Issuer => "iss of the token is not the issuer of the source",
        })
    }
}

impl error::Error for TokenError {}
