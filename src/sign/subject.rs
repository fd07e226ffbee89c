//! Signatures of logins, notifications and emitted events (`docs/protocol.md`, Signatures).
//!
//! *md5* is the scheme of existing clients, which cannot be changed: the MD5 of the concatenated fields and the key. It
//! covers neither the user nor the border between a room and its data, and it never expires. *hmac-sha256* (RFC 2104,
//! FIPS 180-4) covers every field and the time. Its fields have a line feed between them: they are bound only if no field
//! but the last has one, which [`Subject::control_field`] checks. Signatures of both schemes are compared in constant
//! time.

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::{
    error::SignError,
    scheme::Scheme,
    terms::{CheckedTerms, Terms},
};
use crate::names::has_control;

/// The schemes that a source accepts, by what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schemes {
    /// For logins, and for changes of rooms.
    pub connect: Vec<Scheme>,
    /// For notifications, also over Redis.
    pub notify: Vec<Scheme>,
    /// For events that backends emit.
    pub emit: Vec<Scheme>,
}

impl Schemes {
    /// The same schemes for everything.
    pub fn all(schemes: &[Scheme]) -> Schemes {
        Schemes { connect: schemes.into(), notify: schemes.into(), emit: schemes.into() }
    }

    /// The schemes of a source that names them apart, as far as it does not name them: md5 only for logins. A page gets the
    /// md5 signature of its login, and can turn that into the md5 signature of a notification.
    pub fn apart() -> Schemes {
        Schemes { connect: Scheme::ALL.into(), ..Schemes::all(&[Scheme::HmacSha256]) }
    }

    /// The schemes that are accepted for `subject`.
    pub fn accepted(&self, subject: &Subject<'_>) -> &[Scheme] {
        match subject {
            Subject::Connect { .. } => &self.connect,
            Subject::Notify { .. } => &self.notify,
            Subject::Emit { .. } => &self.emit,
        }
    }
}

/// A signature as a client sent it, unchecked.
#[derive(Clone, Copy, Debug)]
pub struct Signature<'a> {
    /// The scheme; `None` if `sign_type` names none that exists.
    pub scheme: Option<Scheme>,
    /// The signature in hexadecimal digits of either case.
    pub hex: &'a str,
    /// Unix time in seconds, with a fraction or without; empty for md5.
    pub ts: &'a str,
    /// What else the signature of a login covers.
    pub terms: Terms<'a>,
}

/// A signature that must be used only once: its time, and as many of its bytes as tell it from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The whole seconds of its `ts`.
    pub second: u64,
    /// The first 16 of its 32 bytes.
    pub digest: u128,
}

impl<'a> Signature<'a> {
    /// A signature from the fields `sign`, `sign_type` and `ts`. An empty `sign_type` means md5.
    pub fn new(hex: &'a str, sign_type: &str, ts: &'a str) -> Signature<'a> {
        let scheme = if sign_type.is_empty() { Some(Scheme::Md5) } else { Scheme::from_name(sign_type) };
        Signature { scheme, hex, ts, terms: Terms::default() }
    }

    /// The signature of a login, which can have terms.
    pub fn of_login(hex: &'a str, sign_type: &str, ts: &'a str, terms: Terms<'a>) -> Signature<'a> {
        Signature { terms, ..Signature::new(hex, sign_type, ts) }
    }

    /// Whether a valid signature of a login is for one user only.
    pub fn binds_user(&self) -> bool {
        self.scheme == Some(Scheme::HmacSha256)
    }

    /// The terms of a valid signature of a login, at a Unix time. Those that md5 does not cover have no effect.
    pub fn check_terms(&self, unix: u64) -> Result<CheckedTerms, SignError> {
        match self.scheme {
            Some(Scheme::HmacSha256) => self.terms.check(unix),
            _ => Ok(CheckedTerms::default()),
        }
    }

    /// What tells a valid signature from all others. `None` for md5, which has no time: it could never be forgotten.
    pub fn mark(&self) -> Option<Mark> {
        if self.scheme != Some(Scheme::HmacSha256) {
            return None;
        }
        // Decoded, because the digits may be of either case.
        let mut bytes = [0; 16];
        base16ct::mixed::decode(self.hex.get(..32)?, &mut bytes).ok()?;
        Some(Mark { second: seconds(self.ts)?, digest: u128::from_be_bytes(bytes) })
    }
}

