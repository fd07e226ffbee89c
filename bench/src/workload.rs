//! The rooms, logins and messages of a run. Builds requests, and checks the messages that arrive.
//!
//! The data of a message is `RUN.NUMBER.xxx…` in the requested size. The run's id keeps two runs against one relay apart (room
//! names contain it too), and the number identifies the message. Message `n` is for room `n % rooms`.

use std::{error::Error, fmt};

use form_urlencoded::byte_serialize;
use relay::sign::{Subject, to_hex};
use serde_json::Value;

/// The encoding of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A JSON object: plain WebSocket.
    Json,
    /// A Socket.IO packet.
    Packet,
    /// A JSON object without the name of the event: the data of a block in a stream.
    Block,
}

/// The minimum size of a message's data, in bytes.
pub const MIN_SIZE: usize = RUN + 1 + DIGITS + 1;

/// The rooms and messages of one run.
#[derive(Debug)]
pub struct Workload {
    run: String,
    source: String,
    encoded_source: String,
    key: String,
    host: String,
    size: usize,
    filler: Vec<u8>,
    rooms: Vec<Room>,
    /// The bytes before the data of a message, by form.
    prefixes: [Vec<u8>; 3],
}

#[derive(Debug)]
struct Room {
    name: String,
    /// The bytes after the data of a message.
    suffix: Vec<u8>,
}

impl Workload {
    /// The workload of the run with the id `run` (eight characters): messages of `size` bytes (at least [`MIN_SIZE`]) for `rooms`
    /// rooms.
    pub fn new(run: &str, source: &str, key: &str, host: &str, rooms: usize, size: usize) -> Workload {
        assert!(run.len() == RUN && size >= MIN_SIZE, "the options are checked before");
        let room = |index| {
            let name = format!("bench-{run}-{index}");
            Room { suffix: format!("\",\"room_id\":\"{name}\"").into_bytes(), name }
        };
        let json = Value::from(source);
        let prefixes = ["{\"event\":\"newMsg\",", "42[\"newMsg\",{", "{"]
            .map(|head| format!("{head}\"source\":{json},\"data\":\""));
        Workload {
            run: run.into(),
            source: source.into(),
            encoded_source: byte_serialize(source.as_bytes()).collect(),
            key: key.into(),
            host: host.into(),
            size,
            filler: vec![b'x'; size - MIN_SIZE],
            rooms: (0..rooms).map(room).collect(),
            prefixes: prefixes.map(String::into_bytes),
        }
    }

    /// The number of rooms.
    pub fn rooms(&self) -> usize {
        self.rooms.len()
    }

    /// The room of a message.
    pub fn room_of(&self, number: usize) -> usize {
        number % self.rooms.len()
    }

    /// The query string that logs a client in to a room.
    pub fn login(&self, room: usize, userid: usize) -> String {
        login(&self.source, &self.key, &self.rooms[room].name, userid)
    }

    /// Appends the request that publishes a message.
    pub fn notify(&self, number: usize, out: &mut Vec<u8>) {
        let (room_id, data) = (&self.rooms[self.room_of(number)].name, self.data(number));
        let subject = Subject::Notify { source: &self.source, room_id, data: data.as_bytes() };
        let sign = to_hex(&subject.md5(self.key.as_bytes()));
        // The room names and the data have no characters that need encoding.
        let body = format!("source={}&room_id={room_id}&data={data}&sign={sign}", self.encoded_source);
        self.post("/api/notify", "application/x-www-form-urlencoded", body.as_bytes(), out);
    }

