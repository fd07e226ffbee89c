//! Conversations, cut at every byte, and deadlines.

use super::*;
use crate::http::error::Syntax;

fn now(millis: u64) -> Now {
    Now { time: Time::from_micros(millis * 1000), ..Now::default() }
}

/// Feeds `pieces` and answers each request; returns method, path and body of each, and the output.
fn converse(pieces: &[&[u8]]) -> (Vec<String>, String) {
    let limits = Limits { body: 1000, ..Limits::default() };
    let mut exchange = Exchange::new(now(0), &limits);
    let mut seen = Vec::new();
    for piece in pieces {
        let mut fresh = *piece;
        loop {
            match exchange.poll_request(&mut fresh, &limits, now(0)) {
                Ok(Some(request)) => {
                    let body = String::from_utf8_lossy(request.body).into_owned();
                    seen.push(format!("{} {} {body}", request.head.method, request.head.raw_path));
                    exchange.reply(&Reply::new(200, "text/plain", b"ok".to_vec()), now(0));
                }
                Ok(None) => break,
                Err(error) => {
                    exchange.refuse(&Reply::from(error), now(0));
                    break;
                }
            }
        }
        assert!(fresh.is_empty() || exchange.is_closing());
    }
    let mut out = Vec::new();
    exchange.write_to(&mut out, &limits, now(0)).unwrap();
    (seen, String::from_utf8(out).unwrap())
}

const CONVERSATION: &[u8] = b"\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello\
    POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n\
    HEAD /d HTTP/1.1\r\nHost: x\r\n\r\nPOST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\nGET /never HTTP/1.1\r\n\r\n";

#[test]
fn a_cut_changes_nothing() {
    let (seen, written) = converse(&[CONVERSATION]);
    assert_eq!(seen, ["GET /a ", "POST /b hello", "POST /c abcde", "HEAD /d ", "POST /e "]);
    assert_eq!(written.matches("HTTP/1.1 200 OK").count(), 5);
    assert_eq!(written.matches("\r\n\r\nok").count(), 4);
    for cut in 0..CONVERSATION.len() {
        let (one, other) = CONVERSATION.split_at(cut);
        assert_eq!(converse(&[one, other]), (seen.clone(), written.clone()), "cut at {cut}");
    }
    let bytes: Vec<&[u8]> = CONVERSATION.chunks(1).collect();
    assert_eq!(converse(&bytes), (seen.clone(), written.clone()));
    let sevens: Vec<&[u8]> = CONVERSATION.chunks(7).collect();
    assert_eq!(converse(&sevens), (seen, written));
}

#[test]
fn a_connection_over_a_limit_waits_for_its_first_head() {
    let limits = Limits::default();
    let refused = || {
        let mut exchange = Exchange::new(now(0), &limits);
        exchange.refuse_first(Error::Unavailable, &limits, now(0));
        exchange
    };
    let head = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
    for cut in 0..head.len() {
        let mut exchange = refused();
        assert!(exchange.poll_refused(&head[..cut], &limits).unwrap().is_none(), "cut at {cut}");
        assert_eq!(exchange.handle_timeout(now(999)), Timeout::Early);
        assert_eq!(exchange.poll_refused(&head[cut..], &limits).unwrap().unwrap().raw_path, "/a");
        exchange.refuse(&Error::Unavailable.into(), now(0));
        assert_eq!(exchange.refusal(), None, "it is answered once");
    }
    let mut silent = refused();
    assert_eq!(silent.handle_timeout(now(1000)), Timeout::Overdue(Error::Unavailable));
    let mut large = refused();
    assert!(large.poll_refused(&[b'a'; 20_000], &limits).is_err());
    // A handshake precedes HTTP: the second begins after it.
    let mut late = refused();
    late.begin(&limits, now(900));
    assert_eq!(late.handle_timeout(now(1899)), Timeout::Early);
    assert_eq!(late.handle_timeout(now(1900)), Timeout::Overdue(Error::Unavailable));
}

