//! The origins of pages that may connect (docs/protocol.md, Origins and CORS): the patterns of `origins`, and whether an
//! `Origin` header matches one of them.
//!
//! A browser sends `scheme://host`, with `:port` unless it is the scheme's default, in lower case and with the ASCII form of
//! international names (HTML standard, serialization of an origin), or `null`. The patterns are brought into the same form.

use core::{
    error, fmt,
    net::{Ipv4Addr, Ipv6Addr},
};
use std::collections::BTreeSet;

use crate::text::truncate;

/// The origins that are allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// Whether `*` is one of them.
    any: bool,
    /// Those without a wildcard, in the form of browsers.
    exact: BTreeSet<String>,
    wildcards: Vec<Wildcard>,
}

/// A pattern with a wildcard in place of the first labels of the host, of the port, or of both.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wildcard {
    scheme: String,
    /// For `*.example.org` this is `.example.org`, for `*` it is empty.
    host: String,
    any_label: bool,
    /// `None`: any port.
    port: Option<Option<u16>>,
}

impl Origins {
    /// All origins: `*`.
    pub fn any() -> Origins {
        Origins { any: true, ..Origins::default() }
    }

    /// Adds a pattern of the configuration.
    pub fn add(&mut self, pattern: &str) -> Result<(), OriginError> {
        match pattern {
            "*" => self.any = true,
            _ => match parse_pattern(pattern)? {
                Pattern::Exact(origin) => {
                    self.exact.insert(origin);
                }
                Pattern::Wildcard(wildcard) => self.wildcards.push(wildcard),
            },
        }
        Ok(())
    }

    /// Whether every origin is allowed.
    pub fn allow_all(&self) -> bool {
        self.any
    }

    /// An origin that is allowed; `None` if there are only patterns.
    pub fn first(&self) -> Option<&str> {
        self.exact.iter().map(String::as_str).find(|origin| *origin != NULL)
    }

    /// Whether `null` is allowed: the origin of every page in a sandboxed frame, whoever wrote it.
    pub fn allow_null(&self) -> bool {
        self.exact.contains(NULL)
    }

    /// An element with the scheme of a WebSocket, which no page has.
    pub fn websocket(&self) -> Option<String> {
        let mut all = self.exact.iter().cloned().chain(self.wildcards.iter().map(Wildcard::to_string));
        all.find(|element| element.starts_with("ws://") || element.starts_with("wss://"))
    }

    /// The element of `origins` that would allow `origin`; `None` if no page can have it.
    pub fn element(origin: &str) -> Option<String> {
        match Parts::parse(origin) {
            Ok(parts) => Some(parts.to_string()),
            Err(_) => origin.eq_ignore_ascii_case(NULL).then(|| NULL.into()),
        }
    }

    /// Whether a page of this origin is allowed. The time is linear in the length of `origin` and the number of wildcards.
    pub fn allow(&self, origin: &str) -> bool {
        if self.any {
            return true;
        }
        let Ok(parts) = Parts::parse(origin) else {
            return origin.eq_ignore_ascii_case(NULL) && self.allow_null();
        };
        self.exact.contains(&parts.to_string()) || self.wildcards.iter().any(|wildcard| wildcard.matches(&parts))
    }
}

impl Wildcard {
    fn matches(&self, origin: &Parts) -> bool {
        let host = match self.any_label {
            // At least one label stands before the rest.
            true => origin.host.len() > self.host.len() && origin.host.ends_with(&self.host),
            false => origin.host == self.host,
        };
        host && self.scheme == origin.scheme && self.port.is_none_or(|port| port == origin.port)
    }
}

impl fmt::Display for Wildcard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, if self.any_label { "*" } else { "" }, self.host)?;
        match self.port {
            Some(Some(port)) => write!(f, ":{port}"),
            Some(None) => Ok(()),
            None => f.write_str(":*"),
        }
    }
}

enum Pattern {
    Exact(String),
    Wildcard(Wildcard),
}

