//! Fuzz targets of HTTP: requests, bodies, headers that proxies write, handshakes of WebSockets, and answers of backends.

use std::collections::BTreeSet;

use crate::{
    clock::Now,
    http::{
        Exchange, Fields, Head, Reply,
        chunked::{Chunked, Decoded},
        forwarded::{forwarded, forwarded_for},
        multipart, proxy, response,
    },
    limits::Limits,
    names::is_token,
    websocket::handshake,
};

/// Requests do not depend on where their bytes are cut. Only a malformed request may be detected later if it arrives in pieces.
/// The first byte is the position of the cut.
pub fn http_exchange(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let cut = (*cut as usize).min(bytes.len());
    let (one, other) = bytes.split_at(cut);
    let (whole, refused) = serve_requests(&[bytes]);
    let (pieces, refused_pieces) = serve_requests(&[one, other]);
    assert_eq!(whole, pieces);
    assert!(refused || !refused_pieces);
}

/// Refuses every request with 404. Returns the requests, and whether the connection is closing.
fn serve_requests(pieces: &[&[u8]]) -> (Vec<(String, Vec<u8>)>, bool) {
    let limits = Limits { request_head: 512, request_headers: 8, body: 256, ..Limits::default() };
    let mut exchange = Exchange::new(Now::default(), &limits);
    let mut seen = Vec::new();
    for piece in pieces {
        let mut fresh = *piece;
        loop {
            match exchange.poll_request(&mut fresh, &limits, Now::default()) {
                Ok(Some(request)) => {
                    let line = format!("{} {} {}", request.head.method, request.head.path(), request.head.query);
                    let _ = Fields::parse(request.body).get("data");
                    seen.push((line, request.body.to_vec()));
                    exchange.reply(&Reply::refusal(404, "fuzz"), Now::default());
                }
                Ok(None) => break,
                Err(error) => {
                    exchange.refuse(&Reply::from(error), Now::default());
                    break;
                }
            }
        }
    }
    (seen, exchange.is_closing())
}

/// A chunked body does not depend on where its bytes are cut, and never exceeds the limit.
pub fn chunked_body(bytes: &[u8]) {
    let decode = |step: usize| {
        let mut chunked = Chunked::default();
        let (mut begin, mut end) = (0, 0);
        loop {
            end = (end + step).min(bytes.len());
            match chunked.handle_input(&bytes[begin..end], 100) {
                Ok(Decoded { complete: true, .. }) => return Ok(Some(chunked.body().to_vec())),
                Ok(_) if end == bytes.len() => return Ok(None),
                Ok(Decoded { taken, .. }) => begin += taken,
                Err(_) => return Err(()),
            }
        }
    };
    let whole = decode(bytes.len().max(1));
    assert_eq!(whole, decode(1));
    assert!(whole.ok().flatten().is_none_or(|body| body.len() <= 100));
}

/// A form in the encoding `multipart/form-data` is not larger than its body, is refused if its end is missing, and survives
/// encoding and decoding.
pub fn multipart_form(bytes: &[u8]) {
    let Ok(fields) = multipart::parse("b", bytes) else { return };
    let size: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    // U+FFFD is longer than the byte that it stands for.
    assert!(fields.iter().count() <= multipart::MAX_PARTS && size <= 3 * bytes.len());
    let end = bytes.trim_ascii_end().len();
    assert!(multipart::parse("b", &bytes[..end - 1]).is_err(), "the end is missing");
    let mut again = String::new();
    for (name, value) in fields.iter() {
        let name = name.replace('\\', "\\\\").replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
        again += &format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    let (again, limit) = (again + "--b--", multipart::MAX_HEADERS / 8);
    if fields.iter().all(|(name, _)| name.len() < limit && !name.contains('\0')) {
        let decoded = multipart::parse("b", again.as_bytes()).expect("decodes what it encoded");
        assert!(decoded.iter().eq(fields.iter()));
    }
}

/// Whatever a client has written into `Forwarded` or `X-Forwarded-For`, the element that a proxy appends is the last one.
pub fn forwarded_list(bytes: &[u8]) {
    let Ok(list) = core::str::from_utf8(bytes) else { return };
    let ip = "2001:db8::1".parse().ok();
    let (mut one, mut other) = (format!("{list}, for=\"[2001:db8::1]:80\""), format!("{list},[2001:db8::1]:80"));
    for _ in 0..2 {
        assert_eq!((forwarded(&one).next(), forwarded_for(&other).next()), (Some(ip), Some(ip)));
        // A further line of the header, which a proxy did not write to.
        (one, other) = (format!("{list},{one}"), format!("{list},{other}"));
    }
    assert!(forwarded(list).count() <= list.len() + 1 && forwarded_for(list).count() <= list.len() + 1);
}

/// A header of the PROXY protocol does not depend on what follows, and is incomplete at every cut.
pub fn proxy_header(bytes: &[u8]) {
    let Ok(Some(header)) = proxy::parse(bytes) else { return };
    assert!((8..=proxy::MAX_V2).contains(&header.length));
    assert_eq!(proxy::parse(&bytes[..header.length]), Ok(Some(header)));
    assert!((0..header.length).all(|cut| proxy::parse(&bytes[..cut]) == Ok(None)));
}

/// The answer to a hook does not depend on where its bytes are cut, and its body never exceeds the limit.
pub fn hook_response(bytes: &[u8]) {
    let read = |step: usize| {
        let mut reader = response::Reader::default();
        for piece in bytes.chunks(step) {
            match reader.handle_input(piece, 100) {
                Ok(None) => {}
                // Bytes after it are known only if they have arrived.
                Ok(Some(found)) => return Ok((found.status, found.body)),
                Err(_) => return Err(()),
            }
        }
        reader.handle_end().map(|found| (found.status, found.body)).map_err(|_| ())
    };
    let whole = read(bytes.len().max(1));
    assert_eq!(whole, read(1));
    assert_eq!(whole, read(7));
    assert!(whole.is_err() || whole.is_ok_and(|(_, body)| body.len() <= 100));
}

/// A handshake is refused, or answered with two lines and at most one subprotocol, a token that the client offered. Headers are
/// the lines of the input.
pub fn websocket_handshake(bytes: &[u8]) {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let mut request = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n".to_vec();
    lines.iter().for_each(|line| request.extend([line, &b"\r\n"[..]].concat()));
    request.extend(b"\r\n");
    let Ok(Some((head, _))) = Head::parse(&request, &Limits::default()) else { return };
    for protocols in [BTreeSet::new(), BTreeSet::from(["chat".to_owned()])] {
        let Ok(reply) = handshake::accept(&head, &protocols) else { return };
        let reply = String::from_utf8(reply).expect("a reply is ASCII");
        let (lines, rest) = reply.split_once("\r\n\r\n").expect("a reply ends");
        let mut lines = lines.split("\r\n").skip(4);
        let chosen = lines.next().map(|line| line.strip_prefix("Sec-WebSocket-Protocol: ").expect("a subprotocol"));
        assert!(rest.is_empty() && lines.next().is_none(), "{reply:?}");
        let offered = |protocol: &str| head.sec_websocket_protocol.split(',').any(|item| item.trim() == protocol);
        assert!(chosen.is_none_or(|protocol| is_token(protocol) && offered(protocol)), "{reply:?}");
        assert!(chosen.is_none_or(|protocol| protocols.is_empty() || protocols.contains(protocol)), "{reply:?}");
    }
}
