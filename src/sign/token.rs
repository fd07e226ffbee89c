//! Tokens of logins: JSON Web Tokens (RFC 7519) in the compact form of RFC 7515, signed with HS256, EdDSA (RFC 8037) or RS256
//! (docs/protocol.md, Logins that expire).
//!
//! The key decides about the algorithm; the `alg` of a token is only compared with it. So a token cannot choose `none`, and a
//! public key is never the secret of an HMAC. The signature is checked before the claims are read.

use core::fmt;
use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::value::RawValue;
use sha2::Sha256;

use super::{
    subject::same_secret,
    terms::{LEEWAY, has_expired, unix_seconds},
};
use crate::{
    json::{Object, all_fields, quote, string, write_string, write_strings},
    names::has_control,
    tls::PublicKey,
};

mod error;
pub use self::error::{MAX_ROOMS, MAX_TOKEN, TokenError};

/// The keys of a source, and what its tokens must say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenPolicy {
    /// The keys. A token is checked with one of them: the only one, or that of its `kid`.
    pub keys: Vec<TokenKey>,
    /// What `aud` must name. `None`: tokens must have no `aud`.
    pub audience: Option<String>,
    /// What `iss` must be. `None`: anything.
    pub issuer: Option<String>,
}

/// A key, under its name if there are several.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenKey {
    /// The `kid` of its tokens. `None` for the only key of a source, which is for all tokens.
    pub kid: Option<String>,
    verifier: Verifier,
}

#[derive(Clone, PartialEq)]
enum Verifier {
    Secret(String),
    Public(PublicKey),
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm())
    }
}

impl Verifier {
    fn algorithm(&self) -> &'static str {
        match self {
            Verifier::Secret(_) => HS256,
            Verifier::Public(key) => key.algorithm(),
        }
    }
}

impl TokenKey {
    /// A shared secret, for HS256.
    pub fn secret(kid: Option<String>, secret: String) -> TokenKey {
        TokenKey { kid, verifier: Verifier::Secret(secret) }
    }

    /// A public key, for EdDSA or RS256.
    pub fn public(kid: Option<String>, key: PublicKey) -> TokenKey {
        TokenKey { kid, verifier: Verifier::Public(key) }
    }

    /// The secret, if it is one.
    pub fn expose(&self) -> Option<&str> {
        match &self.verifier {
            Verifier::Secret(secret) => Some(secret),
            Verifier::Public(_) => None,
        }
    }

    /// Whether `signature` is one of `signed`.
    fn verify(&self, signed: &[u8], signature: &[u8]) -> bool {
        match &self.verifier {
            Verifier::Secret(secret) => same_secret(&hs256(secret, signed), signature),
            Verifier::Public(key) => key.verify(signed, signature),
        }
    }
}

/// What a valid token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `sub`: the user's id. Empty without one.
    pub userid: String,
    /// `name`: the user's name.
    pub username: Option<String>,
    /// `rooms`: names of rooms, and patterns with `*`.
    pub rooms: Vec<String>,
    /// `post`: whether the session may send messages.
    pub may_post: bool,
    /// `exp`, in Unix seconds.
    pub expires: u64,
}

impl TokenPolicy {
    /// Checks a token at a Unix time. The work is bounded by [`MAX_TOKEN`].
    pub fn verify(&self, token: &str, unix: u64) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::TooLong);
        }
        let mut parts = token.split('.');
        let parts = [parts.next(), parts.next(), parts.next(), parts.next()];
        let [Some(header), Some(payload), Some(signature), None] = parts else { return Err(TokenError::Parts) };
        let decode = |text: &str| BASE64URL.decode(text).map_err(|_| TokenError::Parts);
        let (head, body, signature) = (decode(header)?, decode(payload)?, decode(signature)?);
        let head = fields(&head).ok_or(TokenError::Header)?;
        let key = self.key(&head)?;
        let signed = &token[..header.len() + 1 + payload.len()];
        if !key.verify(signed.as_bytes(), &signature) {
            return Err(TokenError::Signature);
        }
        self.claims(&fields(&body).ok_or(TokenError::Claims)?, unix)
    }

    /// The key that a token must be signed with.
    fn key(&self, head: &Fields<'_>) -> Result<&TokenKey, TokenError> {
        let kid = head.text("kid").map_err(|_| TokenError::Header)?;
        let key = match (&self.keys[..], kid) {
            ([key @ TokenKey { kid: None, .. }], _) => key,
            ([], _) => return Err(TokenError::NotAccepted),
            (_, None) => return Err(TokenError::KidMissing),
            (keys, Some(kid)) => {
                let found = keys.iter().find(|key| key.kid.as_deref() == Some(&kid));
                found.ok_or(TokenError::KidUnknown)?
            }
        };
        let expected = key.verifier.algorithm();
        if head.text("alg").ok().flatten().as_deref() != Some(expected) {
            return Err(TokenError::Algorithm(expected));
        }
        // An extension that relay must understand (RFC 7515 section 4.1.11). It knows none.
        if head.get("crit").is_some() { Err(TokenError::Critical) } else { Ok(key) }
    }

    fn claims(&self, claims: &Fields<'_>, unix: u64) -> Result<Claims, TokenError> {
        let seconds = |name: &'static str| match claims.get(name) {
            None => Ok(None),
            Some(raw) => unix_seconds(raw.get()).map(Some).ok_or(TokenError::Time(name)),
        };
        let expires = seconds("exp")?.ok_or(TokenError::Missing("exp"))?;
        if has_expired(expires, unix) {
            return Err(TokenError::Expired { seconds: unix - expires });
        }
        if let Some(begins) = seconds("nbf")?.filter(|begins| unix.saturating_add(LEEWAY) < *begins) {
            return Err(TokenError::NotYet { seconds: begins - unix });
        }
        self.check_audience(claims)?;
        if self.issuer.is_some() && claims.text("iss")? != self.issuer {
            return Err(TokenError::Issuer);
        }
        let name = |claim: &'static str| match claims.text(claim)? {
            Some(text) if text.len() > MAX_NAME || has_control(&text) => Err(TokenError::Name(claim)),
            text => Ok(text),
        };
        let may_post = match claims.get("post").map(RawValue::get) {
            None | Some("true") => true,
            Some("false") => false,
            Some(_) => return Err(TokenError::Post),
        };
        let rooms = claims.get("rooms").ok_or(TokenError::Missing("rooms"))?;
        let rooms = list(rooms).ok_or(TokenError::Rooms)?;
        let is_possible = |room: &String| !room.is_empty() && !room.contains(',') && !has_control(room);
        if rooms.len() > MAX_ROOMS || !rooms.iter().all(is_possible) {
            return Err(TokenError::Rooms);
        }
        Ok(Claims { userid: name("sub")?.unwrap_or_default(), username: name("name")?, rooms, may_post, expires })
    }

    /// Checks `aud`: a token for somebody else must be refused (RFC 7519 section 4.1.3).
    fn check_audience(&self, claims: &Fields<'_>) -> Result<(), TokenError> {
        let named = match claims.get("aud") {
            None => Vec::new(),
            Some(raw) if raw.get().starts_with('[') => list(raw).ok_or(TokenError::Text("aud"))?,
            Some(_) => claims.text("aud")?.into_iter().collect(),
        };
        match &self.audience {
            Some(audience) if named.contains(audience) => Ok(()),
            None if named.is_empty() => Ok(()),
            _ => Err(TokenError::Audience),
        }
    }
}

