//! `POST /api/reload`: what a reload has changed, or why it changed nothing (docs/protocol.md, POST /api/reload).

use crate::{
    config::Changes,
    http::Reply,
    json::{ObjectWriter, write_string, write_strings},
};

/// The answer after the new configuration was applied. It ended `ended` sessions.
pub fn applied(changes: &Changes, warnings: &[String], ended: usize) -> Reply {
    let mut body = b"{\"code\":1,\"msg\":\"\",\"data\":{\"changed\":[".to_vec();
    for (index, change) in changes.list.iter().enumerate() {
        body.extend_from_slice(if index == 0 { b"{" } else { b",{" });
        let mut object = ObjectWriter::within(&mut body);
        object.text("key", &change.key);
        for (name, value) in [("old", &change.old), ("new", &change.new)] {
            object.raw(name, |out| match value {
                Some(value) => write_string(out, value),
                None => out.extend_from_slice(b"null"),
            });
        }
        object.text("text", &change.to_string());
        object.raw("restart", |out| out.extend_from_slice(change.restart.to_string().as_bytes()));
        body.push(b'}');
    }
    body.push(b']');
    let mut data = ObjectWriter::within(&mut body);
    data.display("more", changes.more);
    data.raw("warnings", |out| write_strings(out, &texts(warnings)));
    data.display("sessions_ended", ended);
    body.extend_from_slice(b"}}");
    Reply::json(200, body).with("Cache-Control", "no-store")
}

/// The answer if the old configuration stays in force, with the problems of the new one.
pub fn refused(problems: &[String]) -> Reply {
    let mut body = b"{\"code\":0".to_vec();
    let mut object = ObjectWriter::within(&mut body);
    object.text("msg", REFUSED);
    object.raw("data", |out| {
        out.extend_from_slice(b"{\"errors\":");
        write_strings(out, &texts(problems));
        out.push(b'}');
    });
    body.push(b'}');
    Reply::json(409, body).with("Cache-Control", "no-store")
}

fn texts(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

/// The reason of [`refused`].
pub const REFUSED: &str = "the new configuration is bad: the old one stays in force";
