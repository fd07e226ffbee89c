//! Signatures (contract section 3): who may connect, who may notify.
//!
//! *md5* is what today's clients send: the md5 of the fields and the key, one after the other. It binds neither the user
//! nor the border between a room and its data, and never expires; it is there because clients in the field cannot be
//! changed. *hmac-sha256* (RFC 2104, FIPS 180-4) binds all of it and the time. Both are compared in constant time.

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// How a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `md5(source + … + sign_key)`.
    Md5,
    /// HMAC-SHA256 over named fields, one a line.
    HmacSha256,
}

impl Scheme {
    /// All there are.
    pub const ALL: [Scheme; 2] = [Scheme::Md5, Scheme::HmacSha256];

    /// As `sign_type` and the configuration name it.
    pub const fn name(self) -> &'static str {
        match self {
            Scheme::Md5 => "md5",
            Scheme::HmacSha256 => "hmac-sha256",
        }
    }

    /// The scheme of that name.
    pub fn from_name(name: &str) -> Option<Scheme> {
        Scheme::ALL.into_iter().find(|scheme| scheme.name() == name)
    }
}

/// A signature as it came: nothing about it is trusted.
#[derive(Clone, Copy, Debug)]
pub struct Signature<'a> {
    /// The scheme named by `sign_type`; nothing if there is no such scheme.
    pub scheme: Option<Scheme>,
    /// Hex digits, of either case.
    pub hex: &'a str,
    /// Unix seconds, for hmac.
    pub ts: &'a str,
}

impl<'a> Signature<'a> {
    /// Reads the three fields `sign`, `sign_type` (empty: md5) and `ts`.
    pub fn new(hex: &'a str, sign_type: &str, ts: &'a str) -> Signature<'a> {
        let scheme = if sign_type.is_empty() { Some(Scheme::Md5) } else { Scheme::from_name(sign_type) };
        Signature { scheme, hex, ts }
    }
}

/// What the holder of a key accepts.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// The source's key.
    pub key: &'a [u8],
    /// Which schemes it accepts.
    pub schemes: &'a [Scheme],
    /// Seconds by which `ts` may be off, either way.
    pub window: u64,
    /// The wall clock, unix seconds.
    pub unix: u64,
}

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A connection, or a change of rooms.
    Connect {
        /// The tenant.
        source: &'a str,
        /// Bound by hmac only.
        userid: &'a str,
        /// The list as it came.
        room_ids: &'a str,
    },
    /// A notification.
    Notify {
        /// The tenant.
        source: &'a str,
        /// The list as it came.
        room_id: &'a str,
        /// A string's value, any other value's text.
        data: &'a [u8],
    },
    /// An event for clients.
    Emit {
        /// The tenant.
        source: &'a str,
        /// The namespace.
        nsp: &'a str,
        /// `room_id`, `userid`, `socket_id` or `nsp`.
        kind: &'a str,
        /// Which room, user or socket; nothing for a namespace.
        to: &'a str,
        /// What is called.
        event: &'a str,
        /// A string's value, any other value's text.
        data: &'a [u8],
    },
}

/// HMAC-SHA256 in hex (RFC 2104).
pub fn hmac_hex(key: &[u8], bytes: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length is right for HMAC (RFC 2104)");
    mac.update(bytes);
    to_hex(&mac.finalize().into_bytes())
}

impl Subject<'_> {
    /// The md5 signature, 16 bytes.
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
            // No login's and no notification's: those begin with a source's name, which has no line end.
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

    /// The hmac-sha256 signature, 32 bytes, with `ts` as it is sent.
    pub fn hmac(&self, key: &[u8], ts: &str) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length is right for HMAC (RFC 2104)");
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

    /// Whether `signature` is right under `policy`.
    pub fn verify(&self, signature: &Signature<'_>, policy: &Policy<'_>) -> bool {
        let Some(scheme) = signature.scheme.filter(|scheme| policy.schemes.contains(scheme)) else {
            return false;
        };
        match scheme {
            Scheme::Md5 => same(signature.hex, &self.md5(policy.key)),
            Scheme::HmacSha256 => {
                let fresh = signature.ts.bytes().all(|byte| byte.is_ascii_digit())
                    && signature.ts.parse::<u64>().is_ok_and(|ts| ts.abs_diff(policy.unix) <= policy.window);
                fresh && same(signature.hex, &self.hmac(policy.key, signature.ts))
            }
        }
    }
}

