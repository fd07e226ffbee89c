//! HTTP responses on a keep-alive connection, as a pipelining client receives them.

use crate::error::ConnectionError;

/// Handles a response: its status and body. An error ends the connection.
pub type Handler<'a> = dyn FnMut(u16, &[u8]) -> Result<(), ConnectionError> + 'a;

/// Calls `handle` with each complete response in `bytes` until it fails, and returns how many bytes these were; the rest is
/// the beginning of another response. Fails if the bytes are not HTTP or a response has no `Content-Length`.
pub fn parse(bytes: &[u8], handle: &mut Handler<'_>) -> Result<usize, ConnectionError> {
    let mut at = 0;
    while let Some((status, head, length)) = parse_head(&bytes[at..])? {
        let Some(body) = bytes[at + head..].get(..length) else { break };
        handle(status, body)?;
        at += head + length;
    }
    Ok(at)
}

/// The status, the length of the head and the length of the body; `None` while the head is incomplete.
fn parse_head(bytes: &[u8]) -> Result<Option<(u16, usize, usize)>, ConnectionError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(bytes);
    let parsed = parsed.map_err(|error| ConnectionError::malformed(format!("invalid HTTP response: {error}")))?;
    let httparse::Status::Complete(head) = parsed else {
        // Every read parses the head from its beginning, so its length must be bounded.
        return if bytes.len() > MAX_HEAD { Err(ConnectionError::TooLong(bytes.len())) } else { Ok(None) };
    };
    let length = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|field| core::str::from_utf8(field.value).ok()?.parse().ok());
    let length = length.ok_or_else(|| ConnectionError::malformed("an HTTP response has no valid Content-Length"))?;
    Ok(Some((response.code.unwrap_or(0), head, length)))
}

/// The maximum length of a response's head, in bytes.
pub const MAX_HEAD: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut() {
        let bytes =
            b"HTTP/1.1 200 OK\r\nDate: x\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n\
                      HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/";
        let parsed = |bytes: &[u8]| {
            let mut responses = Vec::new();
            let used = parse(bytes, &mut |status, body| {
                responses.push((status, String::from_utf8(body.into()).unwrap()));
                Ok(())
            });
            (used.unwrap(), responses)
        };
        let (_, all) = parsed(bytes);
        assert_eq!(all, [(200, "ok".into()), (401, String::new()), (200, "HTTP/".into())]);
        for cut in 0..=bytes.len() {
            let (used, mut responses) = parsed(&bytes[..cut]);
            assert!(used <= cut);
            responses.extend(parsed(&bytes[used..]).1);
            assert_eq!(responses, all, "{cut}");
        }
    }

    #[test]
    fn malformed_responses() {
        for bytes in
            [&b"SSH-2.0-x\r\n"[..], b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
        {
            assert!(parse(bytes, &mut |_, _| Ok(())).is_err());
        }
    }
}
