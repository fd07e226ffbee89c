//! Signature schemes.

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

    /// The scheme that is not this one.
    pub const fn other(self) -> Scheme {
        match self {
            Scheme::Md5 => Scheme::HmacSha256,
            Scheme::HmacSha256 => Scheme::Md5,
        }
    }

    /// The number of bytes of a signature.
    pub const fn size(self) -> usize {
        match self {
            Scheme::Md5 => 16,
            Scheme::HmacSha256 => 32,
        }
    }

    /// Whether a text may be meant as the name of a scheme. Another one may be a key in the wrong place.
    pub fn is_like_name(text: &str) -> bool {
        let begins = |name: &str| text.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name));
        text.len() <= LONGEST_NAME && ["md", "sha", "hmac"].into_iter().any(begins)
    }

    /// The scheme called `name`. Case matters.
    pub fn from_name(name: &str) -> Option<Scheme> {
        Scheme::ALL.into_iter().find(|scheme| scheme.name() == name)
    }
}

/// Bytes of the longest name of a hash that people write, such as `hmac-sha512-256`.
const LONGEST_NAME: usize = 16;
