//! The `newMsg` event: a message as each form of client receives it.

use std::borrow::Cow;

use super::{bytes::attachment, data::Data, form::Form, id::MessageId};
use crate::{
    engineio::Revision,
    frame::{Opcode, Run, Turn},
    json::write_string,
    socketio::{Kind, packet::head},
};

/// Bytes of all copies of a message, one for each of its rooms.
pub const MOST_SPREAD: usize = 64 * 1024 * 1024;

/// A message on its way to the members of one room.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The tenant's name.
    pub source: &'a str,
    /// The room's name.
    pub room: &'a str,
    /// What it carries.
    pub data: Data<'a>,
    /// Its name.
    pub id: MessageId,
    /// The log file it asks for, or nothing.
    pub filename: &'a str,
    /// The namespace its members are in.
    pub namespace: &'a str,
}

impl Message<'_> {
    /// Appends the frames that carry it in a form to a batch: one, and in Socket.IO one more for each attachment.
    pub fn frames(&self, form: Form, turn: &mut Turn, batch: u32) -> Run {
        let opcode = match form {
            Form::Text if self.data.bare().is_some() => Opcode::Binary,
            _ => Opcode::Text,
        };
        let mut run = turn.push(batch, opcode, |out| self.encode(form, out));
        let revision = match form {
            Form::Json | Form::Text => return run,
            Form::SocketIo3 => Revision::V3,
            Form::SocketIo4 => Revision::V4,
        };
        for index in 0..self.data.attachment_count() {
            let bytes = self.data.attachment(index);
            run.end = turn.push(batch, Opcode::Binary, |out| attachment(out, revision, bytes)).end;
        }
        run
    }

    /// Appends what the first of them contains.
    pub fn encode(&self, form: Form, out: &mut Vec<u8>) {
        let Message { source, room, data, id, .. } = self;
        match form {
            Form::Json => {
                out.extend_from_slice(b"{\"event\":\"newMsg\",\"source\":");
                write_string(out, source);
                out.extend_from_slice(b",\"data\":");
                data.write_json(out);
                out.extend_from_slice(b",\"room_id\":");
                write_string(out, room);
                out.extend_from_slice(b",\"id\":\"");
                id.write(out);
                out.extend_from_slice(b"\"}");
            }
            Form::Text => match (data.bare(), data) {
                (Some(bytes), _) => out.extend_from_slice(bytes),
                (None, Data::Text(text)) => out.extend_from_slice(text.as_bytes()),
                (None, Data::Json(json)) => out.extend_from_slice(&plain(json)),
                (None, _) => data.write_json(out),
            },
            Form::SocketIo3 | Form::SocketIo4 => {
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
                out.extend_from_slice(b"\"}]");
            }
        }
    }
}

/// A JSON string's value, any other value's text. (A string with half a surrogate pair has no value: its text.)
fn plain(json: &str) -> Cow<'_, [u8]> {
    let value = json.starts_with('"').then(|| serde_json::from_str::<String>(json).ok()).flatten();
    value.map_or(Cow::Borrowed(json.as_bytes()), |value| Cow::Owned(value.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(data: Data<'_>, form: Form) -> String {
        let mut out = Vec::new();
        Message { source: "de\"mo", room: "r\n", data, id: MessageId::first(0, 0), filename: "", namespace: "/" }
            .encode(form, &mut out);
        String::from_utf8(out).unwrap()
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
        assert_eq!(packet(Data::Json("\"\\ud800\""), Form::Text), "\"\\ud800\"");
        assert_eq!(packet(Data::Json("[1, 2]"), Form::Text), "[1, 2]");
    }
}
