//! WebSocket clients that send bytes and read frames.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::json;

use super::{Answer, Relay, UPGRADE, asleep, login, read_answer, send_request};

/// First bytes: final, and the opcode.
pub const TEXT: u8 = 0x81;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;

/// A client's frame.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    masked(first, payload, [0x37, 0xfa, 0x21, 0x3d])
}

pub fn masked(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length @ 126..65536 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

pub fn close_frame(code: u16) -> Vec<u8> {
    frame(CLOSE, &code.to_be_bytes())
}

pub fn assert_refusal(answer: &Answer) {
    assert_eq!(answer.header("content-type"), "application/json", "{answer:?}");
    let body = answer.json();
    assert!(body["msg"].as_str().is_some_and(|why| !why.is_empty()), "{body}");
    assert_eq!((&body["code"], &body["data"]), (&json!(0), &json!("")), "{body}");
}

/// Reads whatever comes until the connection ends, in order or not.
pub fn wait_end(raw: &mut Raw) -> Vec<u8> {
    let mut bytes = Vec::new();
    match raw.stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the connection does not end"),
        _ => bytes,
    }
}

/// A client that sends bytes and sees frames.
pub struct Raw {
    pub stream: TcpStream,
}

impl Raw {
    pub fn open(relay: &Relay, fields: &[(&str, &str)]) -> Raw {
        let mut stream = relay.tcp();
        send_request(&mut stream, "GET", &format!("/ws?{}", login(fields)), &UPGRADE, b"");
        let answer = read_answer(&mut stream, false);
        assert_eq!(answer.status, 101, "{answer:?}");
        Raw { stream }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next frame's first byte and payload; nothing if the connection ended in order before it.
    pub fn try_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        match self.stream.read(&mut head[..1]) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => panic!("no frame: {error}"),
        }
        self.stream.read_exact(&mut head[1..]).unwrap();
        assert_eq!(head[1] & 0x80, 0, "a server's frames are not masked");
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length).unwrap();
                usize::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.stream.read_exact(&mut length).unwrap();
                u64::from_be_bytes(length) as usize
            }
            length => length.into(),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).unwrap();
        Some((head[0], payload))
    }

    pub fn frame(&mut self) -> (u8, Vec<u8>) {
        self.try_frame().expect("a frame, not the end")
    }

    pub fn text(&mut self) -> String {
        let (first, payload) = self.frame();
        assert_eq!(first, TEXT, "{}", String::from_utf8_lossy(&payload));
        String::from_utf8(payload).unwrap()
    }

    /// The code of the close that comes, whatever comes before it.
    pub fn close_code(&mut self) -> u16 {
        loop {
            if let (CLOSE, payload) = self.frame() {
                return payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
            }
        }
    }

    /// Whole frames, then the end.
    pub fn drain(&mut self) {
        while self.try_frame().is_some() {}
    }

    /// Asserts that the relay ends the connection at once, without a reset, although this side stays open. Nothing may come
    /// before.
    pub fn ended(&mut self, relay: &Relay, what: &str) {
        let waited = asleep(&[relay.pid()], || {
            let frame = self.try_frame();
            assert!(frame.is_none(), "{what}: {frame:?} comes behind a close");
        });
        // The relay waits 5 s for the answer to a close, and for the peer's side of the connection.
        assert!(waited < Duration::from_secs(3), "{what}: the end came after {waited:?}");
    }
}
