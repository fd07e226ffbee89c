//! Addresses to listen on, with what applies to connections there.

use core::fmt;

use super::{address::Address, error::ValueError};

/// An address to listen on. `Display` writes it as it was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// The address.
    pub address: Address,
    /// Whether each connection begins with a header of the PROXY protocol.
    pub proxied: bool,
    /// Whether connections use TLS.
    pub tls: bool,
    /// Whether it is an address of `admin.listen`, with metrics and health checks only.
    pub metrics_only: bool,
    /// Which users of this machine may connect to a Unix socket.
    pub access: Access,
}

/// The access to the file of a Unix socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The mode of the file.
    pub mode: Option<u32>,
    /// The name or number of its owner.
    pub user: Option<String>,
    /// The name or number of its group.
    pub group: Option<String>,
}

impl ListenAddress {
    /// Parses `host:port`, `[v6]:port`, `tls://host:port`, `unix:PATH` or `unix:PATH?mode=0660&group=NAME&user=NAME`, or one of
    /// them after `proxy+`; there `host:port` is written `tcp://host:port`.
    pub fn parse(text: &str) -> Result<ListenAddress, ValueError> {
        let (place, proxied) = match text.strip_prefix("proxy+") {
            Some(rest) if rest.starts_with("unix:") => (rest, true),
            Some(rest) if rest.starts_with("tls://") => (rest, true),
            Some(rest) => (rest.strip_prefix("tcp://").ok_or_else(|| ValueError::Address(text.into()))?, true),
            None => (text, false),
        };
        let (place, tls) = match (text.strip_prefix("tls://"), text.strip_prefix("proxy+tls://")) {
            (Some(rest), _) | (_, Some(rest)) if !rest.starts_with("unix:") => (rest, true),
            _ => (place, false),
        };
        let (place, options) = match place.split_once('?') {
            Some((place, options)) if place.starts_with("unix:") => (place, Some(options)),
            _ => (place, None),
        };
        let mut access = Access::default();
        for option in options.into_iter().flat_map(|options| options.split('&')) {
            access.set(option).ok_or_else(|| ValueError::SocketOption(option.into()))?;
        }
        if (access.user.is_some() || access.group.is_some()) && access.mode.is_none() {
            access.mode = Some(GROUP_MODE);
        }
        let address = Address::parse(place).map_err(|error| match error {
            ValueError::Address(_) if options.is_none() => ValueError::Address(text.into()),
            error => error,
        })?;
        Ok(ListenAddress { address, proxied, tls, metrics_only: false, access })
    }

    /// Parses an element of `admin.listen`: `host:port`, `[v6]:port` or `unix:PATH`, with the options of the latter.
    pub fn parse_metrics_only(text: &str) -> Result<ListenAddress, ValueError> {
        match ListenAddress::parse(text)? {
            parsed if parsed.proxied || parsed.tls => Err(ValueError::MetricsAddress(text.into())),
            parsed => Ok(ListenAddress { metrics_only: true, ..parsed }),
        }
    }
}

impl Access {
    /// Sets `name=value`. `None` if it is unknown, repeated or not valid.
    fn set(&mut self, option: &str) -> Option<()> {
        let (name, value) = option.split_once('=')?;
        let text = |into: &mut Option<String>| {
            let is_name = |byte: u8| byte.is_ascii_graphic() && !b":,/".contains(&byte);
            let valid = !value.is_empty() && value.len() <= 256 && value.bytes().all(is_name);
            (valid && into.replace(value.into()).is_none()).then_some(())
        };
        match name {
            "mode" => {
                let digits = (3..=4).contains(&value.len()) && value.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
                let mode = u32::from_str_radix(value, 8).ok().filter(|mode| digits && *mode <= 0o777)?;
                self.mode.replace(mode).is_none().then_some(())
            }
            "user" => text(&mut self.user),
            "group" => text(&mut self.group),
            _ => None,
        }
    }
}

