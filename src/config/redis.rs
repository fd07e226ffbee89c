//! Section `[redis]`: the cluster of relays, and the URL of its Redis server.

use core::{fmt, net::Ipv6Addr, time::Duration};
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::{
    address::Place,
    error::{MAX_UNIX_PATH, RedisUrlError},
    secret::Secret,
};

/// Section `[redis]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Redis {
    /// The server; `None`: this relay is not part of a cluster.
    pub url: Option<RedisUrl>,
    /// The channel of messages.
    pub channel: String,
    /// The prefix of all keys.
    pub key_prefix: String,
    /// Whether a message with `from_sys` on the channel is accepted without a signature.
    pub trust_from_sys: bool,
    /// The key that signs messages between relays; `None`: they are not signed.
    pub secret: Option<Secret>,
    /// The largest number of bytes of publications that are buffered until Redis confirms them.
    pub buffer: u64,
    /// How long they are buffered.
    pub buffer_age: Duration,
    /// The interval of heartbeats. A relay's heartbeat key expires after four of them; it counts as dead when two
    /// checks in a row find no key.
    pub heartbeat: Duration,
}

impl Default for Redis {
    fn default() -> Redis {
        Redis {
            url: None,
            channel: "xin_common_chat".into(),
            key_prefix: "node.xin.com:".into(),
            trust_from_sys: true,
            secret: None,
            buffer: 4_194_304,
            buffer_age: Duration::from_secs(60),
            heartbeat: Duration::from_secs(5),
        }
    }
}

/// The URL of a Redis server. `Display` leaves out user and password, so that it can be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUrl {
    /// The server.
    pub place: Place,
    /// The user (ACL, since Redis 6); empty: the default user.
    pub user: String,
    /// The password of the user, or `requirepass` of the server.
    pub password: Option<Secret>,
    /// The number of the database for keys. Channels are the same in all databases.
    pub database: u32,
}

impl RedisUrl {
    /// Parses `redis://[user:pass@]host[:port][/db]` or `unix:[user:pass@]/path[?db=N]`, with user and password
    /// percent-encoded.
    pub fn parse(text: &str) -> Result<RedisUrl, RedisUrlError> {
        if text.starts_with("rediss:") {
            return Err(RedisUrlError::Tls);
        }
        let unix = ["unix://", "unix:", "redis+unix://"].into_iter().find_map(|scheme| text.strip_prefix(scheme));
        let (credentials, rest) = split_credentials(unix.or(text.strip_prefix("redis://")).ok_or(RedisUrlError::Form)?);
        let (user, password) = match credentials {
            None => (String::new(), None),
            Some(pair) => {
                let (user, password) = pair.split_once(':').unwrap_or((pair, ""));
                let decode = |text: &str| percent_decode_str(text).decode_utf8().map(|text| text.into_owned());
                let (user, password) = (
                    decode(user).map_err(|_| RedisUrlError::Form)?,
                    decode(password).map_err(|_| RedisUrlError::Form)?,
                );
                (user, Some(password).filter(|password| !password.is_empty()).map(Secret))
            }
        };
        if !user.is_empty() && password.is_none() {
            return Err(RedisUrlError::UserWithoutPassword);
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut database = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let number = pair.strip_prefix("db=").ok_or(RedisUrlError::Parameter)?;
            database = Some(number);
        }
        let place = match unix {
            Some(_) if rest.starts_with('/') && rest.len() <= MAX_UNIX_PATH => Place::Unix(PathBuf::from(rest)),
            Some(_) => return Err(RedisUrlError::UnixPath),
            None => {
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                if !path.is_empty() {
                    database = Some(path);
                }
                host(authority).ok_or(RedisUrlError::Form)?
            }
        };
        let database = match database {
            None => 0,
            Some(text) => text.parse().map_err(|_| RedisUrlError::Database)?,
        };
        Ok(RedisUrl { place, user, password, database })
    }
}

