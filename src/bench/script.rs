//! What is said in a run: its rooms, its logins, its messages, and whether a message came back as it was.
//!
//! A message's data are `RUN.NUMBER.xxx…`, of the size that was asked for: the run's name keeps two runs at one relay apart
//! (so do the rooms' names), the number says which message it is. Message `n` is for room `n % rooms`.

use crate::{
    engineio::Revision,
    sign::{Subject, to_hex},
};
use form_urlencoded::byte_serialize;
use serde_json::Value;

/// How a message is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An object: plain WebSocket.
    Json,
    /// A packet: Socket.IO.
    Packet,
}

/// The smallest size of a message, in bytes.
pub const SMALLEST: usize = RUN + 1 + DIGITS + 1;

/// The rooms and messages of one run.
#[derive(Debug)]
pub struct Script {
    run: String,
    source: String,
    encoded_source: String,
    key: String,
    host: String,
    size: usize,
    filler: Vec<u8>,
    rooms: Vec<Room>,
    /// What stands before a message's data, in each form.
    before: [Vec<u8>; 2],
}

#[derive(Debug)]
struct Room {
    name: String,
    /// What stands behind a message's data.
    behind: Vec<u8>,
}

impl Script {
    /// A run with that name of eight characters, its messages of `size` bytes (at least [`SMALLEST`]) for `rooms` rooms.
    pub fn new(run: &str, source: &str, key: &str, host: &str, rooms: usize, size: usize) -> Script {
        assert!(run.len() == RUN && size >= SMALLEST, "the command line has checked it");
        let room = |index| {
            let name = format!("bench-{run}-{index}");
            Room { behind: format!("\",\"room_id\":\"{name}\"").into_bytes(), name }
        };
        let json = Value::from(source);
        let before =
            ["{\"event\":\"newMsg\",", "42[\"newMsg\",{"].map(|head| format!("{head}\"source\":{json},\"data\":\""));
        Script {
            run: run.into(),
            source: source.into(),
            encoded_source: byte_serialize(source.as_bytes()).collect(),
            key: key.into(),
            host: host.into(),
            size,
            filler: vec![b'x'; size - SMALLEST],
            rooms: (0..rooms).map(room).collect(),
            before: before.map(String::into_bytes),
        }
    }

    /// How many rooms there are.
    pub fn rooms(&self) -> usize {
        self.rooms.len()
    }

    /// The room that a message is for.
    pub fn room_of(&self, number: usize) -> usize {
        number % self.rooms.len()
    }

    /// The query with which a client logs in to a room.
    pub fn login(&self, room: usize, userid: usize) -> String {
        let (room_ids, source) = (&self.rooms[room].name, &self.source);
        let sign = to_hex(&Subject::Connect { source, userid: "", room_ids }.md5(self.key.as_bytes()));
        let source = &self.encoded_source;
        format!("source={source}&room_ids={room_ids}&userid={userid}&username=name-{userid}&sign={sign}")
    }

    /// Appends the POST that notifies a message.
    pub fn notify(&self, number: usize, out: &mut Vec<u8>) {
        let (room_id, data) = (&self.rooms[self.room_of(number)].name, self.data(number));
        let subject = Subject::Notify { source: &self.source, room_id, data: data.as_bytes() };
        let sign = to_hex(&subject.md5(self.key.as_bytes()));
        // Neither the rooms' names nor the data have anything to encode.
        let body = format!("source={}&room_id={room_id}&data={data}&sign={sign}", self.encoded_source);
        self.post("/api/notify", "application/x-www-form-urlencoded", body.as_bytes(), out);
    }