fn parse_pattern(pattern: &str) -> Result<Pattern, OriginError> {
    if pattern.eq_ignore_ascii_case(NULL) {
        return Ok(Pattern::Exact(NULL.into()));
    }
    if !pattern.contains('*') {
        return Parts::parse(pattern).map(|parts| Pattern::Exact(parts.to_string()));
    }
    let (scheme, authority) = pattern.split_once("://").ok_or(OriginError::Form)?;
    if let Some(end) = authority.find(END_OF_HOST) {
        return Err(OriginError::Path(format!("{scheme}://{}", &authority[..end])));
    }
    let (authority, any_port) = match authority.strip_suffix(":*") {
        Some(authority) => (authority, true),
        None => (authority, false),
    };
    let (rest, any_label) = match authority.strip_prefix("*.") {
        Some(rest) => (rest, true),
        None => (authority, false),
    };
    // Pages of apps and extensions have hosts that their users cannot know before: Firefox makes a new one for each
    // installation of an extension.
    if authority == "*" && !any_port {
        return match Parts::parse(&format!("{scheme}://x"))? {
            parts if parts.has_domain() => Err(OriginError::AnyHost),
            Parts { scheme, .. } => {
                Ok(Pattern::Wildcard(Wildcard { scheme, host: String::new(), any_label: true, port: None }))
            }
        };
    }
    if rest.contains('*') || scheme.contains('*') {
        return Err(OriginError::Wildcard);
    }
    let parts = Parts::parse(&format!("{scheme}://{rest}"))?;
    if any_label && parts.is_address() {
        return Err(OriginError::Wildcard);
    }
    let host = if any_label { format!(".{}", parts.host) } else { parts.host };
    let port = if any_port { None } else { Some(parts.port) };
    Ok(Pattern::Wildcard(Wildcard { scheme: parts.scheme, host, any_label, port }))
}

/// An origin in the form of browsers. `Display` is that form.
struct Parts {
    scheme: String,
    /// A name, an IPv4 address, or an IPv6 address in brackets. Empty with `file:`.
    host: String,
    /// `None`: the default of the scheme.
    port: Option<u16>,
}

impl Parts {
    fn parse(origin: &str) -> Result<Parts, OriginError> {
        if origin.len() > MAX_ORIGIN {
            return Err(OriginError::TooLong);
        }
        let (scheme, authority) = origin.split_once("://").ok_or(OriginError::Form)?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !is_scheme {
            return Err(OriginError::Form);
        }
        let scheme = scheme.to_ascii_lowercase();
        if scheme == "file" {
            return match authority {
                "" => Ok(Parts { scheme, host: String::new(), port: None }),
                _ => Err(OriginError::File),
            };
        }
        if let Some(end) = authority.find(END_OF_HOST) {
            return Err(OriginError::Path(format!("{scheme}://{}", &authority[..end])));
        }
        if !authority.is_ascii() {
            return Err(OriginError::NotAscii);
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let number = |port: &str| {
            let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            port.parse().ok().filter(|port| digits && *port != 0).ok_or(OriginError::Port)
        };
        let default = match &*scheme {
            "http" | "ws" => Some(80),
            "https" | "wss" => Some(443),
            _ => None,
        };
        let port = port.map(number).transpose()?.filter(|port| Some(*port) != default);
        Ok(Parts { scheme, host: host_of_browsers(host)?, port })
    }

    /// Whether the host is a name of the DNS or an address.
    fn has_domain(&self) -> bool {
        matches!(&*self.scheme, "http" | "https" | "ws" | "wss")
    }

    fn is_address(&self) -> bool {
        self.host.starts_with('[') || self.host.parse::<Ipv4Addr>().is_ok()
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// A host in the form of browsers: in lower case, an IPv6 address as short as possible.
fn host_of_browsers(host: &str) -> Result<String, OriginError> {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().map(|ip| format!("[{ip}]")).map_err(|_| OriginError::Host);
    }
    // One dot at the end makes a name absolute; browsers keep it.
    let labels = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_~+".contains(&byte))
    };
    if !labels.split('.').all(is_label) {
        return Err(OriginError::Host);
    }
    // A last label of digits makes it an address (URL standard, ends in a number).
    let last = labels.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) && host.parse::<Ipv4Addr>().is_err() {
        return Err(OriginError::Host);
    }
    Ok(host.to_ascii_lowercase())
}

