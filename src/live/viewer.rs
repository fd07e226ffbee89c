//! A viewer, and the lines about messages that it gets.

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use log::LevelFilter;

use crate::{
    json::ObjectWriter,
    key::ClientKey,
    message::{Author, Data, MessageId},
    state::{State, TenantId},
    text::truncate,
};

/// An operator's stream.
pub struct Viewer {
    /// Its client.
    pub client: ClientKey,
    /// The room whose messages it shows, by the hash of its name.
    pub room: Option<(TenantId, u64)>,
    /// The least level of the lines of the log that it shows.
    pub level: LevelFilter,
    /// How far it has got in the log.
    pub log_position: LogPosition,
    /// Lines of the log that were left out since this was last said.
    pub omitted_lines: u64,
    messages: u64,
}

/// How far a viewer has got in the log. The default is before its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogPosition {
    /// The number of the last line.
    pub last: u64,
    /// How many lines of its levels there were until then.
    pub wanted: u64,
}

/// Lines of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// The lines, each as an object.
    pub text: Vec<u8>,
    /// How many of its levels were left out.
    pub omitted: u64,
    /// The position behind them.
    pub position: LogPosition,
}

/// A message to a room, as viewers see it.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The room.
    pub room: &'a str,
    /// Its id.
    pub id: MessageId,
    /// What it says.
    pub data: Data<'a>,
    /// Where it comes from.
    pub author: Author<'a>,
    /// The sender, if it is a session of this relay; else empty.
    pub socket_id: &'a str,
    /// For how many sessions of this relay it was queued.
    pub sessions: u64,
    /// Whether the room keeps it.
    pub kept: bool,
}

impl Viewer {
    /// A viewer of the messages of a room, and of lines of the log.
    pub fn new(client: ClientKey, room: Option<(TenantId, u64)>, level: LevelFilter) -> Viewer {
        Viewer { client, room, level, log_position: LogPosition::default(), omitted_lines: 0, messages: 0 }
    }

    /// Counts a message. Returns whether it is one of the first of this second.
    pub fn may_show(&mut self) -> bool {
        self.messages += 1;
        self.messages <= MOST_MESSAGES
    }

    /// Begins the next second. Returns a line with what was left out in this one.
    pub fn take_omitted(&mut self) -> Option<String> {
        let messages = core::mem::take(&mut self.messages).saturating_sub(MOST_MESSAGES);
        let lines = core::mem::take(&mut self.omitted_lines);
        (messages + lines > 0).then(|| format!("{{\"type\":\"omitted\",\"messages\":{messages},\"lines\":{lines}}}\n"))
    }
}

/// The line for a message.
pub fn message_line(tenant: TenantId, shown: &Shown<'_>, state: &State) -> Vec<u8> {
    let Shown { room, id, data, author, socket_id, sessions, kept } = *shown;
    let mut out = vec![b'{'];
    let mut line = ObjectWriter::within(&mut out);
    line.text("type", "message");
    line.display("time", state.now.unix);
    line.text("id", &id.to_string());
    line.text("source", &state.tenants[tenant.index()].name);
    line.text("room_id", room);
    line.text("from", if author == Author::Backend { "backend" } else { "client" });
    line.nonempty("socket_id", socket_id);
    let bytes = match data {
        Data::Text(text) | Data::Json(text) | Data::Mixed { json: text, .. } => {
            line.text("data", truncate(text, MOST_BYTES));
            text.len()
        }
        Data::Binary(bytes) => {
            line.text("base64", &BASE64.encode(&bytes[..bytes.len().min(MOST_BYTES)]));
            bytes.len()
        }
    };
    line.display("bytes", bytes);
    line.display("sessions", sessions);
    line.raw("kept", |out| out.extend_from_slice(if kept { b"true" } else { b"false" }));
    out.extend_from_slice(b"}\n");
    out
}

/// Messages that a viewer gets in a second.
const MOST_MESSAGES: u64 = 100;
/// Bytes of a message that a viewer gets.
const MOST_BYTES: usize = 4000;
