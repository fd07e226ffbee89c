//! The encoding of a message (`newMsg`) in each form.

use std::borrow::Cow;

use super::{
    author::Author,
    data::Data,
    form::Form,
    id::MessageId,
    lines::{flatten, write_line, write_text},
};
use crate::{
    frame::{Opcode, Run, Turn, frame_len},
    json::{string, write_string},
    socketio::{Kind, packet::head},
};

/// The largest total size in bytes of a backend's message, counted once for each of its rooms.
pub const MAX_COPIES_SIZE: usize = 64 * 1024 * 1024;

/// The total size in bytes of a message's copies for this number of rooms, with the fields around the data.
pub fn copies_size(data: Data<'_>, rooms: usize) -> usize {
    (data.size() + ENVELOPE) * rooms
}

/// Bytes of the fields around the data of a message, more or less.
const ENVELOPE: usize = 256;

/// A message to the members of one room in one namespace.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The name of the source.
    pub source: &'a str,
    /// The id of the room.
    pub room: &'a str,
    /// Its data.
    pub data: Data<'a>,
    /// Its id in this room.
    pub id: MessageId,
    /// The message log file that the backend named, or an empty string.
    pub filename: &'a str,
    /// Who sent it.
    pub author: Author<'a>,
    /// The name of the namespace.
    pub namespace: &'a str,
}

impl Message<'_> {
    /// Appends the message's frames in a form to a batch: one, and in Socket.IO one more for each attachment. Those of
    /// streams have no header.
    pub fn frames(&self, form: Form, turn: &mut Turn, batch: u32) -> Run {
        if form.is_stream() {
            return turn.push_bare(batch, |out| self.encode(form, out));
        }
        let opcode = match form {
            Form::Text if self.data.only_bytes().is_some() => Opcode::Binary,
            _ => Opcode::Text,
        };
        let mut run = turn.push(batch, opcode, |out| self.encode(form, out));
        let Some(attachments) = form.attachments() else { return run };
        for index in 0..self.data.attachment_count() {
            let bytes = self.data.attachment(index);
            run.end = turn.push(batch, attachments.opcode(), |out| attachments.write(out, bytes)).end;
        }
        run
    }

    /// The bytes of the frames that [`Message::frames`] appends. `scratch` is for the payloads.
    pub fn frames_len(&self, form: Form, scratch: &mut Vec<u8>) -> usize {
        scratch.clear();
        self.encode(form, scratch);
        if form.is_stream() {
            return scratch.len();
        }
        let mut length = frame_len(scratch.len());
        let Some(attachments) = form.attachments() else { return length };
        for index in 0..self.data.attachment_count() {
            scratch.clear();
            attachments.write(scratch, self.data.attachment(index));
            length += frame_len(scratch.len());
        }
        length
    }

    /// Appends the payload of the first of these frames.
    pub fn encode(&self, form: Form, out: &mut Vec<u8>) {
        let Message { source, room, data, id, .. } = self;
        match form {
            Form::Json | Form::JsonTime => {
                out.extend_from_slice(b"{\"event\":\"newMsg\",");
                self.write_fields(form == Form::JsonTime, out);
            }
            Form::Lines => {
                let begin = out.len();
                self.encode(Form::JsonTime, out);
                flatten(&mut out[begin..]);
                out.push(b'\n');
            }
            Form::Sse | Form::SseText => {
                out.extend_from_slice(b"id: ");
                id.write(out);
                out.push(b'\n');
                match (form, data) {
                    (Form::SseText, Data::Text(text)) => write_text(out, text),
                    (Form::SseText, Data::Json(json)) => write_text(out, &plain_text(json)),
                    (Form::SseText, data) => write_line(out, |out| data.write_json(out)),
                    _ => write_line(out, |out| {
                        out.push(b'{');
                        self.write_fields(true, out);
                    }),
                }
                out.push(b'\n');
            }
            Form::Text => match (data.only_bytes(), data) {
                (Some(bytes), _) => out.extend_from_slice(bytes),
                (None, Data::Text(text)) => out.extend_from_slice(text.as_bytes()),
                (None, Data::Json(json)) => out.extend_from_slice(plain_text(json).as_bytes()),
                (None, _) => data.write_json(out),
            },
            Form::SocketIo3
            | Form::SocketIo4
            | Form::SocketIo4Offset
            | Form::SocketIo3Base64
            | Form::SocketIo4Base64 => {
                out.push(b'4');
                head(out, Kind::Event, data.attachment_count(), self.namespace, None);
                out.extend_from_slice(b"[\"newMsg\",{\"source\":");
                write_string(out, source);
                out.extend_from_slice(b",\"data\":");
                match data {
                    Data::Binary(_) => out.extend_from_slice(b"{\"_placeholder\":true,\"num\":0}"),
                    Data::Mixed { json, .. } => out.extend_from_slice(json.as_bytes()),
                    Data::Text(_) | Data::Json(_) => data.write_json(out),
                }
                out.extend_from_slice(b",\"room_id\":");
                write_string(out, room);
                out.extend_from_slice(b",\"from_sys\":true");
                if !self.filename.is_empty() {
                    out.extend_from_slice(b",\"filename\":");
                    write_string(out, self.filename);
                }
                out.extend_from_slice(b",\"id\":\"");
                id.write(out);
                out.push(b'"');
                self.author.write(out);
                out.push(b'}');
                if form == Form::SocketIo4Offset {
                    out.extend_from_slice(b",\"");
                    id.write(out);
                    out.push(b'"');
                }
                out.push(b']');
            }
        }
    }

    /// Appends the fields of the object in the JSON forms, and its end. With `time`, one is the time of the message.
    pub fn write_fields(&self, time: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"source\":");
        write_string(out, self.source);
        out.extend_from_slice(b",\"data\":");
        self.data.write_json(out);
        out.extend_from_slice(b",\"room_id\":");
        write_string(out, self.room);
        out.extend_from_slice(b",\"id\":\"");
        self.id.write(out);
        out.push(b'"');
        self.author.write(out);
        if time {
            out.extend_from_slice(b",\"ts\":");
            out.extend_from_slice(itoa::Buffer::new().format(self.id.unix_millis()).as_bytes());
        }
        out.push(b'}');
    }
}