    /// Appends a POST.
    pub fn post(&self, target: &str, media_type: &str, body: &[u8], out: &mut Vec<u8>) {
        let (host, length) = (&self.host, body.len());
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n"
        );
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(body);
    }

    /// Appends a GET, with more headers in lines of their own.
    pub fn get(&self, target: &str, headers: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("GET {target} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.host).as_bytes());
    }

    /// What a client says to a room in which nobody is, asking to be answered.
    pub fn say(&self, form: Form) -> String {
        let (data, run) = (self.data(0), &self.run);
        match form {
            Form::Json => {
                format!("{{\"event\":\"postMsg\",\"data\":\"{data}\",\"room_ids\":\"bench-{run}-x\",\"ack\":1}}")
            }
            Form::Packet => format!("421[\"postMsg\",\"{data}\",\"bench-{run}-x\"]"),
        }
    }

    /// The number of a message that came to a member of `room`; the error says how it is not what was sent.
    pub fn read(&self, text: &[u8], form: Form, room: usize) -> Result<usize, String> {
        // As relay writes them, messages are known by their places. Whatever is written differently is taken apart.
        let quick = || {
            let data = text.strip_prefix(self.before[form as usize].as_slice())?;
            let (data, behind) = data.split_at_checked(self.size)?;
            let id = behind.strip_prefix(self.rooms[room].behind.as_slice())?;
            // What is cut off is looked at below.
            (id.starts_with(b",\"") && id.ends_with(END[form as usize])).then_some(())?;
            self.number(data)
        };
        let number = quick().map_or_else(|| self.take_apart(text, form, room), Ok)?;
        match self.room_of(number) == room {
            true => Ok(number),
            false => Err(format!("message {number} of another room")),
        }
    }

    fn take_apart(&self, text: &[u8], form: Form, room: usize) -> Result<usize, String> {
        let json = if form == Form::Packet { text.strip_prefix(b"42").unwrap_or(text) } else { text };
        let value: Value = serde_json::from_slice(json).map_err(|error| format!("no JSON: {error}"))?;
        let (event, message) = match form {
            Form::Json => (&value["event"], &value),
            Form::Packet => (&value[0], &value[1]),
        };
        if event != "newMsg" {
            return Err(format!("an event {event}"));
        }
        if message["source"] != *self.source || message["room_id"] != *self.rooms[room].name {
            return Err(format!("for {} of {}", message["room_id"], message["source"]));
        }
        let data = message["data"].as_str().ok_or("its data are no string")?;
        if data.len() != self.size {
            return Err(format!("{} bytes of data in place of {}", data.len(), self.size));
        }
        self.number(data.as_bytes()).ok_or_else(|| "its data are not what was sent".into())
    }

    fn data(&self, number: usize) -> String {
        let filler = core::str::from_utf8(&self.filler).expect("it is of one letter");
        format!("{}.{number:0DIGITS$}.{filler}", self.run)
    }

    /// The number in a message's data, if they are right to the last byte.
    fn number(&self, data: &[u8]) -> Option<usize> {
        let rest = data.strip_prefix(self.run.as_bytes())?.strip_prefix(b".")?;
        let (digits, rest) = rest.split_at_checked(DIGITS)?;
        let number = digits
            .iter()
            .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + usize::from(digit - b'0')));
        number.filter(|_| rest.strip_prefix(b".") == Some(&self.filler))
    }
}

/// The path and query under which a client of Engine.IO finds its session.
pub fn session(revision: Revision, transport: &str, more: &str) -> String {
    let number = if revision == Revision::V3 { 3 } else { 4 };
    format!("/socket.io/?EIO={number}&transport={transport}&{more}")
}

/// How a message ends, in each form.
const END: [&[u8]; 2] = [b"}", b"}]"];
const RUN: usize = 8;
const DIGITS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn script(size: usize) -> Script {
        Script::new("0123abcd", "a \"b\"", "key", "h", 2, size)
    }

    #[test]
    fn a_message_in_either_form() {
        for size in [SMALLEST, 128] {
            let script = script(size);
            let data = script.data(7);
            assert_eq!(data.len(), size);
            let fields =
                format!("\"source\":\"a \\\"b\\\"\",\"data\":\"{data}\",\"room_id\":\"bench-0123abcd-1\",\"id\":\"x\"");
            for (form, text) in [
                (Form::Json, format!("{{\"event\":\"newMsg\",{fields}}}")),
                (Form::Json, format!("{{{fields}, \"event\":\"newMsg\"}}")),
                (Form::Packet, format!("42[\"newMsg\",{{{fields}}}]")),
                (Form::Packet, format!("42[ \"newMsg\",{{\"x\":1,{fields}}}]")),
            ] {
                assert_eq!(script.read(text.as_bytes(), form, 1), Ok(7), "{text}");
                assert!(script.read(text.as_bytes(), form, 0).is_err(), "{text}");
                for cut in 0..data.len() {
                    let at = text.find(&data).unwrap() + cut;
                    for wrong in [
                        format!("{}{}", &text[..at], &text[at + 1..]),
                        format!("{}x{}", &text[..at], &text[at..]),
                        format!("{}y{}", &text[..at], &text[at + 1..]),
                    ] {
                        assert!(script.read(wrong.as_bytes(), form, 1).is_err(), "{wrong}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_sent() {
        let script = script(SMALLEST);
        let mut out = Vec::new();
        script.notify(1, &mut out);
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("POST /api/notify HTTP/1.1\r\n") && head.ends_with(&format!("Length: {}", body.len()))
        );
        let fields: Vec<_> = form_urlencoded::parse(body.as_bytes()).collect();
        assert_eq!((&*fields[0].1, &*fields[2].1), ("a \"b\"", "0123abcd.0000000001."));
        assert!(script.login(0, 3).starts_with("source=a+%22b%22&room_ids=bench-0123abcd-0&userid=3&"));
        assert!(serde_json::from_str::<Value>(&script.say(Form::Json)).is_ok());
        assert!(serde_json::from_str::<Value>(&script.say(Form::Packet)[3..]).is_ok());
    }
}
