//! Why values of the configuration are refused.

use core::{
    error, fmt,
    net::{Ipv4Addr, Ipv6Addr},
};
use std::io;

use super::origins::OriginError;
use crate::sign::Scheme;

/// Why a value is refused, with the value. `Display` says what is expected and what was found; the caller adds the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueError {
    /// Not an address to listen on.
    Address(String),
    /// An address to listen on that cannot be for metrics only.
    MetricsAddress(String),
    /// The path of a Unix socket has this many bytes.
    UnixPath(usize),
    /// Not an option of a Unix socket.
    SocketOption(String),
    /// Not an address or a network.
    Network(String),
    /// Not a URL of a backend.
    Backend(String),
    /// Not an origin: the reason and the text.
    Origin(OriginError, String),
    /// Not a path of a URL.
    Path(String),
    /// Not a name of a subprotocol.
    Protocol(String),
    /// Not a pattern for names of rooms.
    RoomPattern(String),
    /// Not a scheme of signatures.
    Scheme(String),
    /// Not a field that says who sent a message.
    SenderField(String),
    /// Not an event that the backend can be called for.
    HookEvent(String),
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (expected, found) = match self {
            ValueError::UnixPath(length) => {
                return write!(f, "the path of a unix socket must have 1 to {MAX_UNIX_PATH} bytes, not {length}");
            }
            ValueError::Address(found) => {
                let cure = address_cure(found);
                return write!(
                    f,
                    "expected host:port, *:port, [v6]:port, tls://host:port or unix:PATH, or proxy+tcp://host:port, \
                     proxy+tls://host:port or proxy+unix:PATH, not {found:?}{cure}"
                );
            }
            ValueError::MetricsAddress(found) => {
                ("expected host:port, *:port, [v6]:port or unix:PATH, without TLS and PROXY protocol", found)
            }
            ValueError::SocketOption(found) => {
                ("expected mode=0660, user=NAME or group=NAME after the ? of a unix socket", found)
            }
            ValueError::Network(found) => {
                let cure = if found.contains(|c: char| c.is_ascii_alphabetic() && !c.is_ascii_hexdigit()) {
                    ": names are not looked up, write the proxy's address"
                } else {
                    ""
                };
                return write!(f, "expected an address, address/prefix or \"unix\", not {found:?}{cure}");
            }
            ValueError::Backend(found) => {
                let cure = match found.split_once("://") {
                    Some(("http" | "https", rest)) if rest.contains('@') => {
                        ": no user and password, calls are signed with hooks.secret"
                    }
                    Some(("http" | "https", rest)) if rest.contains('#') => {
                        ": a fragment (#…) is never sent, leave it out"
                    }
                    Some(("https", rest)) if rest.starts_with("unix:") => ": a Unix socket needs no TLS, write http://",
                    Some(("https", _)) => ": TLS needs a host name or an IP address that can be in a certificate",
                    None if !found.is_empty() => ": the http:// is missing",
                    _ => "",
                };
                // What stands before an @ may be a password.
                let shown = if found.contains('@') { "a URL with an @".into() } else { format!("{found:?}") };
                return write!(
                    f,
                    "expected http://host:port/path, https:// for TLS, or http://unix:/SOCKET:/path, not {shown}{cure}"
                );
            }
            ValueError::Origin(error, found) => return write!(f, "{error}, not {found:?}"),
            ValueError::Protocol(found) => {
                ("expected a subprotocol's name, of A-Z a-z 0-9 and ! # $ % & ' * + - . ^ _ ` | ~", found)
            }
            ValueError::Path(found) => return write!(f, "expected {A_PATH}, not {found:?}"),
            ValueError::Scheme(found) if !Scheme::is_like_name(found) => return f.write_str(NO_SCHEME),
            ValueError::Scheme(found) => ("expected \"md5\" or \"hmac-sha256\"", found),
            ValueError::SenderField(found) => ("expected \"userid\", \"username\" or \"socket_id\"", found),
            ValueError::RoomPattern(found) => {
                ("expected the name of a room, in which * stands for any characters, without a comma", found)
            }
            ValueError::HookEvent(found) => ("expected \"connect\", \"disconnect\" or \"message\"", found),
        };
        write!(f, "{expected}, not {found:?}")
    }
}

impl error::Error for ValueError {}

/// The error for a text that is no name of a scheme, and may be a key.
const NO_SCHEME: &str = "expected \"md5\" or \"hmac-sha256\"; a key belongs in sign_key";

