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

    /// The scheme called `name`. Case matters.
    pub fn from_name(name: &str) -> Option<Scheme> {
        Scheme::ALL.into_iter().find(|scheme| scheme.name() == name)
    }
}