impl From<Address> for ListenAddress {
    fn from(address: Address) -> ListenAddress {
        ListenAddress { address, proxied: false, tls: false, metrics_only: false, access: Access::default() }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Access { mode, user, group } = &self.access;
        f.write_str(scheme(matches!(self.address, Address::Tcp(_)), self.proxied, self.tls))?;
        write!(f, "{}", self.address)?;
        let mut separator = '?';
        let mut option = |f: &mut fmt::Formatter<'_>, name: &str, value: &str| {
            write!(f, "{}{name}={value}", core::mem::replace(&mut separator, '&'))
        };
        if let Some(mode) = mode {
            option(f, "mode", &format!("{mode:04o}"))?;
        }
        user.iter().try_for_each(|user| option(f, "user", user))?;
        group.iter().try_for_each(|group| option(f, "group", group))
    }
}

/// What stands before an address to listen on.
pub fn scheme(tcp: bool, proxied: bool, tls: bool) -> &'static str {
    match (tcp, proxied, tls) {
        (true, false, true) => "tls://",
        (true, true, true) => "proxy+tls://",
        (true, true, false) => "proxy+tcp://",
        (false, true, _) => "proxy+",
        (_, false, _) => "",
    }
}

/// The mode of a socket whose owner or group is given: nobody else can connect.
const GROUP_MODE: u32 = 0o660;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for text in [
            "127.0.0.1:4000",
            "[::]:0",
            "unix:/run/relay.sock",
            "unix:r?mode=0600",
            "unix:/run/relay.sock?mode=0660&user=relay&group=www-data",
            "proxy+tcp://127.0.0.1:4000",
            "proxy+tcp://[::1]:4000",
            "tls://0.0.0.0:4443",
            "tls://[::]:4443",
            "proxy+tls://127.0.0.1:4443",
            "proxy+unix:/run/relay.sock?mode=0666",
        ] {
            assert_eq!(ListenAddress::parse(text).unwrap().to_string(), text);
        }
        let parsed = ListenAddress::parse("proxy+unix:/r?group=33").unwrap();
        assert_eq!((parsed.proxied, &parsed.address), (true, &Address::Unix("/r".into())));
        assert_eq!(parsed.access, Access { mode: Some(0o660), user: None, group: Some("33".into()) });
    }

    #[test]
    fn addresses_for_metrics() {
        for text in ["127.0.0.1:9400", "unix:/run/relay/metrics.sock?mode=0660"] {
            let parsed = ListenAddress::parse_metrics_only(text).unwrap();
            assert!(parsed.metrics_only);
            assert_eq!(parsed.to_string(), text);
        }
        assert!(!ListenAddress::parse("127.0.0.1:9400").unwrap().metrics_only);
        for text in ["tls://127.0.0.1:9400", "proxy+tcp://127.0.0.1:9400", "proxy+unix:/r"] {
            assert_eq!(ListenAddress::parse_metrics_only(text), Err(ValueError::MetricsAddress(text.into())));
        }
        assert_eq!(ListenAddress::parse_metrics_only("9400"), Err(ValueError::Address("9400".into())));
    }

    #[test]
    fn wrong_addresses() {
        for text in [
            "proxy+127.0.0.1:1",
            "proxy+http://a:1",
            "tcp://a:1",
            "proxy+tcp://",
            "a:1?mode=0600",
            "unix:?mode=0600",
            "tls://",
            "tls://a",
            "tls://unix:/r",
            "proxy+tls://unix:/r",
            "tls+unix:/r",
            "tls://tls://a:1",
            "tls://proxy+tls://a:1",
        ] {
            assert!(ListenAddress::parse(text).is_err(), "{text}");
        }
        for option in [
            "mode=",
            "mode=9",
            "mode=66",
            "mode=668",
            "mode=06666",
            "mode=1777",
            "mode=+66",
            "mode=0660&mode=0660",
            "group=",
            "group=a b",
            "group=a/b",
            "user",
            "owner=a",
            "user=a&user=b",
            "mode=0660&",
        ] {
            let error = ListenAddress::parse(&format!("unix:/r?{option}")).unwrap_err();
            assert!(matches!(error, ValueError::SocketOption(_)), "{option}: {error}");
        }
        let error = ListenAddress::parse("unix:/r?mode=rw").unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected mode=0660, user=NAME or group=NAME after the ? of a unix socket, not \"mode=rw\""
        );
    }
}
