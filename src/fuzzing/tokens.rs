//! Target for the tokens of logins.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};

use crate::sign::{
    Claims, TokenKey, TokenPolicy, hmac_hex,
    token::{MAX_ROOMS, is_like_token, without_token},
};

const SECRET: &str = "secret";
const NOW: u64 = 1_700_000_000;

/// Whatever the bytes are, as a token none is valid: nobody has signed it. As claims that are signed, they are refused, or mean
/// something that is valid again when it is written.
pub fn login_token(bytes: &[u8]) {
    let policy = TokenPolicy { keys: vec![TokenKey::secret(None, SECRET.into())], ..TokenPolicy::default() };
    if let Ok(text) = core::str::from_utf8(bytes) {
        let _ = is_like_token(text);
        assert!(policy.verify(text, NOW).is_err() || text.contains(&hmac_part(text)));
        if serde_json::from_str::<serde_json::Value>(text).is_ok() {
            let shown = serde_json::from_str::<serde_json::Value>(&without_token(text)).expect("it is JSON");
            assert!(shown.get("jwt").is_none());
        }
    }
    let (head, body) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (&b"{\"alg\":\"HS256\"}"[..], bytes),
    };
    let signed = format!("{}.{}", BASE64URL.encode(head), BASE64URL.encode(body));
    let Ok(claims) = policy.verify(&format!("{signed}.{}", hmac_part(&format!("{signed}."))), NOW) else { return };
    assert!(claims.rooms.len() <= MAX_ROOMS && claims.expires + 5 > NOW);
    let again = claims.to_token(SECRET, None, &policy, NOW);
    if again.len() <= crate::sign::token::MAX_TOKEN {
        assert_eq!(policy.verify(&again, NOW), Ok::<Claims, _>(claims));
    }
}

/// The signature that a token should have.
fn hmac_part(token: &str) -> String {
    let signed = token.rsplit_once('.').map_or("", |(signed, _)| signed);
    let bytes = base16ct::lower::decode_vec(hmac_hex(SECRET.as_bytes(), signed.as_bytes())).expect("it is hexadecimal");
    BASE64URL.encode(bytes)
}
