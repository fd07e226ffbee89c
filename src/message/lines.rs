//! Fields of a `text/event-stream` (WHATWG HTML, Server-sent events) and JSON on one line.

use memchr::memchr2;

/// Appends the field `data` with what `fill` appends: JSON, whose line ends can only stand between its tokens.
pub(super) fn write_line(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"data: ");
    let begin = out.len();
    fill(out);
    flatten(&mut out[begin..]);
    out.push(b'\n');
}

/// Replaces the line ends of JSON by spaces, so that it is one line.
pub(super) fn flatten(json: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = memchr2(b'\n', b'\r', &json[at..]) {
        json[at + found] = b' ';
        at += found + 1;
    }
}

/// Appends text as fields `data`, one for each of its lines. Clients join them with LF, so a CR or CRLF arrives as LF.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    loop {
        out.extend_from_slice(b"data: ");
        let Some(end) = memchr2(b'\n', b'\r', rest) else { break };
        out.extend_from_slice(&rest[..end]);
        out.push(b'\n');
        rest = rest[end..].strip_prefix(b"\r\n").unwrap_or(&rest[end + 1..]);
    }
    out.extend_from_slice(rest);
    out.push(b'\n');
}