/// How an address to listen on is probably meant.
fn address_cure(found: &str) -> String {
    let prefix = ["proxy+tcp://", "proxy+tls://", "tls://"].into_iter().find(|prefix| found.starts_with(prefix));
    let prefix = prefix.unwrap_or_default();
    let found = &found[prefix.len()..];
    let write = |address: &str| format!(": write \"{prefix}{address}\"");
    let port = |text: &str| text.parse::<u16>().is_ok();
    let (host, rest) = found.rsplit_once(':').unwrap_or((found, ""));
    match () {
        () if port(found) => {
            format!(
                ": write \"{prefix}127.0.0.1:{found}\" for this machine only, or \"{prefix}*:{found}\" for all addresses"
            )
        }
        () if host.is_empty() && port(rest) => {
            format!(
                ": write \"{prefix}*:{rest}\" for all addresses, or \"{prefix}127.0.0.1:{rest}\" for this machine only"
            )
        }
        () if found.contains("://") => ": leave out what is before the host name, and any path".into(),
        () if found.starts_with(['/', '.']) => write(&format!("unix:{found}")),
        () if found.parse::<Ipv4Addr>().is_ok() => write(&format!("{found}:4000")),
        () if host.parse::<Ipv6Addr>().is_ok() && port(rest) => write(&format!("[{host}]:{rest}")),
        () if found.trim_matches(['[', ']']).parse::<Ipv6Addr>().is_ok() => {
            write(&format!("[{}]:4000", found.trim_matches(['[', ']'])))
        }
        () if found.contains('?') => ": options after a ? are for unix:PATH only".into(),
        () if found.contains('/') => ": an address has no path".into(),
        () if rest.is_empty() => ": the port is missing".into(),
        () if !port(rest) => format!(": the port must be a number from 0 to 65535, not {rest:?}"),
        () => String::new(),
    }
}

/// Why a text is not the URL of a Redis server. `Display` does not contain the text: it may have a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisUrlError {
    /// It does not have the form of such a URL.
    Form,
    /// It asks for Sentinels, but does not name them and their master.
    Sentinels,
    /// It asks for TLS with a host that cannot be the name of a certificate.
    TlsName,
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
            RedisUrlError::Form => {
                "expected redis://[user:pass@]host:port/db, rediss:// for TLS, redis+sentinel://, or unix:/path?db=0"
            }
            RedisUrlError::Sentinels => "expected redis+sentinel://[user:pass@]host:port,host:port/MASTER/db",
            RedisUrlError::TlsName => "TLS needs a host name or an IP address that can be in a certificate",
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
            (
                ValueError::Address(x()),
                "expected host:port, *:port, [v6]:port, tls://host:port or unix:PATH, or proxy+tcp://host:port, \
                 proxy+tls://host:port or proxy+unix:PATH, not \"x\": the port is missing",
            ),
            (
                ValueError::MetricsAddress(x()),
                "expected host:port, *:port, [v6]:port or unix:PATH, without TLS and PROXY protocol, not \"x\"",
            ),
            (ValueError::UnixPath(108), "the path of a unix socket must have 1 to 107 bytes, not 108"),
            (
                ValueError::Network(x()),
                "expected an address, address/prefix or \"unix\", not \"x\": names are not looked up, write the proxy's address",
            ),
            (
                ValueError::Backend(x()),
                "expected http://host:port/path, https:// for TLS, or http://unix:/SOCKET:/path, not \"x\": the http:// is missing",
            ),
            (
                ValueError::Origin(OriginError::Form, x()),
                "expected \"*\", \"null\" or an origin like \"https://example.org\", not \"x\"",
            ),
            (ValueError::Path(x()), "expected a path that begins with / and has no ?, # or space, not \"x\""),
            (ValueError::Scheme("sha1".into()), "expected \"md5\" or \"hmac-sha256\", not \"sha1\""),
            (ValueError::Scheme(x()), "expected \"md5\" or \"hmac-sha256\"; a key belongs in sign_key"),
            (ValueError::SenderField(x()), "expected \"userid\", \"username\" or \"socket_id\", not \"x\""),
            (ValueError::HookEvent(x()), "expected \"connect\", \"disconnect\" or \"message\", not \"x\""),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn addresses_are_refused_with_the_cure() {
        for (address, cure) in [
            ("4000", "write \"127.0.0.1:4000\" for this machine only, or \"*:4000\" for all addresses"),
            (":4000", "write \"*:4000\" for all addresses"),
            ("127.0.0.1", "write \"127.0.0.1:4000\""),
            ("::1", "write \"[::1]:4000\""),
            ("[::1]", "write \"[::1]:4000\""),
            ("fd00::1:4000x", "expected"),
            ("http://a:1", "leave out what is before the host name"),
            ("/run/relay.sock", "write \"unix:/run/relay.sock\""),
            ("a:1/", "an address has no path"),
            ("h:1?mode=1", "options after a ? are for unix:PATH only"),
            ("a", "the port is missing"),
            ("a:", "the port is missing"),
            ("a:http", "the port must be a number from 0 to 65535, not \"http\""),
            ("a:70000", "not \"70000\""),
            ("", "expected"),
        ] {
            let text = ValueError::Address(address.into()).to_string();
            assert!(text.contains(cure), "{address}: {text}");
        }
        for (url, cure) in [
            ("https://-a-", "TLS needs a host name"),
            ("https://unix:/a", "a Unix socket needs no TLS"),
            ("a:80/x", "the http:// is missing"),
            ("http://u:p@a", "no user and password"),
            ("http://a/#x", "a fragment"),
        ] {
            let text = ValueError::Backend(url.into()).to_string();
            assert!(text.contains(cure) && !text.contains("u:p"), "{url}: {text}");
        }
    }

    #[test]
    fn redis_urls_are_refused_without_the_password() {
        for (error, text) in [
            (
                RedisUrlError::Form,
                "expected redis://[user:pass@]host:port/db, rediss:// for TLS, redis+sentinel://, or unix:/path?db=0",
            ),
            (RedisUrlError::Sentinels, "expected redis+sentinel://[user:pass@]host:port,host:port/MASTER/db"),
            (RedisUrlError::TlsName, "TLS needs a host name or an IP address that can be in a certificate"),
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