    /// Appends a POST request.
    pub fn post(&self, target: &str, media_type: &str, body: &[u8], out: &mut Vec<u8>) {
        let (host, length) = (&self.host, body.len());
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n"
        );
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(body);
    }

    /// Appends a GET request; `headers` are further header lines.
    pub fn get(&self, target: &str, headers: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("GET {target} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.host).as_bytes());
    }

    /// A client's message to an empty room that requests an acknowledgement.
    pub fn client_message(&self, form: Form) -> String {
        let (data, run) = (self.data(0), &self.run);
        match form {
            Form::Json | Form::Block => {
                format!("{{\"event\":\"postMsg\",\"data\":\"{data}\",\"room_ids\":\"bench-{run}-x\",\"ack\":1}}")
            }
            Form::Packet => format!("421[\"postMsg\",\"{data}\",\"bench-{run}-x\"]"),
        }
    }

    /// The number of a message that a member of `room` received. Fails with the difference if it is not what was sent.
    pub fn recognize(&self, text: &[u8], form: Form, room: usize) -> Result<usize, Damage> {
        // In the layout that relay writes, the data is at a known place. Any other layout is parsed as JSON.
        let quick = || {
            let data = text.strip_prefix(self.prefixes[form as usize].as_slice())?;
            let (data, suffix) = data.split_at_checked(self.size)?;
            let id = suffix.strip_prefix(self.rooms[room].suffix.as_slice())?;
            // A message that is cut off takes the slow path, which reports it.
            (id.starts_with(b",\"") && id.ends_with(END[form as usize])).then_some(())?;
            self.number(data)
        };
        let number = quick().map_or_else(|| self.parse(text, form, room), Ok)?;
        match self.room_of(number) == room {
            true => Ok(number),
            false => Err(Damage(format!("message {number} of another room"))),
        }
    }

    fn parse(&self, text: &[u8], form: Form, room: usize) -> Result<usize, Damage> {
        let json = if form == Form::Packet { text.strip_prefix(b"42").unwrap_or(text) } else { text };
        let value: Value = serde_json::from_slice(json).map_err(|error| Damage(format!("invalid JSON: {error}")))?;
        let (event, message) = match form {
            Form::Json => (Some(&value["event"]), &value),
            Form::Packet => (Some(&value[0]), &value[1]),
            // The name of an event is not in the data, and messages have none.
            Form::Block => (None, &value),
        };
        if let Some(event) = event.filter(|event| **event != "newMsg") {
            return Err(Damage(format!("an event {event}")));
        }
        if message["source"] != *self.source || message["room_id"] != *self.rooms[room].name {
            return Err(Damage(format!("a message to room {} of source {}", message["room_id"], message["source"])));
        }
        let data = message["data"].as_str().ok_or_else(|| Damage("a message whose data is not a string".into()))?;
        if data.len() != self.size {
            return Err(Damage(format!("{} bytes of data instead of {}", data.len(), self.size)));
        }
        self.number(data.as_bytes()).ok_or_else(|| Damage("data that was not sent".into()))
    }

    fn data(&self, number: usize) -> String {
        let filler = core::str::from_utf8(&self.filler).expect("the filler is ASCII");
        format!("{}.{number:0DIGITS$}.{filler}", self.run)
    }

    /// The number in the data of a message, if every byte of the data is right.
    fn number(&self, data: &[u8]) -> Option<usize> {
        let rest = data.strip_prefix(self.run.as_bytes())?.strip_prefix(b".")?;
        let (digits, rest) = rest.split_at_checked(DIGITS)?;
        let number = digits
            .iter()
            .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + usize::from(digit - b'0')));
        number.filter(|_| rest.strip_prefix(b".") == Some(&self.filler))
    }
}

/// The query string that logs user `userid` in to a room.
pub fn login(source: &str, key: &str, room: &str, userid: usize) -> String {
    let sign = to_hex(&Subject::Connect { source, userid: "", room_ids: room }.md5(key.as_bytes()));
    let source: String = byte_serialize(source.as_bytes()).collect();
    format!("source={source}&room_ids={room}&userid={userid}&username=name-{userid}&sign={sign}")
}

/// How a received message differs from what was sent. Displays as a noun phrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage(String);

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Damage {}

/// The end of a message, by form.
const END: [&[u8]; 3] = [b"}", b"}]", b"}"];
/// The length of a run's id.
const RUN: usize = 8;
/// The number of digits of a message number.
const DIGITS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(size: usize) -> Workload {
        Workload::new("0123abcd", "a \"b\"", "key", "h", 2, size)
    }

    #[test]
    fn recognizes_messages_in_both_forms() {
        for size in [MIN_SIZE, 128] {
            let workload = workload(size);
            let data = workload.data(7);
            assert_eq!(data.len(), size);
            let fields =
                format!("\"source\":\"a \\\"b\\\"\",\"data\":\"{data}\",\"room_id\":\"bench-0123abcd-1\",\"id\":\"x\"");
            for (form, text) in [
                (Form::Json, format!("{{\"event\":\"newMsg\",{fields}}}")),
                (Form::Json, format!("{{{fields}, \"event\":\"newMsg\"}}")),
                (Form::Packet, format!("42[\"newMsg\",{{{fields}}}]")),
                (Form::Block, format!("{{{fields}}}")),
                (Form::Block, format!("{{\"x\":1,{fields}}}")),
                (Form::Packet, format!("42[ \"newMsg\",{{\"x\":1,{fields}}}]")),
            ] {
                assert_eq!(workload.recognize(text.as_bytes(), form, 1), Ok(7), "{text}");
                assert!(workload.recognize(text.as_bytes(), form, 0).is_err(), "{text}");
                for cut in 0..data.len() {
                    let at = text.find(&data).unwrap() + cut;
                    for wrong in [
                        format!("{}{}", &text[..at], &text[at + 1..]),
                        format!("{}x{}", &text[..at], &text[at..]),
                        format!("{}y{}", &text[..at], &text[at + 1..]),
                    ] {
                        assert!(workload.recognize(wrong.as_bytes(), form, 1).is_err(), "{wrong}");
                    }
                }
            }
        }
    }

    #[test]
    fn requests() {
        let workload = workload(MIN_SIZE);
        let mut out = Vec::new();
        workload.notify(1, &mut out);
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("POST /api/notify HTTP/1.1\r\n") && head.ends_with(&format!("Length: {}", body.len()))
        );
        let fields: Vec<_> = form_urlencoded::parse(body.as_bytes()).collect();
        assert_eq!((&*fields[0].1, &*fields[2].1), ("a \"b\"", "0123abcd.0000000001."));
        assert!(workload.login(0, 3).starts_with("source=a+%22b%22&room_ids=bench-0123abcd-0&userid=3&"));
        assert!(serde_json::from_str::<Value>(&workload.client_message(Form::Json)).is_ok());
        assert!(serde_json::from_str::<Value>(&workload.client_message(Form::Packet)[3..]).is_ok());
    }
}
