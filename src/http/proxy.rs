//! The header of the PROXY protocol, versions 1 and 2 (`proxy-protocol.txt` of HAProxy): a proxy writes the address of its
//! client at the start of a connection.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A complete header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The client's address. `None` if the proxy connects for itself, as for a health check, or knows no address.
    pub client: Option<IpAddr>,
    /// Bytes of the header.
    pub length: usize,
}

/// The bytes do not begin with a header, or with one that is malformed or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Parses the header at the start of `bytes`. Returns `None` if its end has not arrived.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    if is_cut(bytes, SIGNATURE) || is_cut(bytes, V1) {
        return Ok(None);
    }
    match () {
        () if bytes.starts_with(SIGNATURE) => parse_v2(bytes),
        () if bytes.starts_with(V1) => parse_v1(bytes),
        () => Err(Malformed),
    }
}

fn is_cut(bytes: &[u8], start: &[u8]) -> bool {
    bytes.len() < start.len() && start.starts_with(bytes)
}

/// Parses `PROXY TCP4 192.0.2.1 192.0.2.9 5000 80` and CR LF (section 2.1).
fn parse_v1(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let within = &bytes[..bytes.len().min(MAX_V1)];
    let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
        return if within.len() < MAX_V1 { Ok(None) } else { Err(Malformed) };
    };
    let line = bytes[..end].strip_suffix(b"\r").ok_or(Malformed)?;
    let line = core::str::from_utf8(&line[V1.len()..]).map_err(|_| Malformed)?;
    let mut words = line.split(' ');
    let protocol = words.next().unwrap_or_default();
    let client = match protocol {
        // The rest of the line is to be ignored.
        "UNKNOWN" => None,
        "TCP4" | "TCP6" => {
            let mut ip = || words.next()?.parse::<IpAddr>().ok().filter(|ip| ip.is_ipv4() == (protocol == "TCP4"));
            let (client, proxy) = (ip().ok_or(Malformed)?, ip());
            let mut port = || {
                let digits = words.next()?;
                digits.parse::<u16>().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
            };
            if proxy.is_none() || port().is_none() || port().is_none() || words.next().is_some() {
                return Err(Malformed);
            }
            Some(client.to_canonical())
        }
        _ => return Err(Malformed),
    };
    Ok(Some(Header { client, length: end + 1 }))
}

/// Parses the binary header (section 2.2).
fn parse_v2(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let Some((head, rest)) = bytes.split_at_checked(SIGNATURE.len() + 4) else { return Ok(None) };
    let [.., version, family, high, low] = *head else { return Err(Malformed) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    // The addresses of both ends, by family and transport.
    let addresses = match family {
        0x00 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return Err(Malformed),
    };
    let is_local = match version {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed),
    };
    if head.len() + length > MAX_V2 || (!is_local && length < addresses) {
        return Err(Malformed);
    }
    let Some(data) = rest.get(..length) else { return Ok(None) };
    let client = match data {
        _ if is_local => None,
        [a, b, c, d, ..] if family == 0x11 => Some(IpAddr::V4(Ipv4Addr::new(*a, *b, *c, *d))),
        data if family == 0x21 => data.first_chunk::<16>().map(|ip| IpAddr::V6(Ipv6Addr::from(*ip))),
        // The proxy's client uses a Unix socket or datagrams, or the proxy does not know.
        _ => None,
    };
    if !is_local && addresses > 0 {
        check_extensions(&data[addresses..])?;
    }
    Ok(Some(Header { client: client.map(|ip| ip.to_canonical()), length: head.len() + length }))
}

/// Checks that type-length-value vectors fill the rest of the header. relay uses none of them.
fn check_extensions(mut rest: &[u8]) -> Result<(), Malformed> {
    while !rest.is_empty() {
        let [_, high, low, behind @ ..] = rest else { return Err(Malformed) };
        rest = behind.get(usize::from(u16::from_be_bytes([*high, *low]))..).ok_or(Malformed)?;
    }
    Ok(())
}