/// The whole seconds of a `ts`: decimal digits, which may be followed by a point and more digits.
fn seconds(ts: &str) -> Option<u64> {
    let (whole, fraction) = ts.split_once('.').unwrap_or((ts, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits(whole) && digits(fraction) { whole.parse().ok() } else { None }
}

/// The signatures that a source accepts.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// The source's key.
    pub key: &'a [u8],
    /// The accepted schemes.
    pub schemes: &'a [Scheme],
    /// The largest accepted difference between `ts` and `unix`, in seconds.
    pub window: u64,
    /// The current Unix time, in seconds.
    pub unix: u64,
}

/// The fields that a signature covers.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A login, or a change of rooms.
    Connect {
        /// The source.
        source: &'a str,
        /// The user; not covered by md5.
        userid: &'a str,
        /// The comma-separated list, as sent.
        room_ids: &'a str,
    },
    /// A notification.
    Notify {
        /// The source.
        source: &'a str,
        /// The comma-separated list, as sent.
        room_id: &'a str,
        /// The value of a string, or the JSON text of any other value.
        data: &'a [u8],
    },
    /// An event that a backend emits to clients.
    Emit {
        /// The source.
        source: &'a str,
        /// The namespace.
        nsp: &'a str,
        /// The kind of receiver: `room_id`, `userid`, `socket_id` or `nsp`.
        kind: &'a str,
        /// The room, user or socket; empty for a namespace.
        to: &'a str,
        /// The event's name.
        event: &'a str,
        /// The value of a string, or the JSON text of any other value.
        data: &'a [u8],
    },
}

/// The HMAC-SHA256 of `bytes` under `key` (RFC 2104), in 64 lower-case hexadecimal digits.
pub fn hmac_hex(key: &[u8], bytes: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length (RFC 2104)");
    mac.update(bytes);
    to_hex(&mac.finalize().into_bytes())
}