#[test]
fn chunks_are_kept_once_and_decoded() {
    let limits = Limits::default();
    let mut exchange = Exchange::new(now(0), &limits);
    let mut feed = |mut bytes: &[u8]| {
        let found = exchange.poll_request(&mut bytes, &limits, now(0)).map(|request| request.is_some());
        (found, exchange.input_memory())
    };
    assert_eq!(feed(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").0, Ok(false));
    // One byte in a chunk, also with an extension, takes about one byte.
    let bytes = b"1\r\na\r\n".repeat(10_000);
    let (found, memory) = feed(&bytes);
    assert!(found == Ok(false) && memory < 40_000, "{memory}");
    let extended = [&b"1;"[..], &[b'x'; 4000], b"\r\na\r\n"].concat();
    for _ in 0..4 {
        let (found, memory) = feed(&extended);
        assert!(found == Ok(false) && memory < 40_000, "{memory}");
    }
    assert_eq!(feed(&extended).0, Err(Error::BadRequest(Syntax::ChunkExtensions)));
}

#[test]
fn continue_is_sent_once_and_only_if_the_client_waits() {
    let head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    let (seen, written) = converse(&[head, b"h", b"i"]);
    assert_eq!(seen, ["POST / hi"]);
    assert!(written.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"));
    assert_eq!(written.matches("100 Continue").count(), 1);
    let (_, written) = converse(&[&[&head[..], b"hi"].concat()]);
    assert!(!written.contains("100 Continue"));
    let large = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n";
    let (_, written) = converse(&[large]);
    assert!(written.starts_with("HTTP/1.1 413") && written.contains("Connection: close"));
}

#[test]
fn no_request_is_served_after_an_error() {
    let (seen, written) = converse(&[b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"]);
    assert!(seen.is_empty());
    assert_eq!(written.matches("HTTP/1.1").count(), 1);
    assert!(written.starts_with("HTTP/1.1 400"));
}

#[test]
fn deadlines() {
    let limits = Limits::default();
    let poll = |exchange: &mut Exchange, mut bytes: &[u8], at| {
        let whole = exchange.poll_request(&mut bytes, &limits, now(at)).unwrap().is_some();
        if whole {
            exchange.reply(&Reply::new(204, "", &b""[..]), now(at));
        }
        whole
    };
    let silent = &mut Exchange::new(now(0), &limits);
    assert_eq!(silent.poll_timeout(), now(10_000).time);
    assert_eq!(silent.handle_timeout(now(9_999)), Timeout::Early);
    assert_eq!(silent.handle_timeout(now(10_000)), Timeout::Refuse(Error::Timeout));

    let slow = &mut Exchange::new(now(0), &limits);
    assert!(!poll(slow, b"GET", 5_000) && !poll(slow, b" /", 9_000));
    assert_eq!(slow.poll_timeout(), now(15_000).time, "the deadline of a head is fixed");

    let idle = &mut Exchange::new(now(0), &limits);
    assert!(poll(idle, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1_000));
    assert_eq!(idle.poll_timeout(), now(76_000).time);
    assert_eq!(idle.handle_timeout(now(76_000)), Timeout::Close);

    let body = &mut Exchange::new(now(0), &limits);
    assert!(!poll(body, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n", 1_000));
    assert_eq!(body.poll_timeout(), now(11_000).time);
    assert!(!poll(body, b"x", 10_000));
    assert_eq!(body.poll_timeout(), now(20_000).time, "the deadline of a body moves with each piece");
    (2..7).for_each(|ten| assert!(!poll(body, b"x", ten * 9_900)));
    assert_eq!(body.poll_timeout(), now(61_000).time, "up to six timeouts");
    assert_eq!(body.handle_timeout(now(61_000)), Timeout::Refuse(Error::Timeout));
    body.refuse(&Reply::from(Error::Timeout), now(61_000));
    assert_eq!(body.handle_timeout(now(63_000)), Timeout::Close);
}

#[test]
fn unsent_replies_stop_reading() {
    let limits = Limits::default();
    let mut exchange = Exchange::new(now(0), &limits);
    let reply = Reply::new(200, "text/plain", vec![b'x'; 10_000]);
    for wants in [true, false] {
        let mut fresh = &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..];
        assert!(exchange.poll_request(&mut fresh, &limits, now(0)).unwrap().is_some());
        exchange.reply(&reply, now(0));
        assert_eq!(exchange.wants_input(), wants);
    }
    exchange.write_to(&mut Vec::new(), &limits, now(0)).unwrap();
    assert!(exchange.wants_input() && exchange.expire_when_idle(&limits, now(0)));
}

/// A connection that is to end waits for its first request for a second after it was accepted; a used one does not wait.
#[test]
fn idle_connections_expire() {
    let limits = Limits::default();
    for (at, left) in [(0, 1000), (400, 600), (1000, 0), (5000, 0)] {
        let mut exchange = Exchange::new(now(0), &limits);
        assert!(exchange.expire_when_idle(&limits, now(at)));
        assert_eq!(exchange.poll_timeout(), now(at + left).time, "{at}");
        assert_eq!(exchange.handle_timeout(now(at + left)), Timeout::Close, "without a reply");
    }
    let request = &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..];
    let mut exchange = Exchange::new(now(0), &limits);
    assert!(exchange.expire_when_idle(&limits, now(0)));
    assert!(exchange.poll_request(&mut { request }, &limits, now(999)).unwrap().is_some());
    exchange.reply(&Reply::new(200, "text/plain", vec![]), now(999));
    assert!(!exchange.expire_when_idle(&limits, now(999)), "the reply is not written");
    exchange.write_to(&mut Vec::new(), &limits, now(999)).unwrap();
    assert!(exchange.expire_when_idle(&limits, now(999)));
    assert_eq!(exchange.poll_timeout(), now(999).time);
    // A handshake before HTTP that is complete then does not make it longer.
    let mut exchange = Exchange::new(now(0), &limits);
    assert!(exchange.expire_when_idle(&limits, now(0)));
    exchange.begin(&limits, now(500));
    assert_eq!(exchange.poll_timeout(), now(1000).time);
    // Part of a request has arrived: it may take as long as ever.
    let mut exchange = Exchange::new(now(0), &limits);
    assert!(exchange.poll_request(&mut &request[..9], &limits, now(0)).unwrap().is_none());
    assert!(!exchange.expire_when_idle(&limits, now(1)));
    assert_eq!(exchange.poll_timeout(), now(0).time.after(limits.request_timeout()));
}

/// Input that arrives after the last reply does not keep a connection open.
#[test]
fn input_does_not_extend_the_end() {
    let limits = Limits::default();
    let mut exchange = Exchange::new(now(0), &limits);
    exchange.refuse(&Reply::from(Error::Timeout), now(0));
    exchange.write_to(&mut Vec::new(), &limits, now(100)).unwrap();
    let end = exchange.poll_timeout();
    assert_eq!(end, now(100).time.after(LINGER));
    exchange.write_to(&mut Vec::new(), &limits, now(1500)).unwrap();
    assert_eq!(exchange.poll_timeout(), end);
}
