//! The last fields of a publication: its number, the name of the relay that published it, and an HMAC if `redis.secret`
//! is set.

use std::io::Write;

use crate::sign::{hmac_hex, same_secret};

/// Adds these fields to the publications of this relay, and checks them in publications of others.
pub struct Seal {
    /// `,"node":"…"`.
    own: Box<str>,
    secret: Option<Box<[u8]>>,
    /// Seconds by which the time of a signed publication may be off.
    window: u64,
}

/// The origin of a publication.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened<'a> {
    /// This relay.
    Own,
    /// Another relay, an old server or a backend: the text, and whether it is signed with `redis.secret`.
    Foreign(&'a str, bool),
    /// Unknown: it is not UTF-8.
    NotText,
}

impl Seal {
    /// A seal for the relay `node`.
    pub fn new(node: &str, secret: Option<&[u8]>, window: u64) -> Seal {
        Seal { own: format!(",\"node\":\"{node}\"").into(), secret: secret.map(Into::into), window }
    }

    /// Whether there is a secret, so that relays sign.
    pub fn signs(&self) -> bool {
        self.secret.is_some()
    }

    /// Completes a JSON object that has no closing brace yet. The signature covers `place` and the time, too.
    pub fn close(&self, payload: &mut Vec<u8>, number: u64, place: &str, unix: u64) {
        if self.signs() {
            write!(payload, ",\"ts\":{unix}").expect("writing to memory succeeds");
        }
        write!(payload, ",\"seq\":{number}{}", self.own).expect("writing to memory succeeds");
        if let Some(secret) = &self.secret {
            let hmac = signature(secret, place, payload);
            write!(payload, "{HMAC}{hmac}\"").expect("writing to memory succeeds");
        }
        payload.push(b'}');
    }

    /// Checks the origin of a publication. This relay recognizes its own publications by their last bytes.
    pub fn open<'a>(&self, payload: &'a [u8], place: &str, unix: u64) -> Opened<'a> {
        let Ok(text) = core::str::from_utf8(payload) else { return Opened::NotText };
        let (mut body, mut authentic) = (text.trim_ascii_end().strip_suffix('}').unwrap_or(text), false);
        if let Some(before) = body.len().checked_sub(HMAC.len() + 65)
            && let Some((signed, tail)) = body.split_at_checked(before)
            && let Some(hmac) = tail.strip_prefix(HMAC).and_then(|tail| tail.strip_suffix('"'))
        {
            let right =
                |secret: &[u8]| same_secret(signature(secret, place, signed.as_bytes()).as_bytes(), hmac.as_bytes());
            authentic = self.secret.as_deref().is_some_and(right) && self.is_fresh(signed, unix);
            body = signed;
        }
        match body.ends_with(&*self.own) {
            true => Opened::Own,
            false => Opened::Foreign(text, authentic),
        }
    }

    /// Whether the time of a signed publication is within the window. Data can contain a `ts`, too; relays write theirs
    /// last.
    fn is_fresh(&self, signed: &str, unix: u64) -> bool {
        let digits = signed.rsplit_once(",\"ts\":").and_then(|(_, rest)| rest.split(',').next());
        digits.and_then(|digits| digits.parse::<u64>().ok()).is_some_and(|ts| ts.abs_diff(unix) <= self.window)
    }
}

fn signature(secret: &[u8], place: &str, payload: &[u8]) -> String {
    hmac_hex(secret, &[place.as_bytes(), b"\n", payload].concat())
}

const HMAC: &str = ",\"hmac\":\"";

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(seal: &Seal, body: &str) -> String {
        let mut payload = body.as_bytes().to_vec();
        seal.close(&mut payload, 7, "here", 1000);
        String::from_utf8(payload).unwrap()
    }

    #[test]
    fn seals() {
        let (one, two) = (Seal::new("aaaaaa", None, 300), Seal::new("bbbbbb", None, 300));
        let open = |seal: &Seal, text: &str| match seal.open(text.as_bytes(), "here", 1000) {
            Opened::Foreign(same, authentic) if same == text => Some(authentic),
            Opened::Own => None,
            other => panic!("{other:?}"),
        };
        let text = sealed(&one, "{\"a\":1");
        assert_eq!(text, r#"{"a":1,"seq":7,"node":"aaaaaa"}"#);
        assert_eq!((open(&one, &text), open(&two, &text)), (None, Some(false)));
        assert_eq!((open(&one, "{}"), open(&one, "")), (Some(false), Some(false)));
        assert_eq!(one.open(b"\xff}", "here", 1000), Opened::NotText);

        let (mine, yours) = (Seal::new("aaaaaa", Some(b"k"), 300), Seal::new("bbbbbb", Some(b"k"), 300));
        let text = sealed(&mine, "{\"a\":1");
        assert!(text.starts_with(r#"{"a":1,"ts":1000,"seq":7,"node":"aaaaaa","hmac":""#), "{text}");
        assert_eq!((open(&mine, &text), open(&yours, &text)), (None, Some(true)));
        assert_eq!(open(&Seal::new("bbbbbb", Some(b"x"), 300), &text), Some(false));
        assert_eq!(open(&two, &text), Some(false));
        assert_eq!(open(&yours, &text.replace("\"a\":1", "\"a\":2")), Some(false));
        assert_eq!(open(&yours, &"é".repeat(60)), Some(false));
    }

    #[test]
    fn a_signature_is_for_one_place_and_one_time() {
        let (mine, yours) = (Seal::new("aaaaaa", Some(b"k"), 300), Seal::new("bbbbbb", Some(b"k"), 300));
        let text = sealed(&mine, "{\"a\":1");
        for (place, unix, right) in [
            ("here", 1300, true),
            ("here", 700, true),
            ("here", 1301, false),
            ("here", 699, false),
            ("there", 1000, false),
        ] {
            assert_eq!(yours.open(text.as_bytes(), place, unix), Opened::Foreign(&text, right), "{place} {unix}");
        }
    }
}
