//! Events to sessions: a name, and arguments that are forwarded verbatim.

use serde_json::value::RawValue;

use super::{
    bytes::write_base64,
    form::Form,
    lines::{flatten, write_line},
};
use crate::{
    frame::{Opcode, Run, Turn},
    json::write_string,
    socketio::{Kind, packet::head, placeholder},
};

/// An event to sessions. Its arguments stay JSON text.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Its name.
    pub name: &'a str,
    /// The arguments as JSON, separated by commas, without brackets.
    pub args: &'a str,
    /// The attachments that the placeholders in the arguments refer to.
    pub attachments: &'a [Vec<u8>],
    /// The number under which receivers can acknowledge it. `None` if no acknowledgement is wanted.
    pub ack: Option<u64>,
    /// Whether it is dropped for clients that still have unsent data.
    pub volatile: bool,
}

impl<'a> Event<'a> {
    /// An event without attachments and acknowledgement.
    pub fn new(name: &'a str, args: &'a str) -> Event<'a> {
        Event { name, args, attachments: &[], ack: None, volatile: false }
    }

    /// Whether clients of a form can receive it. Text clients have no frame for events. JSON clients cannot receive
    /// events named `ack` and `pong`: they would look like answers of relay. In a `text/event-stream` a name is a line of its
    /// own: an empty one stands for `message`, and one with a line end would be cut.
    pub fn is_for(&self, form: Form) -> bool {
        match form {
            Form::Text => false,
            Form::Json | Form::JsonTime | Form::Lines => !["ack", "pong"].contains(&self.name),
            Form::Sse | Form::SseText => !self.name.is_empty() && !self.name.contains(['\r', '\n']),
            Form::SocketIo3
            | Form::SocketIo4
            | Form::SocketIo4Offset
            | Form::SocketIo3Base64
            | Form::SocketIo4Base64 => true,
        }
    }

    /// Appends the event's frames in a form to a batch: one, and in Socket.IO one more for each attachment. Those of streams
    /// have no header.
    pub fn frames(&self, form: Form, namespace: &str, turn: &mut Turn, batch: u32) -> Run {
        if form.is_stream() {
            return turn.push_bare(batch, |out| self.encode(form, namespace, out));
        }
        let mut run = turn.push(batch, Opcode::Text, |out| self.encode(form, namespace, out));
        let Some(attachments) = form.attachments() else { return run };
        for bytes in self.attachments {
            run.end = turn.push(batch, attachments.opcode(), |out| attachments.write(out, bytes)).end;
        }
        run
    }

    /// Appends the payload of the first of these frames.
    pub fn encode(&self, form: Form, namespace: &str, out: &mut Vec<u8>) {
        let ack = self.ack.map(|ack| ack.to_string());
        match form {
            Form::Json | Form::JsonTime | Form::Text => {
                out.extend_from_slice(b"{\"event\":");
                write_string(out, self.name);
                write_arguments(out, self.args, self.attachments);
                if let Some(ack) = ack {
                    out.extend_from_slice(format!(",\"ack\":{ack}").as_bytes());
                }
                out.push(b'}');
            }
            Form::Lines => {
                let begin = out.len();
                self.encode(Form::Json, namespace, out);
                flatten(&mut out[begin..]);
                out.push(b'\n');
            }
            Form::Sse | Form::SseText => {
                // A stream cannot answer, so the number of an acknowledgement is left out.
                out.extend_from_slice(b"event: ");
                out.extend_from_slice(self.name.as_bytes());
                out.push(b'\n');
                write_line(out, |out| match self.args.is_empty() {
                    true => out.extend_from_slice(b"null"),
                    false => write_value(out, self.args, self.attachments),
                });
                out.push(b'\n');
            }
            Form::SocketIo3
            | Form::SocketIo4
            | Form::SocketIo4Offset
            | Form::SocketIo3Base64
            | Form::SocketIo4Base64 => {
                out.push(b'4');
                head(out, Kind::Event, self.attachments.len(), namespace, ack.as_deref());
                out.push(b'[');
                write_string(out, self.name);
                if !self.args.is_empty() {
                    out.push(b',');
                    out.extend_from_slice(self.args.as_bytes());
                }
                out.push(b']');
            }
        }
    }
}

/// Appends arguments to the object in a JSON client's frame: one as the field `data`, several as the array `args`, none
/// as nothing.
pub fn write_arguments(out: &mut Vec<u8>, args: &str, attachments: &[Vec<u8>]) {
    if args.is_empty() {
        return;
    }
    out.extend_from_slice(if is_one(args) { b",\"data\":" } else { b",\"args\":" });
    write_value(out, args, attachments);
}

/// Whether there is one argument.
fn is_one(args: &str) -> bool {
    serde_json::from_str::<&RawValue>(args).is_ok()
}

/// Appends one argument as it is, or several as an array, with bytes as `{"_base64":"…"}`.
fn write_value(out: &mut Vec<u8>, args: &str, attachments: &[Vec<u8>]) {
    let one = is_one(args);
    if !one {
        out.push(b'[');
    }
    match attachments {
        [] => out.extend_from_slice(args.as_bytes()),
        _ => placeholder::replace(args, out, |number, out| {
            write_base64(out, attachments.get(number).map_or(&[], Vec::as_slice));
        }),
    }
    if !one {
        out.push(b']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let encode = |event: &Event<'_>, form| {
            let mut out = Vec::new();
            event.encode(form, "/n", &mut out);
            String::from_utf8(out).unwrap()
        };
        let one = Event::new("a\"b", "{\"x\": 1.0}");
        assert_eq!(encode(&one, Form::Json), "{\"event\":\"a\\\"b\",\"data\":{\"x\": 1.0}}");
        assert_eq!(encode(&one, Form::SocketIo4), "42/n,[\"a\\\"b\",{\"x\": 1.0}]");
        let several = Event { ack: Some(7), ..Event::new("e", "1, [2]") };
        assert_eq!(encode(&several, Form::Json), "{\"event\":\"e\",\"args\":[1, [2]],\"ack\":7}");
        assert_eq!(encode(&several, Form::SocketIo3), "42/n,7[\"e\",1, [2]]");
        assert_eq!(encode(&Event::new("e", ""), Form::Json), "{\"event\":\"e\"}");
        assert_eq!(encode(&Event::new("e", ""), Form::SocketIo4), "42/n,[\"e\"]");
        let attachments = [vec![0, 255]];
        let args = "{\"_placeholder\":true,\"num\":0}";
        let binary = Event { attachments: &attachments, ..Event::new("e", args) };
        assert_eq!(encode(&binary, Form::Json), "{\"event\":\"e\",\"data\":{\"_base64\":\"AP8=\"}}");
        assert_eq!(encode(&binary, Form::SocketIo4), format!("451-/n,[\"e\",{args}]"));
    }
}
