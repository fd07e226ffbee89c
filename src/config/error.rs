//! Why values of the configuration are refused.

use core::{error, fmt};
use std::io;

/// Why a value is refused, with the value. `Display` says what is expected and what was found; the caller adds the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueError {
    /// Not an address to listen on.
    Address(String),
    /// The path of a Unix socket has this many bytes.
    UnixPath(usize),
    /// Not an address or a network.
    Network(String),
    /// Not a URL of a backend.
    Backend(String),
    /// Not an origin.
    Origin(String),
    /// Not a path of a URL.
    Path(String),
    /// Not a name of a subprotocol.
    Protocol(String),
    /// Not a scheme of signatures.
    Scheme(String),
    /// Not an event that the backend can be called for.
    HookEvent(String),
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (expected, found) = match self {
            ValueError::UnixPath(length) => {
                return write!(f, "the path of a unix socket must have 1 to {MAX_UNIX_PATH} bytes, not {length}");
            }
            ValueError::Address(found) => ("expected host:port, [v6]:port or unix:PATH", found),
            ValueError::Network(found) => ("expected an address, address/prefix or \"unix\"", found),
            ValueError::Backend(found) => ("expected http://host:port/path or http://unix:/SOCKET:/path", found),
            ValueError::Origin(found) => ("expected \"*\" or an origin like \"https://example.org\"", found),
            ValueError::Protocol(found) => {
                ("expected a subprotocol's name, of A-Z a-z 0-9 and ! # $ % & ' * + - . ^ _ ` | ~", found)
            }
            ValueError::Path(found) => return write!(f, "expected {A_PATH}, not {found:?}"),
            ValueError::Scheme(found) => ("expected \"md5\" or \"hmac-sha256\"", found),
            ValueError::HookEvent(found) => ("expected \"connect\", \"disconnect\" or \"message\"", found),
        };
        write!(f, "{expected}, not {found:?}")
    }
}

impl error::Error for ValueError {}

/// Why a text is not the URL of a Redis server. `Display` does not contain the text: it may have a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisUrlError {
    /// It does not have the form of such a URL.
    Form,
    /// It asks for TLS (`rediss:`).
    Tls,
    /// It has a user without a password.
    UserWithoutPassword,
    /// Its query has another parameter than `db`.
    Parameter,
    /// The path of the Unix socket is not absolute, or too long.
    UnixPath,
    /// The database is not a number.
    Database,
}

impl fmt::Display for RedisUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RedisUrlError::Form => "expected redis://[user:pass@]host:port/db or unix:/path?db=0",
            RedisUrlError::Tls => "TLS is not supported: use stunnel or a VPN, and redis:// with its address",
            RedisUrlError::UserWithoutPassword => "a user needs a password: redis://user:pass@host:port",
            RedisUrlError::Parameter => "the only parameter is db=",
            RedisUrlError::UnixPath => "the path of a unix socket must begin with / and have at most 107 bytes",
            RedisUrlError::Database => {
                "the database must be a number (in a password write / as %2F, @ as %40, ? as %3F)"
            }
        })
    }
}

impl error::Error for RedisUrlError {}

/// Why the content of a file that the configuration names cannot be used.
#[derive(Debug)]
pub enum FileError {
    /// The name of the file is empty.
    NoName,
    /// The file has nothing but white space.
    Empty,
    /// The file cannot be read.
    Read(io::Error),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::NoName => f.write_str("the name of the file is empty"),
            FileError::Empty => f.write_str("the file is empty"),
            FileError::Read(error) => error.fmt(f),
        }
    }
}

impl error::Error for FileError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            FileError::Read(error) => Some(error),
            FileError::NoName | FileError::Empty => None,
        }
    }
}

/// The expected form of a path of a URL, for messages.
pub const A_PATH: &str = "a path that begins with / and has no ?, # or space";
/// Bytes of the path of a Unix socket: `sun_path` without its NUL (`unix(7)`).
pub const MAX_UNIX_PATH: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_name_the_expected_form_and_the_value() {
        let x = || String::from("x");
        for (error, text) in [
            (ValueError::Address(x()), "expected host:port, [v6]:port or unix:PATH, not \"x\""),
            (ValueError::UnixPath(108), "the path of a unix socket must have 1 to 107 bytes, not 108"),
            (ValueError::Network(x()), "expected an address, address/prefix or \"unix\", not \"x\""),
            (ValueError::Backend(x()), "expected http://host:port/path or http://unix:/SOCKET:/path, not \"x\""),
            (ValueError::Origin(x()), "expected \"*\" or an origin like \"https://example.org\", not \"x\""),
            (ValueError::Path(x()), "expected a path that begins with / and has no ?, # or space, not \"x\""),
            (ValueError::Scheme(x()), "expected \"md5\" or \"hmac-sha256\", not \"x\""),
            (ValueError::HookEvent(x()), "expected \"connect\", \"disconnect\" or \"message\", not \"x\""),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn redis_urls_are_refused_without_the_password() {
        for (error, text) in [
            (RedisUrlError::Form, "expected redis://[user:pass@]host:port/db or unix:/path?db=0"),
            (RedisUrlError::Tls, "TLS is not supported: use stunnel or a VPN, and redis:// with its address"),
            (RedisUrlError::UserWithoutPassword, "a user needs a password: redis://user:pass@host:port"),
            (RedisUrlError::Parameter, "the only parameter is db="),
            (RedisUrlError::UnixPath, "the path of a unix socket must begin with / and have at most 107 bytes"),
        ] {
            assert_eq!(error.to_string(), text);
        }
        assert!(RedisUrlError::Database.to_string().starts_with("the database must be a number"));
    }

    #[test]
    fn a_file_is_refused_with_the_reason() {
        let missing = FileError::Read(io::Error::new(io::ErrorKind::NotFound, "no such file"));
        assert_eq!(missing.to_string(), "no such file");
        assert!(error::Error::source(&missing).is_some());
        assert_eq!(FileError::Empty.to_string(), "the file is empty");
        assert_eq!(FileError::NoName.to_string(), "the name of the file is empty");
    }
}
