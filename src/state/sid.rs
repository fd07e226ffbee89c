//! The ids that clients get: Engine.IO session ids, which are secret, and the `socket_id` of each session, which is
//! not.
//!
//! There is no table of ids. An id is the key of a slot and 96 bits of an HMAC-SHA256 over that key, in base64url; a
//! look-up verifies the HMAC. The key includes the slot's generation, so an id does not match the next value in the
//! slot.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::key::{ClientKey, Handle, Key, SessionKey};

/// Creates and verifies session ids with a secret of this process.
pub struct Sids([u8; 32]);

impl Sids {
    /// Ids that are signed with `secret`, which must be random.
    pub fn new(secret: [u8; 32]) -> Sids {
        Sids(secret)
    }

    /// The id of a client's Engine.IO session: 27 characters of `A-Z a-z 0-9 - _`. Anyone who knows it can use the
    /// session.
    pub fn engine(&self, client: ClientKey) -> String {
        self.name(b"engine", client.key())
    }

    /// The client with this Engine.IO session id. It may be gone.
    pub fn find(&self, name: &str) -> Option<ClientKey> {
        self.key(b"engine", name).map(ClientKey::wrap)
    }

    /// The `socket_id` of a session: 27 characters of `A-Z a-z 0-9 - _`. It is not a secret.
    pub fn socket(&self, session: SessionKey) -> String {
        self.name(b"socket", session.key())
    }

    /// The session with this `socket_id`. It may be gone.
    pub fn find_socket(&self, name: &str) -> Option<SessionKey> {
        self.key(b"socket", name).map(SessionKey::wrap)
    }

    /// The `pid` of a session, with which its client can come back. It is a secret.
    pub fn private(&self, session: SessionKey) -> String {
        self.name(b"private", session.key())
    }

    /// The session with this `pid`. It may be gone.
    pub fn find_private(&self, name: &str) -> Option<SessionKey> {
        self.key(b"private", name).map(SessionKey::wrap)
    }

    fn name(&self, kind: &[u8], key: Key) -> String {
        let bits = key.to_bits().to_be_bytes();
        let mut name = [0; BITS + TAG];
        name[..BITS].copy_from_slice(&bits);
        name[BITS..].copy_from_slice(&self.tag(kind, &bits));
        BASE64URL.encode(name)
    }

    fn key(&self, kind: &[u8], name: &str) -> Option<Key> {
        let name = BASE64URL.decode(name.as_bytes()).ok().filter(|name| name.len() == BITS + TAG)?;
        let (bits, tag) = name.split_at(BITS);
        let right: bool = self.tag(kind, bits).ct_eq(tag).into();
        let bits = u64::from_be_bytes(bits.try_into().ok()?);
        Key::from_bits(bits).filter(|_| right)
    }

    fn tag(&self, kind: &[u8], bits: &[u8]) -> [u8; TAG] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(kind);
        mac.update(bits);
        let whole = mac.finalize().into_bytes();
        whole[..TAG].try_into().expect("SHA-256 has 32 bytes")
    }
}

/// Bytes of the key and of the truncated HMAC in an id.
const BITS: usize = 8;
const TAG: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(bits: u64) -> ClientKey {
        ClientKey::wrap(Key::from_bits(bits).unwrap())
    }

    #[test]
    fn found_by_name_only() {
        let sids = Sids::new([7; 32]);
        let client = key((3 << 32) | 5);
        let name = sids.engine(client);
        assert_eq!((name.len(), sids.find(&name)), (27, Some(client)));
        assert_ne!(name, sids.engine(key((4 << 32) | 5)), "the next owner of the slot");
        assert_eq!(Sids::new([8; 32]).find(&name), None);
        for index in 0..name.len() {
            let mut wrong = name.clone().into_bytes();
            wrong[index] = if wrong[index] == b'A' { b'B' } else { b'A' };
            assert_eq!(sids.find(core::str::from_utf8(&wrong).unwrap()), None, "{index}");
        }
        for wrong in ["", "x", &name[1..], &format!("{name}A"), "ä"] {
            assert_eq!(sids.find(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sockets_have_other_names() {
        let sids = Sids::new([7; 32]);
        let session = SessionKey::wrap(Key::from_bits((3 << 32) | 5).unwrap());
        let (socket, engine) = (sids.socket(session), sids.engine(key((3 << 32) | 5)));
        assert_eq!(sids.find_socket(&socket), Some(session));
        assert!(sids.find_socket(&engine).is_none() && sids.find(&socket).is_none(), "one does not make the other");
    }
}
