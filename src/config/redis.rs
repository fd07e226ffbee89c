//! Section `[redis]`: the cluster of relays, and the URL of its Redis server.

use core::{fmt, net::Ipv6Addr, time::Duration};
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::{
    address::Place,
    error::{MAX_UNIX_PATH, RedisUrlError},
    secret::Secret,
};
use crate::tls::{ClientTls, is_server_name};

/// Section `[redis]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Redis {
    /// The server; `None`: this relay is not part of a cluster.
    pub url: Option<RedisUrl>,
    /// The settings of TLS, if the URL asks for it.
    pub tls: Option<ClientTls>,
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
            tls: None,
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

impl Redis {
    /// Whether a connection that was made with `other` settings can be kept.
    pub fn has_connection_of(&self, other: &Redis) -> bool {
        (&self.url, &self.tls) == (&other.url, &other.tls)
            && (&self.channel, &self.key_prefix, self.heartbeat) == (&other.channel, &other.key_prefix, other.heartbeat)
    }
}

/// The URL of a Redis server. `Display` leaves out user and password, so that it can be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUrl {
    /// The server, or the Sentinels that monitor it.
    pub servers: Servers,
    /// Whether the connections use TLS, to Sentinels as well.
    pub tls: bool,
    /// The user (ACL, since Redis 6); empty: the default user.
    pub user: String,
    /// The password of the user, or `requirepass` of the server.
    pub password: Option<Secret>,
    /// The number of the database for keys. Channels are the same in all databases.
    pub database: u32,
}

/// Where the master is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Servers {
    /// At a fixed place, or where a name leads to.
    One(Place),
    /// Sentinels know it.
    Sentinels(Sentinels),
}

/// Sentinels, which know the address of a master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentinels {
    /// Their hosts and ports.
    pub hosts: Vec<(String, u16)>,
    /// The name of the master.
    pub master: String,
    /// The user at the Sentinels; empty: the default user.
    pub user: String,
    /// The password at the Sentinels, which is not that of Redis.
    pub password: Option<Secret>,
}

impl RedisUrl {
    /// Parses `redis://[user:pass@]host[:port][/db]`, `redis+sentinel://[user:pass@]host[:port],…/master[/db]`, both also as
    /// `rediss`, or `unix:[user:pass@]/path[?db=N]`, with user and password percent-encoded.
    pub fn parse(text: &str) -> Result<RedisUrl, RedisUrlError> {
        let after = |schemes: &[&str]| schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
        let unix = after(&["unix://", "unix:", "redis+unix://"]);
        let sentinels = after(&["redis+sentinel://", "rediss+sentinel://"]);
        let tcp = after(&["redis://", "rediss://"]);
        let tls = text.starts_with("rediss");
        let (credentials, rest) = split_credentials(unix.or(sentinels).or(tcp).ok_or(RedisUrlError::Form)?);
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
        let servers = match unix {
            Some(_) if rest.starts_with('/') && rest.len() <= MAX_UNIX_PATH => {
                Servers::One(Place::Unix(PathBuf::from(rest)))
            }
            Some(_) => return Err(RedisUrlError::UnixPath),
            None => {
                let (authority, mut path) = rest.split_once('/').unwrap_or((rest, ""));
                let servers = if sentinels.is_some() {
                    let master;
                    (master, path) = path.split_once('/').unwrap_or((path, ""));
                    Servers::Sentinels(Sentinels::parse(authority, master).ok_or(RedisUrlError::Sentinels)?)
                } else {
                    let (host, port) = host(authority, 6379).ok_or(RedisUrlError::Form)?;
                    Servers::One(Place::Tcp(host, port))
                };
                if !path.is_empty() {
                    database = Some(path);
                }
                servers
            }
        };
        if tls && !servers.hosts().all(is_server_name) {
            return Err(RedisUrlError::TlsName);
        }
        let database = match database {
            None => 0,
            Some(text) => text.parse().map_err(|_| RedisUrlError::Database)?,
        };
        Ok(RedisUrl { servers, tls, user, password, database })
    }
}

impl Servers {
    /// The hosts that the URL names.
    fn hosts(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Servers::One(Place::Tcp(host, _)) => (Some(host), &[][..]),
            Servers::One(Place::Unix(_)) => (None, &[][..]),
            Servers::Sentinels(sentinels) => (None, sentinels.hosts.as_slice()),
        };
        one.into_iter().chain(many.iter().map(|(host, _)| host)).map(String::as_str)
    }
}

