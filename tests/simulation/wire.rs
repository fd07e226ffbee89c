//! What a simulated client gets: a socket that takes a few bytes at a time, and the frames and blocks in these bytes.

use core::ops::ControlFlow;
use std::io::{self, ErrorKind, Write};

use relay::{
    engineio::{
        Packet, Revision,
        payload::{self},
    },
    frame::{Batch, Opcode},
    message::Form,
};
use serde_json::Value;

/// A socket that takes so many bytes and then blocks.
#[derive(Default)]
pub struct Socket {
    pub room: usize,
    pub got: Vec<u8>,
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.room);
        if taken == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= taken;
        self.got.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A frame, block or line.
#[derive(Debug, PartialEq)]
pub enum Got {
    /// The data is JSON, except in forms of text, which have no room either.
    Message {
        id: Option<String>,
        room: Option<String>,
        data: String,
    },
    Recovery(Value),
    Event(String),
    /// The begin of an event stream, with the position.
    Opening(String),
    /// A block that says nothing but the position.
    Position(String),
    Close(u16),
}

impl Socket {
    /// Puts the packets of a poll's answer where frames would be.
    pub fn take_body(&mut self, body: &[u8], binary: bool, form: Form) {
        let revision = if form == Form::SocketIo3 { Revision::V3 } else { Revision::V4 };
        let mut count = 0;
        payload::decode(body, revision, binary, &mut |packet| {
            let mut batch = Batch::default();
            let (begin, end) = match packet {
                Packet::Text(text) => {
                    batch.push(Opcode::Text, |out| out.extend_from_slice(format!("4{text}").as_bytes()))
                }
                Packet::Open(text) => {
                    batch.push(Opcode::Text, |out| out.extend_from_slice(format!("0{text}").as_bytes()))
                }
                Packet::Close => batch.push(Opcode::Close, |out| out.extend_from_slice(&1013_u16.to_be_bytes())),
                other => panic!("{other:?}"),
            };
            self.got.extend_from_slice(batch.slice(begin, end));
            count += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!((1..=16).contains(&count));
    }

    /// Takes all that is there as a whole.
    pub fn take(&mut self, form: Form) -> Vec<Got> {
        let mut found = Vec::new();
        let taken = if form.is_stream() { self.blocks(form, &mut found) } else { self.frames(form, &mut found) };
        self.got.drain(..taken);
        found
    }

    fn frames(&self, form: Form, found: &mut Vec<Got>) -> usize {
        let mut taken = 0;
        while let Some((head, payload)) = frame(&self.got[taken..]) {
            taken += head.len() + payload.len();
            match head[0] {
                0x81 if form == Form::Text => {
                    let data = str::from_utf8(payload).unwrap().to_owned();
                    found.push(Got::Message { id: None, room: None, data });
                }
                // The handshake of Engine.IO, and CONNECT.
                0x81 if matches!(payload, [b'0', ..] | [b'4', b'0', ..]) => {}
                0x81 => found.push(event(str::from_utf8(payload).unwrap())),
                // A ping: these clients do not answer.
                0x89 => {}
                0x88 => found.push(Got::Close(u16::from_be_bytes([payload[0], payload[1]]))),
                other => panic!("opcode {other:x}"),
            }
        }
        taken
    }

    fn blocks(&self, form: Form, found: &mut Vec<Got>) -> usize {
        let mut taken = 0;
        let end = if form == Form::Lines { "\n" } else { "\n\n" };
        let text = str::from_utf8(&self.got).unwrap_or_default();
        while let Some((block, _)) = text[taken..].split_once(end) {
            taken += block.len() + end.len();
            found.push(if form == Form::Lines { event(block) } else { self::block(block, form) });
        }
        taken
    }
}

/// A block of an event stream.
fn block(text: &str, form: Form) -> Got {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let (id, data) = (field("id").map(str::to_owned), field("data"));
    let json = || serde_json::from_str::<Value>(data.unwrap()).unwrap();
    match (field("event"), data) {
        (Some("disconnect"), _) => Got::Close(json()["code"].as_u64().unwrap() as u16),
        (Some("recovery"), _) => Got::Recovery(json()),
        (Some(name), _) => Got::Event(name.to_owned()),
        (None, None) if field("retry").is_some() => Got::Opening(id.unwrap()),
        (None, None) => Got::Position(id.unwrap()),
        (None, Some(data)) if form == Form::SseText => Got::Message { id, room: None, data: data.to_owned() },
        (None, Some(data)) => {
            let message = message(data, &json());
            assert!(matches!(&message, Got::Message { id: inner, .. } if *inner == id), "{text}");
            message
        }
    }
}

/// An event as JSON or as a packet of Socket.IO.
fn event(text: &str) -> Got {
    let (name, value) = match text.strip_prefix("42") {
        Some(list) => {
            let [name, value] = serde_json::from_str::<[Value; 2]>(list).unwrap();
            (name, value)
        }
        None => {
            let value: Value = serde_json::from_str(text).unwrap();
            (value["event"].clone(), value)
        }
    };
    match name.as_str().unwrap() {
        "newMsg" => message(text, &value),
        "recovery" => Got::Recovery(value),
        "disconnect" => Got::Close(value["data"]["code"].as_u64().unwrap() as u16),
        other => Got::Event(other.to_owned()),
    }
}

fn message(text: &str, value: &Value) -> Got {
    let data = text.split_once("\"data\":").unwrap().1.rsplit_once(",\"room_id\"").unwrap().0;
    let field = |name: &str| value[name].as_str().map(str::to_owned);
    Got::Message { id: field("id"), room: field("room_id"), data: data.replace(ESCAPED, "退出群聊") }
}

/// What a poll of revision 3 has in place of the text of `user_quit`.
const ESCAPED: &str = "\\u9000\\u51fa\\u7fa4\\u804a";

/// The header and the payload of a first whole frame, unmasked and of less than 64 KiB.
fn frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, head) = match *bytes.get(1)? {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap())), 4),
        length => (usize::from(length), 2),
    };
    bytes.get(..head + length).map(|frame| frame.split_at(head))
}