/// Splits `user:pass@` off.
fn split_credentials(rest: &str) -> (Option<&str>, &str) {
    let end = match rest.find('@') {
        // The path of a Unix socket may contain an @ as well. Credentials contain no slash: that is written %2F.
        Some(at) if !rest[..at].contains('/') => at,
        _ => return (None, rest),
    };
    (Some(&rest[..end]), &rest[end + 1..])
}

/// Parses `host[:port]`; the port defaults to 6379.
fn host(authority: &str) -> Option<Place> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port != 0)?),
        _ => (authority, 6379),
    };
    let plain = |host: &str| !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic());
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(|_| Place::Tcp(v6.into(), port)),
        None => (plain(host) && !host.contains([':', '[', ']', '@'])).then(|| Place::Tcp(host.into(), port)),
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Tcp(host, port) if host.contains(':') => write!(f, "redis://[{host}]:{port}/{}", self.database),
            Place::Tcp(host, port) => write!(f, "redis://{host}:{port}/{}", self.database),
            Place::Unix(path) => write!(f, "unix:{}?db={}", path.display(), self.database),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, user: &str, password: &str, database: u32) -> Result<RedisUrl, RedisUrlError> {
        let password = Some(password).filter(|password| !password.is_empty()).map(|password| Secret(password.into()));
        Ok(RedisUrl { place: Place::Tcp(host.into(), port), user: user.into(), password, database })
    }

    #[test]
    fn urls() {
        assert_eq!(RedisUrl::parse("redis://127.0.0.1:6379"), tcp("127.0.0.1", 6379, "", "", 0));
        assert_eq!(RedisUrl::parse("redis://redis.lan"), tcp("redis.lan", 6379, "", "", 0));
        assert_eq!(RedisUrl::parse("redis://redis.lan/"), tcp("redis.lan", 6379, "", "", 0));
        assert_eq!(RedisUrl::parse("redis://:p%40ss:w@h:7/3"), tcp("h", 7, "", "p@ss:w", 3));
        assert_eq!(RedisUrl::parse("redis://me:secret@[::1]:7/3"), tcp("::1", 7, "me", "secret", 3));
        assert_eq!(RedisUrl::parse("redis://[::1]"), tcp("::1", 6379, "", "", 0));
        let unix = |path: &str, database| RedisUrl {
            place: Place::Unix(path.into()),
            user: String::new(),
            password: None,
            database,
        };
        assert_eq!(RedisUrl::parse("unix:/run/redis.sock"), Ok(unix("/run/redis.sock", 0)));
        assert_eq!(RedisUrl::parse("unix:///run/a@b.sock?db=2"), Ok(unix("/run/a@b.sock", 2)));
        let with = RedisUrl::parse("unix:me:secret@/run/redis.sock?db=1").unwrap();
        assert_eq!((&*with.user, with.password, with.database), ("me", Some(Secret("secret".into())), 1));
        use RedisUrlError::{Database, Form, Parameter, Tls, UnixPath, UserWithoutPassword};
        for (wrong, error) in [
            ("", Form),
            ("127.0.0.1:6379", Form),
            ("http://a", Form),
            ("redis://", Form),
            ("redis://:0", Form),
            ("redis://a:0", Form),
            ("redis://a:b", Form),
            ("redis://a:1/x", Database),
            ("redis://a b", Form),
            ("redis://user@a", UserWithoutPassword),
            ("redis://[x]:1", Form),
            ("redis://a?tls=1", Parameter),
            ("unix:run/redis.sock", UnixPath),
            ("unix:", UnixPath),
            ("unix:/a?db=x", Database),
            ("redis://a/-1", Database),
            ("redis://x:%ff@a", Form),
            ("rediss://a", Tls),
        ] {
            assert_eq!(RedisUrl::parse(wrong), Err(error), "{wrong}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let url = RedisUrl::parse("redis://me:secret@[::1]:7/3").unwrap();
        assert_eq!(url.to_string(), "redis://[::1]:7/3");
        assert!(!format!("{url:?}").contains("secret"));
        assert!(!RedisUrl::parse("redis://me:secret@:x").unwrap_err().to_string().contains("secret"));
    }
}