/// Why a text is no origin that a page can have. `Display` says what is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginError {
    /// It has no scheme and host.
    Form,
    /// It has a path, a query or a fragment; the text before that.
    Path(String),
    /// The host has characters that are not ASCII.
    NotAscii,
    /// The host is neither a name nor an address.
    Host,
    /// The port is no number from 1 to 65535.
    Port,
    /// A `file:` origin has no host and no path.
    File,
    /// `*` at another place than the first labels of the host or the port.
    Wildcard,
    /// `*` in place of every host.
    AnyHost,
    /// It is longer than any origin.
    TooLong,
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OriginError::Path(origin) => {
                return write!(
                    f,
                    "an origin has no path and no / at its end: write {:?}",
                    truncate(origin, MAX_ORIGIN)
                );
            }
            OriginError::Form => "expected \"*\", \"null\" or an origin like \"https://example.org\"",
            OriginError::NotAscii => {
                "browsers send this host in its ASCII form (xn--…): write what location.origin is in the page's console"
            }
            OriginError::Host => "the host must be a name or an address, with :port or without",
            OriginError::Port => "the port must be a number from 1 to 65535, or *",
            OriginError::File => "pages from files have the origin \"file://\" or \"null\": list both",
            OriginError::Wildcard => {
                "* can stand for the first labels of a host name (\"https://*.example.org\") or for the port \
                 (\"http://localhost:*\")"
            }
            OriginError::AnyHost => "\"*\" alone allows all pages; with a scheme, name the host",
            OriginError::TooLong => "an origin has at most 512 bytes",
        })
    }
}

impl error::Error for OriginError {}

