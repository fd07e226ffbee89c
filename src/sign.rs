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

use crate::names::has_control;

/// A signature scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// MD5 (RFC 1321) of the fields and the key, concatenated: 16 bytes.
    Md5,
    /// HMAC-SHA256 of the fields, one per line: 32 bytes.
    HmacSha256,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Scheme; 2] = [Scheme::Md5, Scheme::HmacSha256];

    /// The name in `sign_type` and in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Scheme::Md5 => "md5",
            Scheme::HmacSha256 => "hmac-sha256",
        }
    }

    /// The scheme called `name`. Case matters.
    pub fn from_name(name: &str) -> Option<Scheme> {
        Scheme::ALL.into_iter().find(|scheme| scheme.name() == name)
    }
}

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
        Signature { scheme, hex, ts }
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

    /// The signature of scheme [`Scheme::HmacSha256`], with `ts` as sent.
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

    /// Whether `signature` is valid: it is of an accepted scheme, matches the key, and (hmac-sha256) its `ts` is within the
    /// accepted window.
    pub fn verify(&self, signature: &Signature<'_>, policy: &Policy<'_>) -> bool {
        let Some(scheme) = signature.scheme.filter(|scheme| policy.schemes.contains(scheme)) else {
            return false;
        };
        match scheme {
            Scheme::Md5 => matches(signature.hex, &self.md5(policy.key)),
            Scheme::HmacSha256 => {
                let fresh = seconds(signature.ts).is_some_and(|ts| ts.abs_diff(policy.unix) <= policy.window);
                fresh && matches(signature.hex, &self.hmac(policy.key, signature.ts))
            }
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
mod tests {
    use super::*;

    const KEY: &[u8] = b"try4dfs%#fs!#$2334ds(%B)";

    fn policy(schemes: &[Scheme]) -> Policy<'_> {
        Policy { key: KEY, schemes, window: 300, unix: 1_000_000 }
    }

    #[test]
    fn md5_covers_the_concatenation() {
        // From md5sum: `demochat_roomtry4dfs%#fs!#$2334ds(%B)`, and with `hello` before the key.
        let connect = Subject::Connect { source: "demo", userid: "7", room_ids: "chat_room" };
        let notify = Subject::Notify { source: "demo", room_id: "chat_room", data: b"hello" };
        assert_eq!(to_hex(&connect.md5(KEY)), "f837ba41aeedbfb5218c72c9febfe6e0");
        assert_eq!(to_hex(&notify.md5(KEY)), "84c016c32bbcb9da3081b11adad04e85");
    }

    #[test]
    fn hex_digits_of_either_case_are_accepted() {
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
    fn hmac_covers_user_border_and_time() {
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
        for ts in ["1000000.0", "1000000.123456789", "0999700.9"] {
            assert!(check(&subject, &sign(ts), ts), "{ts}");
        }
        for ts in [
            "",
            ".",
            "1000000.",
            ".5",
            "1000000.5.5",
            "1000000.x",
            "+1000000",
            "1e6",
            "1000000\n",
            "999699.9",
            "99999999999999999999999",
        ] {
            assert!(!check(&subject, &sign(ts), ts), "{ts}");
        }
        let other = Subject::Connect { source: "demo", userid: "8", room_ids: "a,b" };
        assert!(!check(&other, &sign("1000000"), "1000000"));
        let one = Subject::Notify { source: "s", room_id: "r1", data: b"2x" };
        let two = Subject::Notify { source: "s", room_id: "r12", data: b"x" };
        assert_eq!(one.md5(KEY), two.md5(KEY));
        assert_ne!(one.hmac(KEY, "1"), two.hmac(KEY, "1"));
    }

    /// md5 covers no border: a login's signature is a notification's for another room.
    #[test]
    fn an_md5_login_is_no_notification_where_schemes_are_apart() {
        let login = Subject::Connect { source: "demo", userid: "7", room_ids: "chat_room" };
        let notify = Subject::Notify { source: "demo", room_id: "chat", data: b"_room" };
        let emit = Subject::Emit { source: "demo", nsp: "/", kind: "nsp", to: "", event: "e", data: b"" };
        let hex = to_hex(&login.md5(KEY));
        let is_valid = |subject: &Subject<'_>, schemes: &Schemes| {
            subject.verify(&Signature::new(&hex, "", ""), &policy(schemes.accepted(subject)))
        };
        let (all, apart) = (Schemes::all(&Scheme::ALL), Schemes::apart());
        assert!(is_valid(&login, &all) && is_valid(&notify, &all));
        assert!(is_valid(&login, &apart) && !is_valid(&notify, &apart));
        assert_eq!(apart.accepted(&emit), [Scheme::HmacSha256]);
    }

    #[test]
    fn no_field_but_data_may_have_a_control_character() {
        use Scheme::{HmacSha256, Md5};
        let connect = |source, userid, room_ids| Subject::Connect { source, userid, room_ids };
        let notify = |source, room_id, data| Subject::Notify { source, room_id, data };
        let emit = |nsp, kind, to, event| Subject::Emit { source: "s", nsp, kind, to, event, data: b"\n" };
        for (subject, field) in [
            (connect("s", "u", "a,b"), None),
            (connect("s\n", "u", "r"), Some("source")),
            (connect("s", "x\nsecret,", "public"), Some("userid")),
            (connect("s", "x", "secret,\npublic"), Some("room_ids")),
            (notify("s", "r", b"\n1700000000\n\0"), None),
            (notify("s\0", "r", b""), Some("source")),
            (notify("s", "public\n1\nhello,secret", b"x"), Some("room_id")),
            (emit("/", "nsp", "", "e"), None),
            (emit("/\n", "nsp", "", "e"), Some("nsp")),
            (emit("/", "room_id", "r\n", "e"), Some("room_id")),
            (emit("/", "userid", "\u{7f}", "e"), Some("userid")),
            (emit("/", "socket_id", "\t", "e"), Some("socket_id")),
            (emit("/", "userid", "7", "e\n1"), Some("event")),
        ] {
            assert_eq!(subject.control_field(HmacSha256), field, "{subject:?}");
            let of_md5 = field.filter(|field| *field != "userid" || matches!(subject, Subject::Emit { .. }));
            assert_eq!(subject.control_field(Md5), of_md5, "{subject:?}");
        }
    }

    /// Without control characters, different fields never have one input.
    #[test]
    fn hmac_inputs_of_different_fields_differ() {
        let texts = ["", "a", "b", "a,b", ",", "connect", "notify", "1"];
        let mut seen = std::collections::BTreeSet::new();
        for (one, two, three) in
            texts.iter().flat_map(|one| texts.iter().flat_map(move |two| texts.map(|three| (*one, *two, three))))
        {
            assert!(seen.insert(Subject::Connect { source: one, userid: two, room_ids: three }.hmac(KEY, "1")));
            for end in ["", "\n", "\na"] {
                let data = [three, end].concat();
                assert!(
                    seen.insert(Subject::Notify { source: one, room_id: two, data: data.as_bytes() }.hmac(KEY, "1"))
                );
            }
        }
    }

    #[test]
    fn a_mark_is_the_beginning_of_the_bytes() {
        let hex = "00112233445566778899aabbccddeeff".repeat(2);
        let mark = Some(Mark { second: 17, digest: 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff });
        assert_eq!(Signature::new(&hex, "hmac-sha256", "17.5").mark(), mark);
        assert_eq!(Signature::new(&hex.to_uppercase(), "hmac-sha256", "17").mark(), mark);
        for (hex, kind, ts) in [(&*hex, "md5", "17"), ("00", "hmac-sha256", "17"), (&*hex, "hmac-sha256", "x")] {
            assert_eq!(Signature::new(hex, kind, ts).mark(), None);
        }
    }

    #[test]
    fn only_accepted_schemes_are_valid() {
        let subject = Subject::Connect { source: "demo", userid: "", room_ids: "r" };
        let hex = to_hex(&subject.md5(KEY));
        assert!(!subject.verify(&Signature::new(&hex, "md5", ""), &policy(&[Scheme::HmacSha256])));
    }
}