/// The beginning of a header of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The beginning of a header of version 1.
const V1: &[u8] = b"PROXY ";
/// Bytes of a header of version 1, with CR LF.
const MAX_V1: usize = 107;
/// Bytes of a header of version 2, as in nginx. The certificates of clients that some proxies add are larger; leave them out.
pub const MAX_V2: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn header(client: &str, length: usize) -> Result<Option<Header>, Malformed> {
        Ok(Some(Header { client: client.parse().ok(), length }))
    }

    fn v2(version: u8, family: u8, data: &[u8]) -> Vec<u8> {
        [SIGNATURE, &[version, family], &(data.len() as u16).to_be_bytes(), data].concat()
    }

    fn v4(extensions: &[u8]) -> Vec<u8> {
        v2(0x21, 0x11, &[&[203, 0, 113, 9, 192, 0, 2, 1, 200, 0, 0, 80], extensions].concat())
    }

    /// Valid headers with the addresses in them.
    fn valid() -> Vec<(Vec<u8>, &'static str)> {
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::9".parse::<Ipv6Addr>().unwrap().octets());
        vec![
            (b"PROXY TCP4 203.0.113.9 192.0.2.1 51234 80\r\n".into(), "203.0.113.9"),
            (b"PROXY TCP6 2001:db8::9 ::1 65535 0\r\n".into(), "2001:db8::9"),
            (b"PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n".into(), "203.0.113.9"),
            (b"PROXY UNKNOWN\r\n".into(), "none"),
            (b"PROXY UNKNOWN ff:: ff:: 65535 whatever\r\n".into(), "none"),
            (v4(&[]), "203.0.113.9"),
            (v4(&[4, 0, 2, 0, 0, 1, 0, 0, 5, 0, 3, b'i', b'd', b'!']), "203.0.113.9"),
            (v2(0x21, 0x21, &v6), "2001:db8::9"),
            (v2(0x20, 0x00, &[]), "none"),
            (v2(0x20, 0x11, &[1, 2, 3]), "none"),
            (v2(0x21, 0x00, &[1, 2, 3]), "none"),
            (v2(0x21, 0x12, &[0; 12]), "none"),
            (v2(0x21, 0x31, &[b'/'; 216]), "none"),
        ]
    }

    #[test]
    fn a_cut_changes_nothing() {
        for (bytes, client) in valid() {
            let request = [&bytes[..], b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(parse(&request), header(client, bytes.len()), "{:?}", bytes.escape_ascii());
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "{:?} at {cut}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn malformed_headers_are_refused_as_soon_as_they_are_known() {
        let long = [b"PROXY UNKNOWN ", &[b'x'; 93][..]].concat();
        for bad in [
            &b"G"[..],
            b"GET / HTTP/1.1\r\n",
            b"PROXY\r\n",
            b"proxy TCP4",
            b"\r\n\r\n\0\r\nQUIX",
            b"PROXY TCP4 203.0.113.9 192.0.2.1 51234 80\n",
            b"PROXY TCP4 203.0.113.9 192.0.2.1 51234\r\n",
            b"PROXY TCP4 203.0.113.9 192.0.2.1 51234 80 1\r\n",
            b"PROXY TCP4  203.0.113.9 192.0.2.1 51234 80\r\n",
            b"PROXY TCP4 203.0.113.9 192.0.2.1 +1 80\r\n",
            b"PROXY TCP4 203.0.113.9 192.0.2.1 65536 80\r\n",
            b"PROXY TCP4 ::1 192.0.2.1 1 80\r\n",
            b"PROXY TCP6 203.0.113.9 ::1 1 80\r\n",
            b"PROXY UDP4 203.0.113.9 192.0.2.1 1 80\r\n",
            b"PROXY \xff\r\n",
            &long,
            &v2(0x11, 0x11, &[0; 12]),
            &v2(0x22, 0x11, &[0; 12]),
            &v2(0x21, 0x13, &[0; 12]),
            &v2(0x21, 0x41, &[0; 12]),
            &v2(0x21, 0x11, &[0; 11]),
            &v2(0x21, 0x21, &[0; 35]),
            &v4(&[4]),
            &v4(&[4, 0, 2, 0]),
            &v2(0x20, 0, &[0; 4081])[..16],
        ] {
            assert_eq!(parse(bad), Err(Malformed), "{:?}", bad.escape_ascii());
        }
        let most = v2(0x20, 0, &[0; 4080]);
        assert_eq!(parse(&most), header("none", MAX_V2));
    }
}