/// The origin of a page without one: in a sandboxed frame, from a `data:` URL, in some browsers from a file.
const NULL: &str = "null";
/// The characters that end the host and the port of a URL.
const END_OF_HOST: [char; 4] = ['/', '?', '#', '\\'];
/// The longest origin, in bytes: a host name has at most 253.
pub const MAX_ORIGIN: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(pattern: &str, origin: &str) -> bool {
        let mut origins = Origins::default();
        origins.add(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        origins.allow(origin)
    }

    #[test]
    fn patterns_match_what_browsers_send() {
        for (pattern, origin) in [
            ("https://shop.example.org", "https://shop.example.org"),
            ("HTTPS://Shop.Example.org", "https://shop.example.org"),
            ("https://shop.example.org", "HTTPS://SHOP.EXAMPLE.ORG"),
            ("https://shop.example.org:443", "https://shop.example.org"),
            ("https://shop.example.org", "https://shop.example.org:443"),
            ("http://shop.example.org:80", "http://shop.example.org"),
            ("http://shop.example.org:0443", "http://shop.example.org:443"),
            ("https://*.example.org", "https://shop.example.org"),
            ("https://*.example.org", "https://a.b.example.org"),
            ("https://*.Example.org:8443", "https://a.example.org:8443"),
            ("http://localhost:*", "http://localhost"),
            ("http://localhost:*", "http://localhost:8080"),
            ("http://*.localhost:*", "http://a.localhost:3000"),
            ("http://[::1]:*", "http://[::1]:5173"),
            ("http://[0:0:0:0:0:0:0:1]", "http://[::1]"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("null", "null"),
            ("file://", "file://"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("ionic://localhost", "ionic://localhost"),
            ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
            ("moz-extension://*", "moz-extension://2c127fa4-62c7-7e4f-90e5-472b45eecfdc"),
            ("https://xn--fiqs8s.example", "https://xn--fiqs8s.example"),
            ("https://my_shop.example.org.", "https://my_shop.example.org."),
            ("*", "anything"),
        ] {
            assert!(allows(pattern, origin), "{pattern} and {origin}");
        }
    }

    #[test]
    fn patterns_match_nothing_else() {
        for (pattern, origin) in [
            ("https://example.org", "http://example.org"),
            ("https://example.org", "https://example.org:8443"),
            ("https://example.org", "https://example.org.evil.org"),
            ("https://example.org", "https://example.org/"),
            ("https://example.org", "https://example.org https://evil.org"),
            ("https://example.org", "https://user@example.org"),
            ("http://example.org:443", "http://example.org"),
            ("https://*.example.org", "https://example.org"),
            ("https://*.example.org", "https://.example.org"),
            ("https://*.example.org", "https://evilexample.org"),
            ("https://*.example.org", "https://evil.org/.example.org"),
            ("https://*.example.org", "https://evil.org?.example.org"),
            ("https://*.example.org", "https://evil.org\\.example.org"),
            ("https://*.example.org", "https://a.example.org:8443"),
            ("https://*.example.org", "https://*.example.org"),
            ("https://*.example.org", "http://a.example.org"),
            ("http://localhost:*", "http://localhost:*"),
            ("http://localhost:*", "http://localhost:99999"),
            ("http://localhost:*", "http://localhost:"),
            ("http://localhost:*", "https://localhost:1"),
            ("moz-extension://*", "moz-extension://"),
            ("moz-extension://*", "chrome-extension://a"),
            ("null", "file://"),
            ("null", "nullx"),
            ("file://", "null"),
            ("file://", "file:///"),
            ("capacitor://localhost", "ionic://localhost"),
        ] {
            assert!(!allows(pattern, origin), "{pattern} and {origin:?}");
        }
        assert!(!Origins::default().allow("https://example.org") && !Origins::default().allow("null"));
    }

    #[test]
    fn what_no_page_can_have_is_refused() {
        for (pattern, error) in [
            ("", OriginError::Form),
            ("example.org", OriginError::Form),
            ("https:example.org", OriginError::Form),
            ("://example.org", OriginError::Form),
            ("1http://example.org", OriginError::Form),
            ("*://example.org", OriginError::Wildcard),
            ("*.example.org", OriginError::Form),
            ("https://*", OriginError::AnyHost),
            ("https://*:*", OriginError::Wildcard),
            ("https://*:443", OriginError::Wildcard),
            ("https://*example.org", OriginError::Wildcard),
            ("https://a.*.example.org", OriginError::Wildcard),
            ("https://*.*.example.org", OriginError::Wildcard),
            ("https://example.*", OriginError::Wildcard),
            ("https://*.127.0.0.1", OriginError::Wildcard),
            ("https://*.[::1]", OriginError::Wildcard),
            ("https://*.", OriginError::Host),
            ("https://example.org:4*", OriginError::Wildcard),
            ("https://example.org/", OriginError::Path("https://example.org".into())),
            ("https://example.org:8443/a/b", OriginError::Path("https://example.org:8443".into())),
            ("https://*.example.org/", OriginError::Path("https://*.example.org".into())),
            ("http://localhost:*/a", OriginError::Path("http://localhost:*".into())),
            ("https://", OriginError::Host),
            ("https://a b", OriginError::Host),
            ("https://a..b", OriginError::Host),
            ("https://user@a", OriginError::Host),
            ("https://127.1", OriginError::Host),
            ("https://[::g]", OriginError::Host),
            ("https://::1", OriginError::Host),
            ("https://a:0", OriginError::Port),
            ("https://a:", OriginError::Port),
            ("https://a:65536", OriginError::Port),
            ("https://a:+1", OriginError::Port),
            ("https://中国.example", OriginError::NotAscii),
            ("file:///", OriginError::File),
            ("file://localhost", OriginError::File),
        ] {
            assert_eq!(Origins::default().add(pattern), Err(error), "{pattern}");
        }
        assert_eq!(Origins::default().add(&format!("https://{}", "a".repeat(512))), Err(OriginError::TooLong));
    }

    /// The time does not grow with the product of labels and patterns.
    #[test]
    fn hostile_origins_cost_little() {
        let mut origins = Origins::default();
        for number in 0..4096 {
            origins.add(&format!("https://*.a{number}.example.org")).unwrap();
        }
        assert!(!origins.allow(&format!("https://{}example.org", "a.".repeat(1 << 20))));
        assert!(!origins.allow(&format!("https://{}example.org", "a.".repeat(200))));
        assert!(origins.allow(&format!("https://{}a4095.example.org", "a.".repeat(200))));
    }
}