impl Subject<'_> {
    /// The signature of scheme [`Scheme::Md5`].
    pub fn md5(&self, key: &[u8]) -> [u8; 16] {
        let mut hash = Md5::new();
        match self {
            Subject::Connect { source, room_ids, .. } => {
                hash.update(source);
                hash.update(room_ids);
            }
            Subject::Notify { source, room_id, data } => {
                hash.update(source);
                hash.update(room_id);
                hash.update(data);
            }
            // The input differs from that of every login, and of every notification of a source that is not called `e`,
            // `em` or `emi`: those begin with the name of a source and a room, which contain no line feed.
            Subject::Emit { source, nsp, kind, to, event, data } => {
                for line in ["emit", source, nsp, kind, to, event] {
                    hash.update(line);
                    hash.update("\n");
                }
                hash.update(data);
            }
        }
        hash.update(key);
        hash.finalize().into()
    }

    /// The signature of scheme [`Scheme::HmacSha256`], with `ts` as sent; that of a login with the [tail](Terms::tail) of its
    /// terms.
    pub fn hmac(&self, key: &[u8], ts: &str) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length (RFC 2104)");
        let mut field = |bytes: &[u8], end: &[u8]| {
            mac.update(bytes);
            mac.update(end);
        };
        match self {
            Subject::Connect { source, userid, room_ids } => {
                for line in ["connect", source, userid, room_ids] {
                    field(line.as_bytes(), b"\n");
                }
                field(ts.as_bytes(), b"");
            }
            Subject::Notify { source, room_id, data } => {
                for line in ["notify", source, room_id, ts] {
                    field(line.as_bytes(), b"\n");
                }
                field(data, b"");
            }
            Subject::Emit { source, nsp, kind, to, event, data } => {
                for line in ["emit", source, nsp, kind, to, event, ts] {
                    field(line.as_bytes(), b"\n");
                }
                field(data, b"");
            }
        }
        mac.finalize().into_bytes().into()
    }

    /// The first field with a [control character](has_control), if there is one, among those that a signature of `scheme`
    /// covers. `data` may have any characters: it comes last, so its border cannot move.
    pub fn control_field(&self, scheme: Scheme) -> Option<&'static str> {
        let fields = match *self {
            // md5 does not cover the user.
            Subject::Connect { source, room_ids, .. } if scheme == Scheme::Md5 => {
                [("source", source), ("room_ids", room_ids), ("", ""), ("", "")]
            }
            Subject::Connect { source, userid, room_ids } => {
                [("source", source), ("userid", userid), ("room_ids", room_ids), ("", "")]
            }
            Subject::Notify { source, room_id, .. } => [("source", source), ("room_id", room_id), ("", ""), ("", "")],
            Subject::Emit { source, nsp, kind, to, event, .. } => {
                let names = ["room_id", "userid", "socket_id"];
                let receiver = names.into_iter().find(|name| *name == kind).unwrap_or("nsp");
                [("source", source), ("nsp", nsp), (receiver, to), ("event", event)]
            }
        };
        fields.into_iter().find(|(_, value)| has_control(value)).map(|(name, _)| name)
    }

    /// Checks a signature: it is of an accepted scheme, (hmac-sha256) its `ts` is within the accepted window, and it
    /// matches the key.
    pub fn verify(&self, signature: &Signature<'_>, policy: &Policy<'_>) -> Result<(), SignError> {
        let scheme = signature.scheme.ok_or(SignError::Scheme)?;
        if !policy.schemes.contains(&scheme) {
            return Err(SignError::NotAccepted(scheme));
        }
        let is_right = match scheme {
            Scheme::Md5 => matches(signature.hex, &self.md5(policy.key)),
            Scheme::HmacSha256 => {
                check_ts(signature.ts, policy)?;
                signature.terms.check(policy.unix)?;
                matches(signature.hex, &self.hmac(policy.key, &signature.terms.tail(signature.ts)))
            }
        };
        let is_hex =
            || signature.hex.len() == 2 * scheme.size() && signature.hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        match is_right {
            true => Ok(()),
            false if is_hex() => Err(SignError::Mismatch),
            false => Err(SignError::Digits(scheme)),
        }
    }
}

/// Checks that `ts` is near relay's clock.
fn check_ts(ts: &str, policy: &Policy<'_>) -> Result<(), SignError> {
    let ts = match seconds(ts) {
        Some(ts) => ts,
        None if ts.is_empty() => return Err(SignError::TsMissing),
        None => return Err(SignError::TsFormat),
    };
    let is_near = |ts: u64| ts.abs_diff(policy.unix) <= policy.window;
    match () {
        () if is_near(ts) => Ok(()),
        () if is_near(ts / 1000) || is_near(ts / 1_000_000) => Err(SignError::TsUnit),
        () => {
            let far = i64::try_from(ts.abs_diff(policy.unix)).unwrap_or(i64::MAX);
            let seconds = if ts < policy.unix { -far } else { far };
            Err(SignError::TsOff { seconds, window: policy.window })
        }
    }
}

/// `bytes` in lower-case hexadecimal digits (RFC 4648 section 8).
pub fn to_hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

/// Compares two secrets in a time that depends on their lengths only.
#[inline]
pub fn same_secret(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// Whether `hex` is `expected` in hexadecimal digits of either case.
fn matches<const N: usize>(hex: &str, expected: &[u8; N]) -> bool {
    let mut given = [0; N];
    let decoded = base16ct::mixed::decode(hex, &mut given);
    decoded.is_ok_and(|given| same_secret(given, expected))
}

#[cfg(test)]
mod tests;
