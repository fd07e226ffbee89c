//! HTTP answers on one connection, one behind the other, as they come to who sends requests without waiting.

/// What is done with an answer; the error ends the connection.
pub type Handler<'a> = dyn FnMut(u16, &[u8]) -> Result<(), String> + 'a;

/// Hands each whole answer of `bytes` to `handle` as status and body until it fails; how many bytes they were. What is left
/// over is the beginning of an answer. The error says what is no answer, or none whose end could be known.
pub fn take(bytes: &[u8], handle: &mut Handler<'_>) -> Result<usize, String> {
    let mut at = 0;
    while let Some((status, head, length)) = head(&bytes[at..])? {
        let Some(body) = bytes[at + head..].get(..length) else { break };
        handle(status, body)?;
        at += head + length;
    }
    Ok(at)
}

/// Status, bytes of the head, bytes of the body; nothing while the head is not whole.
fn head(bytes: &[u8]) -> Result<Option<(u16, usize, usize)>, String> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut answer = httparse::Response::new(&mut fields);
    let parsed = answer.parse(bytes).map_err(|error| format!("the answer is no HTTP: {error}"))?;
    let httparse::Status::Complete(head) = parsed else {
        // Each read would parse it anew from its beginning.
        return if bytes.len() > MOST_HEAD { Err("an answer's head has no end".into()) } else { Ok(None) };
    };
    let length = answer.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|field| core::str::from_utf8(field.value).ok()?.parse().ok());
    Ok(Some((answer.code.unwrap_or(0), head, length.ok_or("an answer without Content-Length")?)))
}

/// Bytes of an answer's head.
pub const MOST_HEAD: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut() {
        let bytes =
            b"HTTP/1.1 200 OK\r\nDate: x\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n\
                      HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/";
        let taken = |bytes: &[u8]| {
            let mut answers = Vec::new();
            let used = take(bytes, &mut |status, body| {
                answers.push((status, String::from_utf8(body.into()).unwrap()));
                Ok(())
            });
            (used.unwrap(), answers)
        };
        let (_, all) = taken(bytes);
        assert_eq!(all, [(200, "ok".into()), (401, String::new()), (200, "HTTP/".into())]);
        for cut in 0..=bytes.len() {
            let (used, mut answers) = taken(&bytes[..cut]);
            assert!(used <= cut);
            answers.extend(taken(&bytes[used..]).1);
            assert_eq!(answers, all, "{cut}");
        }
    }

    #[test]
    fn what_is_no_answer() {
        for bytes in
            [&b"SSH-2.0-x\r\n"[..], b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
        {
            assert!(take(bytes, &mut |_, _| Ok(())).is_err());
        }
    }
}
