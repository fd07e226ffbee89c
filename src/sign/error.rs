//! Why a signature is not valid.

use core::{error, fmt};

use super::scheme::Scheme;

/// Why a signature is not valid. `Display` is the `reason` that any client may read: it says nothing about the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignError {
    /// `sign_type` is no scheme.
    Scheme,
    /// The source does not accept this scheme for what is signed.
    NotAccepted(Scheme),
    /// There is no `ts`.
    TsMissing,
    /// `ts` is not a decimal number.
    TsFormat,
    /// `ts` would be right if it were a thousand or a million times smaller.
    TsUnit,
    /// `ts` is this many seconds after relay's clock (or before it, if negative), and at most `window` are accepted.
    TsOff {
        /// The difference in seconds.
        seconds: i64,
        /// The largest accepted difference in seconds.
        window: u64,
    },
    /// The signature does not have the number of hexadecimal digits that the scheme needs.
    Digits(Scheme),
    /// The fields or the key are not those that were signed.
    Mismatch,
    /// `exp` is not a decimal number of seconds.
    ExpFormat,
    /// `ro` is not `1`.
    RoFormat,
    /// `exp` was this many seconds ago.
    Expired {
        /// The difference in seconds.
        seconds: u64,
    },
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            SignError::Scheme => f.write_str("sign_type must be md5 or hmac-sha256"),
            SignError::NotAccepted(scheme) => {
                let (refused, accepted) = (scheme.name(), scheme.other().name());
                write!(f, "the source does not accept {refused} for this: sign with {accepted}")
            }
            SignError::TsMissing => f.write_str("ts is missing: hmac-sha256 covers the time"),
            SignError::TsFormat => f.write_str("ts must be decimal Unix seconds, such as 1700000000 or 1700000000.25"),
            SignError::TsUnit => f.write_str("ts must be in seconds, not in milliseconds or microseconds"),
            SignError::TsOff { seconds, window } => {
                let side = if seconds < 0 { "past" } else { "future" };
                let off = seconds.unsigned_abs();
                write!(f, "ts is {off} s in the {side}: at most {window} s are accepted, check the clocks")
            }
            SignError::Digits(scheme) => {
                write!(f, "sign must have {} hexadecimal digits with {}", 2 * scheme.size(), scheme.name())
            }
            SignError::Mismatch => f.write_str("sign was not made from these fields with the key of the source"),
            SignError::ExpFormat => f.write_str("exp must be decimal Unix seconds, such as 1700000000"),
            SignError::RoFormat => f.write_str("ro must be 1 or empty"),
            SignError::Expired { seconds } => write!(f, "the login has expired: exp was {seconds} s ago"),
        }
    }
}

impl error::Error for SignError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let off = |seconds| SignError::TsOff { seconds, window: 300 }.to_string();
        assert_eq!(off(-900), "ts is 900 s in the past: at most 300 s are accepted, check the clocks");
        assert!(off(i64::MIN).starts_with("ts is 9223372036854775808 s in the past"));
        assert!(off(301).starts_with("ts is 301 s in the future"));
        for (error, text) in [
            (SignError::Scheme, "sign_type must be md5 or hmac-sha256"),
            (SignError::NotAccepted(Scheme::Md5), "the source does not accept md5 for this: sign with hmac-sha256"),
            (SignError::Digits(Scheme::HmacSha256), "sign must have 64 hexadecimal digits with hmac-sha256"),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }
}
