//! Reads single headers of a request that is incomplete, too large or malformed.

use crate::config::MAX_ORIGIN;

/// The value of `Origin` in the first lines of a head. `None` if its line has not arrived whole, if there are several, or if
/// the value has characters that no origin has (RFC 6454 section 7.1).
pub fn origin(head: &[u8]) -> Option<&str> {
    let mut found = None;
    let end = head.iter().rposition(|byte| *byte == b'\n')?;
    let lines = head[..end].split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    // The request line may follow empty lines (RFC 9112 section 2.2).
    for line in lines.skip_while(|line| line.is_empty()).skip(1).take_while(|line| !line.is_empty()) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        if line[..colon].eq_ignore_ascii_case(b"origin") && found.replace(line[colon + 1..].trim_ascii()).is_some() {
            return None;
        }
    }
    let value = core::str::from_utf8(found?).ok()?;
    let is_origin = (1..=MAX_ORIGIN).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
    is_origin.then_some(value)
}

/// The path in the request line of a GET or HEAD, as sent. `None` if the line has not arrived whole, or is malformed.
pub fn path(head: &[u8]) -> Option<&str> {
    let begin = head.iter().position(|byte| !b"\r\n".contains(byte))?;
    let line = head[begin..].split_inclusive(|byte| *byte == b'\n').next()?.strip_suffix(b"\n")?;
    let mut words = core::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let target = words.next().filter(|method| ["GET", "HEAD"].contains(method)).and(words.next())?;
    target.split('?').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_of_a_head_cut_anywhere() {
        let head = b"\r\nGET / HTTP/1.1\r\nHost: x\r\nORIGIN:  https://a.example:8080 \r\nA: b\r\n\r\nOrigin: body\r\n";
        let whole = head.windows(8).position(|at| at == b" \r\nA: b\r").unwrap() + 3;
        for cut in 0..=head.len() {
            let expected = (cut >= whole).then_some("https://a.example:8080");
            assert_eq!(origin(&head[..cut]), expected, "{cut}");
        }
    }

    #[test]
    fn the_path_of_a_head_cut_anywhere() {
        let head = b"\r\nGET /sse/?a=/b HTTP/1.1\r\nHost: x\r\n";
        for cut in 0..=head.len() {
            assert_eq!(path(&head[..cut]), (cut >= 27).then_some("/sse/"), "{cut}");
        }
        assert_eq!(path(b"HEAD /a HTTP/1.1\n"), Some("/a"));
        for none in [&b""[..], b"\r\n", b"POST /sse HTTP/1.1\r\n", b"GET\r\n", b"GET \xff HTTP/1.1\r\n"] {
            assert_eq!(path(none), None, "{none:?}");
        }
    }

    #[test]
    fn what_is_no_origin() {
        let of = |lines: &str| origin(format!("GET / HTTP/1.1\r\n{lines}\r\n").as_bytes()).map(str::to_owned);
        assert_eq!(of("Origin: null").as_deref(), Some("null"));
        assert_eq!(of("A b\r\nOrigin: null").as_deref(), Some("null"), "a malformed line before it");
        for lines in [
            "",
            "Origin:",
            "Origin : http://a",
            "Origin: http://a\r\nOrigin: http://a",
            "Origin: a b",
            "Origin: a\rb",
            "Origin: \u{e4}",
            "X: y\r\n\r\nOrigin: http://a",
            &format!("Origin: {}", "a".repeat(513)),
        ] {
            assert_eq!(of(lines), None, "{lines:?}");
        }
        assert_eq!(origin(b"Origin: http://a\r\n\r\n"), None, "the request line is no header");
        assert_eq!(origin(b"GET / HTTP/1.1\nOrigin: http://a\n\n"), Some("http://a"));
        assert_eq!(origin(b"GET / HTTP/1.1\r\nOrigin: \xff\r\n"), None);
    }
}