/// The members of a JSON object, of which no two have the same name: parsers differ in which one counts.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

fn fields(bytes: &[u8]) -> Option<Fields<'_>> {
    let fields = all_fields(core::str::from_utf8(bytes).ok()?)?;
    let mut names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let is_unique = names.windows(2).all(|pair| pair[0] != pair[1]);
    is_unique.then_some(Fields(fields))
}

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, raw)| *raw)
    }

    /// A string, if it is there.
    fn text(&self, name: &'static str) -> Result<Option<String>, TokenError> {
        let Some(raw) = self.get(name) else { return Ok(None) };
        text(raw).map(Some).ok_or(TokenError::Text(name))
    }
}

/// The value of a string.
fn text(raw: &RawValue) -> Option<String> {
    Some(string(raw.get())?.into_owned())
}

/// The values of an array of strings.
fn list(raw: &RawValue) -> Option<Vec<String>> {
    let items: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
    items.into_iter().map(text).collect()
}

impl Claims {
    /// A token with these claims, signed with a shared secret. `begins` is its `iat`.
    pub fn to_token(&self, secret: &str, kid: Option<&str>, policy: &TokenPolicy, begins: u64) -> String {
        let mut head = b"{\"alg\":\"HS256\",\"typ\":\"JWT\"".to_vec();
        let mut body = Vec::new();
        let member = |out: &mut Vec<u8>, name: &str, value: &str| {
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            write_string(out, value);
        };
        if let Some(kid) = kid {
            member(&mut head, "kid", kid);
        }
        body.extend_from_slice(format!("{{\"sub\":{}", quote(&self.userid)).as_bytes());
        if let Some(name) = &self.username {
            member(&mut body, "name", name);
        }
        for (claim, value) in [("aud", &policy.audience), ("iss", &policy.issuer)] {
            if let Some(value) = value {
                member(&mut body, claim, value);
            }
        }
        body.extend_from_slice(b",\"rooms\":");
        write_strings(&mut body, &self.rooms.iter().map(String::as_str).collect::<Vec<_>>());
        if !self.may_post {
            body.extend_from_slice(b",\"post\":false");
        }
        body.extend_from_slice(format!(",\"iat\":{begins},\"exp\":{}", self.expires).as_bytes());
        let [head, body] = [head, body].map(|mut object| {
            object.push(b'}');
            BASE64URL.encode(object)
        });
        let signed = format!("{head}.{body}");
        let signature = BASE64URL.encode(hs256(secret, signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

fn hs256(secret: &str, signed: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length (RFC 2104)");
    mac.update(signed);
    mac.finalize().into_bytes().into()
}

/// Whether a text may be meant as a token, and not as the admin token: a header of JSON begins with `{"`.
pub fn is_like_token(text: &str) -> bool {
    let mut parts = text.split('.');
    let is_part = |part: Option<&str>| {
        part.is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)))
    };
    text.starts_with("eyJ") && [(); 3].iter().all(|()| is_part(parts.next())) && parts.next().is_none()
}

/// JSON of an object without the member `jwt`, for those who must not learn the token. Any other text is returned as it is.
pub fn without_token(json: &str) -> Cow<'_, str> {
    let has_token = serde_json::from_str::<Object<'_>>(json).is_ok_and(|fields| fields.contains_key(FIELD));
    let Some(fields) = has_token.then(|| all_fields(json)).flatten() else { return json.into() };
    let mut out = b"{".to_vec();
    for (name, raw) in fields.iter().filter(|(name, _)| name != FIELD) {
        if out.len() > 1 {
            out.push(b',');
        }
        write_string(&mut out, name);
        out.push(b':');
        out.extend_from_slice(raw.get().as_bytes());
    }
    out.push(b'}');
    String::from_utf8(out).expect("JSON is text").into()
}

/// The field of a login that has the token.
pub const FIELD: &str = "jwt";

/// The longest `sub` and `name`, in bytes, as those of other logins.
const MAX_NAME: usize = 512;

const HS256: &str = "HS256";

#[cfg(test)]
mod tests;