impl Sentinels {
    /// Parses a list of hosts, whose ports default to 26379, and the percent-encoded name of a master.
    fn parse(list: &str, master: &str) -> Option<Sentinels> {
        let hosts: Option<Vec<_>> = list.split(',').map(|part| host(part, 26_379)).collect();
        let hosts = hosts.filter(|hosts| hosts.len() <= MAX_SENTINELS)?;
        let master = percent_decode_str(master).decode_utf8().ok()?.into_owned();
        let valid = !master.is_empty() && !master.contains(|c: char| c.is_control() || c == ' ');
        valid.then_some(Sentinels { hosts, master, user: String::new(), password: None })
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

/// Parses `host[:port]`.
fn host(authority: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port != 0)?),
        _ => (authority, default_port),
    };
    let plain = |host: &str| !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic());
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(|_| (v6.into(), port)),
        None => (plain(host) && !host.contains([':', '[', ']', '@', ','])).then(|| (host.into(), port)),
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        match &self.servers {
            Servers::One(Place::Tcp(host, port)) => write!(f, "{scheme}://{}/{}", Shown(host, *port), self.database),
            Servers::One(Place::Unix(path)) => write!(f, "unix:{}?db={}", path.display(), self.database),
            Servers::Sentinels(sentinels) => {
                write!(f, "{scheme}+sentinel://")?;
                for (index, (host, port)) in sentinels.hosts.iter().enumerate() {
                    write!(f, "{}{}", if index > 0 { "," } else { "" }, Shown(host, *port))?;
                }
                write!(f, "/{}/{}", sentinels.master, self.database)
            }
        }
    }
}

/// A host and a port, with brackets around an IPv6 address.
struct Shown<'h>(&'h str, u16);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown(host, port) = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// The most Sentinels of a URL.
const MAX_SENTINELS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, user: &str, password: &str, database: u32) -> Result<RedisUrl, RedisUrlError> {
        let password = Some(password).filter(|password| !password.is_empty()).map(|password| Secret(password.into()));
        let servers = Servers::One(Place::Tcp(host.into(), port));
        Ok(RedisUrl { servers, tls: false, user: user.into(), password, database })
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
            servers: Servers::One(Place::Unix(path.into())),
            tls: false,
            user: String::new(),
            password: None,
            database,
        };
        assert_eq!(RedisUrl::parse("unix:/run/redis.sock"), Ok(unix("/run/redis.sock", 0)));
        assert_eq!(RedisUrl::parse("unix:///run/a@b.sock?db=2"), Ok(unix("/run/a@b.sock", 2)));
        let with = RedisUrl::parse("unix:me:secret@/run/redis.sock?db=1").unwrap();
        assert_eq!((&*with.user, with.password, with.database), ("me", Some(Secret("secret".into())), 1));
        use RedisUrlError::{Database, Form, Parameter, Sentinels, TlsName, UnixPath, UserWithoutPassword};
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
            ("rediss://", Form),
            ("rediss:/a", Form),
            ("redis://a,b", Form),
            ("rediss://-a-", TlsName),
            ("redis+sentinel://a", Sentinels),
            ("redis+sentinel://a/", Sentinels),
            ("redis+sentinel:///m", Sentinels),
            ("redis+sentinel://a,,b/m", Sentinels),
            ("redis+sentinel://a/m%0d", Sentinels),
            ("redis+sentinel://a/m/x", Database),
            ("rediss+sentinel://a,-/m", TlsName),
        ] {
            // Without TLS, any name is one.
            if error != TlsName || crate::tls::SUPPORTED {
                assert_eq!(RedisUrl::parse(wrong), Err(error), "{wrong}");
            }
        }
    }

    #[test]
    fn tls_and_sentinels() {
        for (text, shown) in [
            ("rediss://me:secret@redis.lan/3", "rediss://redis.lan:6379/3"),
            ("rediss://[::1]:7", "rediss://[::1]:7/0"),
            (
                "redis+sentinel://:secret@a,b:7,[::1]/my%2Fmaster/2",
                "redis+sentinel://a:26379,b:7,[::1]:26379/my/master/2",
            ),
            ("rediss+sentinel://a/m", "rediss+sentinel://a:26379/m/0"),
        ] {
            let url = RedisUrl::parse(text).unwrap();
            assert_eq!((url.to_string().as_str(), url.tls), (shown, text.starts_with("rediss")));
        }
        let many = |count: usize| RedisUrl::parse(&format!("redis+sentinel://{}/m", vec!["a"; count].join(",")));
        assert!(many(MAX_SENTINELS).is_ok() && many(MAX_SENTINELS + 1).is_err());
    }

    #[test]
    fn passwords_are_not_shown() {
        let url = RedisUrl::parse("redis://me:secret@[::1]:7/3").unwrap();
        assert_eq!(url.to_string(), "redis://[::1]:7/3");
        assert!(!format!("{url:?}").contains("secret"));
        assert!(!RedisUrl::parse("redis://me:secret@:x").unwrap_err().to_string().contains("secret"));
    }
}