/// Lower-case hex digits.
pub fn to_hex(bytes: &[u8]) -> String {
    let digit = |four: u8| char::from(b"0123456789abcdef"[usize::from(four & 15)]);
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        hex.push(digit(byte >> 4));
        hex.push(digit(*byte));
    }
    hex
}

/// Whether two secrets are the same, in a time that depends on their lengths only.
#[inline]
pub fn same_secret(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// The value of a hexadecimal digit, of either case; 255 for what is none.
const HEX: [u8; 256] = {
    let mut values = [255; 256];
    let mut value = 0;
    while value < 16 {
        let digit = b"0123456789abcdef"[value as usize];
        values[digit as usize] = value;
        values[digit.to_ascii_uppercase() as usize] = value;
        value += 1;
    }
    values
};

fn same<const N: usize>(hex: &str, expected: &[u8; N]) -> bool {
    if hex.len() != 2 * N {
        return false;
    }
    let mut given = [0; N];
    for (byte, digits) in given.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let [high, low] = [HEX[usize::from(digits[0])], HEX[usize::from(digits[1])]];
        if high | low > 15 {
            return false;
        }
        *byte = high << 4 | low;
    }
    same_secret(&given, expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"try4dfs%#fs!#$2334ds(%B)";

    fn policy(schemes: &[Scheme]) -> Policy<'_> {
        Policy { key: KEY, schemes, window: 300, unix: 1_000_000 }
    }

    #[test]
    fn md5_is_the_concatenation() {
        // md5sum of `demochat_roomtry4dfs%#fs!#$2334ds(%B)` and of the same with `hello` before the key
        let connect = Subject::Connect { source: "demo", userid: "7", room_ids: "chat_room" };
        let notify = Subject::Notify { source: "demo", room_id: "chat_room", data: b"hello" };
        assert_eq!(to_hex(&connect.md5(KEY)), "f837ba41aeedbfb5218c72c9febfe6e0");
        assert_eq!(to_hex(&notify.md5(KEY)), "84c016c32bbcb9da3081b11adad04e85");
    }

    #[test]
    fn hex_of_either_case_and_nothing_else() {
        let subject = Subject::Connect { source: "demo", userid: "", room_ids: "r" };
        let hex = to_hex(&subject.md5(KEY));
        let ok = |hex: &str| subject.verify(&Signature::new(hex, "", ""), &policy(&Scheme::ALL));
        assert!(ok(&hex) && ok(&hex.to_uppercase()));
        assert!(!ok("") && !ok(&hex[1..]) && !ok(&format!("{hex}0")) && !ok(&hex.replace(&hex[..1], "g")));
        let hmac = Signature::new(&hex, "hmac-sha256", "1000000");
        assert!(!subject.verify(&hmac, &policy(&Scheme::ALL)));
        assert!(!subject.verify(&Signature::new(&hex, "sha1", ""), &policy(&Scheme::ALL)));
    }

    #[test]
    fn hmac_binds_user_border_and_time() {
        let subject = Subject::Connect { source: "demo", userid: "7", room_ids: "a,b" };
        let sign = |ts: &str| to_hex(&subject.hmac(KEY, ts));
        let check = |subject: &Subject<'_>, hex: &str, ts: &str| {
            subject.verify(&Signature::new(hex, "hmac-sha256", ts), &policy(&[Scheme::HmacSha256]))
        };
        for (ts, right) in
            [("1000000", true), ("999700", true), ("1000300", true), ("999699", false), ("1000301", false)]
        {
            assert_eq!(check(&subject, &sign(ts), ts), right, "{ts}");
        }
        for ts in ["", "+1000000", "1e6", "99999999999999999999999"] {
            assert!(!check(&subject, &sign(ts), ts), "{ts}");
        }
        let other = Subject::Connect { source: "demo", userid: "8", room_ids: "a,b" };
        assert!(!check(&other, &sign("1000000"), "1000000"));
        let one = Subject::Notify { source: "s", room_id: "r1", data: b"2x" };
        let two = Subject::Notify { source: "s", room_id: "r12", data: b"x" };
        assert_eq!(one.md5(KEY), two.md5(KEY));
        assert_ne!(one.hmac(KEY, "1"), two.hmac(KEY, "1"));
    }

    #[test]
    fn a_source_may_refuse_a_scheme() {
        let subject = Subject::Connect { source: "demo", userid: "", room_ids: "r" };
        let hex = to_hex(&subject.md5(KEY));
        assert!(!subject.verify(&Signature::new(&hex, "md5", ""), &policy(&[Scheme::HmacSha256])));
    }
}
