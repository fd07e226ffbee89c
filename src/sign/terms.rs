//! What a signature of a login can say about the session: until when it lasts, and that it only reads (docs/protocol.md,
//! Logins that expire).

use std::borrow::Cow;

use super::error::SignError;

/// `exp` and `ro` of a login as the client sent them, unchecked. An hmac-sha256 signature covers them; md5 does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms<'a> {
    /// Until when the login is valid, in Unix seconds. Empty: for ever.
    pub exp: &'a str,
    /// `1` if the session may only read.
    pub ro: &'a str,
}

/// The terms of a valid login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckedTerms {
    /// Until when the login is valid, in Unix seconds. `None`: for ever.
    pub expires: Option<u64>,
    /// Whether the session may only read.
    pub read_only: bool,
}

impl Terms<'_> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.exp.is_empty() && self.ro.is_empty()
    }

    /// The last lines of a signed text: `ts` alone, as before there were terms, or followed by both terms. The number of lines
    /// tells the two apart, because none of the fields may have a line feed.
    pub fn tail<'t>(&self, ts: &'t str) -> Cow<'t, str> {
        match self.is_empty() {
            true => ts.into(),
            false => format!("{ts}\n{}\n{}", self.exp, self.ro).into(),
        }
    }

    /// Checks the values at a Unix time.
    pub fn check(&self, unix: u64) -> Result<CheckedTerms, SignError> {
        let expires = match self.exp {
            "" => None,
            text => Some(unix_seconds(text).ok_or(SignError::ExpFormat)?),
        };
        let read_only = match self.ro {
            "" => false,
            "1" => true,
            _ => return Err(SignError::RoFormat),
        };
        match expires.filter(|expires| has_expired(*expires, unix)) {
            Some(expires) => Err(SignError::Expired { seconds: unix - expires }),
            None => Ok(CheckedTerms { expires, read_only }),
        }
    }
}

/// Whether a login that is valid until `expires` has ended. Clocks differ, so it has a few seconds more.
pub fn has_expired(expires: u64, unix: u64) -> bool {
    unix >= expires.saturating_add(LEEWAY)
}

/// The whole seconds of a time as decimal digits, which may be followed by a point and more digits. `None` if it is not one, or
/// if it is after the year 9999: then it is probably in milliseconds.
pub fn unix_seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    whole.parse().ok().filter(|seconds| *seconds <= LATEST)
}

/// How many seconds a login is valid after its `exp`, and before its `nbf`.
pub const LEEWAY: u64 = 5;

/// The last second of the year 9999.
const LATEST: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let check = |exp, ro, unix| Terms { exp, ro }.check(unix);
        let valid = |expires, read_only| Ok(CheckedTerms { expires, read_only });
        assert_eq!(check("", "", 5), valid(None, false));
        assert_eq!(check("1000", "1", 1004), valid(Some(1000), true));
        assert_eq!(check("1000.75", "", 0), valid(Some(1000), false));
        assert_eq!(check("1000", "", 1005), Err(SignError::Expired { seconds: 5 }));
        assert_eq!(check("0", "", u64::MAX), Err(SignError::Expired { seconds: u64::MAX }));
        assert_eq!(check("253402300799", "", 0), valid(Some(LATEST), false));
        for exp in ["253402300800", "99999999999999999999", "-1", "1e9", "1.", ".5", "1.5.5", " 1", "0x1", "1\n", "１"]
        {
            assert_eq!(check(exp, "", 0), Err(SignError::ExpFormat), "{exp:?}");
        }
        for ro in ["0", "true", "11", " 1", "1\n"] {
            assert_eq!(check("", ro, 0), Err(SignError::RoFormat), "{ro:?}");
        }
    }

    #[test]
    fn lines() {
        assert_eq!(Terms::default().tail("17"), "17");
        assert_eq!(Terms { exp: "18", ro: "" }.tail("17"), "17\n18\n");
        assert_eq!(Terms { exp: "", ro: "1" }.tail("17"), "17\n\n1");
    }
}
