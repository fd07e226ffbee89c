//! The addresses that proxies write into requests: `X-Forwarded-For`, and `Forwarded` (RFC 7239).
//!
//! Each proxy appends the address of its peer, so lists are read from right to left. Everything to the left of what a
//! trusted proxy has written can come from the client: it must not change how the right side is read.

use core::net::{IpAddr, Ipv6Addr};

/// The entries of `X-Forwarded-For`, the last one first. `None` stands for one that is not an address.
pub fn forwarded_for(list: &str) -> impl Iterator<Item = Option<IpAddr>> {
    list.rsplit(',').map(str::trim_ascii).filter(|entry| !entry.is_empty()).map(|entry| address(unquoted(entry)))
}

/// The `for=` of each element of `Forwarded`, the last one first. `None` stands for an element without an address: it names
/// none, hides it (`unknown`, `_name`), or is malformed.
pub fn forwarded(list: &str) -> impl Iterator<Item = Option<IpAddr>> {
    Elements { rest: Some(list) }.filter(|element| !element.is_empty()).map(|element| address(&node(element)?))
}

/// The address of a node (RFC 7239 section 6), with a port or without: `192.0.2.1:80`, `[2001:db8::1]:80`, `2001:db8::1`.
fn address(node: &str) -> Option<IpAddr> {
    let ip = match node.strip_prefix('[') {
        Some(rest) => {
            let (ip, port) = rest.split_once(']')?;
            let port_is_fine = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            IpAddr::V6(ip.parse::<Ipv6Addr>().ok().filter(|_| port_is_fine)?)
        }
        None => match node.parse() {
            Ok(ip) => ip,
            Err(_) => {
                let (ip, port) = node.split_once(':').filter(|(_, port)| is_port(port))?;
                IpAddr::V4(ip.parse().ok().filter(|_| !port.is_empty())?)
            }
        },
    };
    Some(ip.to_canonical())
}

