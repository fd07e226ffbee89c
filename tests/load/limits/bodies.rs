//! How large bodies and messages may be.

use std::io::Write;

use super::assert_refused;
use crate::support::{
    FORM, Relay, wait_for,
    websocket::{TEXT, frame},
};

#[test]
fn body() {
    let relay = Relay::start("[limits]\nbody = 1024");
    let post =
        |more: &str| relay.raw(format!("POST /api/notify HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\n{more}"));
    // Refused by its announced length.
    assert_refused(&post("Content-Length: 1025\r\n\r\n"), 413);
    assert_refused(&post(&format!("Content-Length: 1025\r\n\r\n{}", "a".repeat(1025))), 413);
    assert_refused(&post("Content-Length: 99999999999999999999999\r\n\r\n"), 413);
    assert_refused(&post("Expect: 100-continue\r\nContent-Length: 1025\r\n\r\n"), 413);
    let chunk = format!("100\r\n{}\r\n", "a".repeat(256));
    assert_refused(&post(&format!("Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(5))), 413);
    assert_refused(&post("Transfer-Encoding: chunked\r\n\r\n401\r\n"), 413);
    let fits = post(&format!("Connection: close\r\nContent-Length: 1024\r\n\r\n{}", "a".repeat(1024)));
    assert!(fits.starts_with("HTTP/1.1 200 "), "{fits}");
    let fits = post(&format!("Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(4)));
    assert!(fits.starts_with("HTTP/1.1 200 "), "{fits}");
}

/// A frame is refused by the length it announces, a message in fragments as soon as it is too long.
#[test]
fn message() {
    let relay = Relay::start("[limits]\nmessage = 1000");
    let open = || relay.connect_with(&[("format", "text")]);
    let mut fits = open();
    fits.send(&"a".repeat(1000));
    assert_eq!(fits.text(), "a".repeat(1000));

    let mut long = open();
    long.socket.get_mut().write_all(&frame(TEXT, &[b'a'; 1001])[..8]).unwrap();
    assert_eq!(long.close_code(), 1009);

    let mut huge = open();
    huge.socket.get_mut().write_all(&[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]).unwrap();
    let code = huge.close_code();
    assert!(matches!(code, 1009 | 1002), "{code}");

    let mut fragments = open();
    let part = [b'a'; 400];
    for frame in [frame(0x01, &part), frame(0x00, &part), frame(0x00, &part)] {
        fragments.socket.get_mut().write_all(&frame).unwrap();
    }
    assert_eq!(fragments.close_code(), 1009);
    fits.send("still here");
    assert_eq!(fits.text(), "still here");
    wait_for("the others to be gone", || (relay.stat("/sessions") == 1).then_some(()));
}