/// The value of a JSON string, or the JSON text of any other value.
fn plain_text(json: &str) -> Cow<'_, str> {
    json.starts_with('"').then(|| string(json)).flatten().unwrap_or(json.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(data: Data<'_>, form: Form) -> String {
        let mut out = Vec::new();
        message(data).encode(form, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn message(data: Data<'_>) -> Message<'_> {
        let id = MessageId::first(0, 0);
        Message { source: "de\"mo", room: "r\n", data, id, filename: "", author: Author::Backend, namespace: "/" }
    }

    #[test]
    fn a_client_s_message_says_so() {
        // The data cannot say otherwise: it is a field of its own.
        let posted = Message { author: Author::Client(""), ..message(Data::Json("{\"from_client\":false}")) };
        for (form, end) in [
            (Form::Json, ",\"id\":\"00000000000000000\",\"from_client\":true}"),
            (Form::SocketIo3, ",\"id\":\"00000000000000000\",\"from_client\":true}]"),
            (Form::SocketIo4, ",\"id\":\"00000000000000000\",\"from_client\":true}]"),
            (Form::Text, "{\"from_client\":false}"),
        ] {
            let mut out = Vec::new();
            posted.encode(form, &mut out);
            assert!(out.ends_with(end.as_bytes()), "{form:?}: {}", String::from_utf8_lossy(&out));
        }
        let named = Message { author: Author::Client("{\"userid\":\"7\"}"), ..posted };
        for (form, end) in [
            (Form::Json, "\"from_client\":true,\"from\":{\"userid\":\"7\"}}"),
            (Form::Lines, "\"from\":{\"userid\":\"7\"},\"ts\":0}\n"),
            (Form::SocketIo4, "\"from_client\":true,\"from\":{\"userid\":\"7\"}}]"),
            (Form::Text, "{\"from_client\":false}"),
        ] {
            let mut out = Vec::new();
            named.encode(form, &mut out);
            assert!(out.ends_with(end.as_bytes()), "{form:?}: {}", String::from_utf8_lossy(&out));
        }
    }

    #[test]
    fn forms() {
        let json = |data| {
            format!(
                "{{\"event\":\"newMsg\",\"source\":\"de\\\"mo\",\"data\":{data},\"room_id\":\"r\\n\",\"id\":\"00000000000000000\"}}"
            )
        };
        assert_eq!(packet(Data::Text("a\"ä"), Form::Json), json("\"a\\\"ä\""));
        assert_eq!(packet(Data::Json("{\"b\" : 1.0, \"a\":2}"), Form::Json), json("{\"b\" : 1.0, \"a\":2}"));
        assert_eq!(packet(Data::Binary(b"\0\xffx"), Form::Json), json("{\"_base64\":\"AP94\"}"));
        assert_eq!(packet(Data::Text("a\"ä"), Form::Text), "a\"ä");
        assert_eq!(packet(Data::Json("\"\\u00e4\\n\""), Form::Text), "ä\n");
        assert_eq!(packet(Data::Json("\"\\ud800\""), Form::Text), "\u{fffd}");
        assert_eq!(packet(Data::Json("[1, 2]"), Form::Text), "[1, 2]");
    }
}