/// Whether this is a port: up to five digits, or a name in place of one (RFC 7239 section 6.2).
fn is_port(text: &str) -> bool {
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    match text.strip_prefix('_') {
        Some(name) => !name.is_empty() && is_name(name),
        None => (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

/// The elements of a list, the last one first. A comma within a quoted string does not separate.
struct Elements<'a> {
    /// The list up to the last element that was returned; `None` after the first one.
    rest: Option<&'a str>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        let bytes = rest.as_bytes();
        let (mut at, mut quoted) = (bytes.len(), false);
        while at > 0 {
            at -= 1;
            match bytes[at] {
                b'"' if quoted => {
                    // An escaped quotation mark does not begin the string.
                    let escapes = bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
                    quoted = escapes % 2 == 1;
                    at -= escapes;
                }
                b'"' => quoted = true,
                b',' if !quoted => {
                    self.rest = Some(&rest[..at]);
                    return Some(rest[at + 1..].trim_ascii());
                }
                _ => {}
            }
        }
        self.rest = None;
        Some(rest.trim_ascii())
    }
}

/// The value of `for` in an element. `None` if there is none or if the element is malformed.
fn node(element: &str) -> Option<String> {
    let (mut found, mut rest) = (None, element);
    loop {
        let (name, behind) = rest.split_once('=')?;
        let behind = behind.trim_ascii_start();
        let (value, behind) = match behind.strip_prefix('"') {
            Some(quoted) => {
                let (mut value, mut chars) = (String::new(), quoted.chars());
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => value.push(chars.next()?),
                        other => value.push(other),
                    }
                }
                (value, chars.as_str())
            }
            None => {
                let (value, behind) = behind.split_at(behind.find(';').unwrap_or(behind.len()));
                (value.trim_ascii_end().to_owned(), behind)
            }
        };
        let name = name.trim_ascii();
        if name.is_empty() || name.contains(['"', ';', ' ']) || value.is_empty() {
            return None;
        }
        // A parameter must not occur twice (RFC 7239 section 4).
        if name.eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            return None;
        }
        match behind.trim_ascii_start().strip_prefix(';') {
            Some(next) if !next.trim_ascii().is_empty() => rest = next,
            Some(_) => return found,
            None => return found.filter(|_| behind.trim_ascii().is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    #[test]
    fn addresses_with_ports() {
        for (node, address_of) in [
            ("203.0.113.9", "203.0.113.9"),
            ("203.0.113.9:51234", "203.0.113.9"),
            ("203.0.113.9:_obf", "203.0.113.9"),
            ("2001:db8::9", "2001:db8::9"),
            ("[2001:db8::9]", "2001:db8::9"),
            ("[2001:db8::9]:443", "2001:db8::9"),
            ("[::ffff:203.0.113.9]:1", "203.0.113.9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
        ] {
            assert_eq!(address(node), ip(address_of), "{node}");
        }
        for node in [
            "",
            "unknown",
            "_hidden",
            "203.0.113",
            "203.0.113.9:",
            "203.0.113.9:x",
            "203.0.113.9:123456",
            "203.0.113.9:1:2",
            "203.0.113.9 :1",
            "[203.0.113.9]",
            "[2001:db8::9",
            "[2001:db8::9]443",
            "[2001:db8::9]:",
            "[2001:db8::9]:_",
            "fe80::1%eth0",
            ":80",
            "localhost",
        ] {
            assert_eq!(address(node), None, "{node}");
        }
    }

    fn all(hops: impl Iterator<Item = Option<IpAddr>>) -> String {
        hops.map(|hop| hop.map_or("-".into(), |ip| ip.to_string())).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn lists_are_read_from_the_right() {
        for (list, hops) in [
            ("", ""),
            (" , ,", ""),
            ("192.0.2.1", "192.0.2.1"),
            ("x, 192.0.2.1:5 ,\"[2001:db8::1]:80\", 192.0.2.2", "192.0.2.2 2001:db8::1 192.0.2.1 -"),
            ("192.0.2.1, \"192.0.2.2", "- 192.0.2.1"),
        ] {
            assert_eq!(all(forwarded_for(list)), hops, "{list}");
        }
        for (list, hops) in [
            ("", ""),
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=192.0.2.1;proto=https;By=203.0.113.43 ", "192.0.2.1"),
            ("for=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=192.0.2.1, for=198.51.100.17", "198.51.100.17 192.0.2.1"),
            ("for=\"_gazonk\",for=unknown, proto=http, by=1;host=x", "- - - -"),
            ("host=\"a, for=6.6.6.6\";for=192.0.2.1", "192.0.2.1"),
            (r#"host="a\", for=6.6.6.6\\";for=192.0.2.1, for=192.0.2.2"#, "192.0.2.2 192.0.2.1"),
            (r#"for="192\.0.2.1""#, "192.0.2.1"),
            ("for=192.0.2.1;for=192.0.2.2", "-"),
            ("for=192.0.2.1;", "192.0.2.1"),
            (" for = 192.0.2.1 ; proto = http ", "192.0.2.1"),
            ("for=\"192.0.2.1\"x", "-"),
            ("for", "-"),
            ("for=", "-"),
            ("192.0.2.1", "-"),
            // What a client has sent cannot hide or change what the proxy appends.
            ("for=\"x, for=192.0.2.1", "192.0.2.1 -"),
            ("for=\"x\\, for=192.0.2.1", "192.0.2.1 -"),
            ("x\"y, for=\"192.0.2.1\"", "192.0.2.1 -"),
            ("\", for=6.6.6.6;x=\", for=192.0.2.1", "192.0.2.1 -"),
            ("\\, for=192.0.2.1;host=\"\\\"\"", "192.0.2.1 -"),
        ] {
            assert_eq!(all(forwarded(list)), hops, "{list}");
        }
    }

    /// Cut at every byte from the left, the last element stays the same.
    #[test]
    fn the_left_does_not_change_the_right() {
        let list = r#"for="a\"b, c";host="\\", x="", for="[2001:db8::1]:80";proto=https"#;
        let last = list.len() - r#" for="[2001:db8::1]:80";proto=https"#.len();
        for cut in 0..last {
            assert_eq!(forwarded(&list[cut..]).next(), Some(ip("2001:db8::1")), "{cut}");
        }
        let hostile = "\"\\".repeat(30_000);
        assert_eq!(forwarded(&format!("{hostile}, for=192.0.2.1")).next(), Some(ip("192.0.2.1")));
        assert!(forwarded(&hostile).count() <= 30_000 && forwarded_for(&hostile).count() == 1);
    }
}
