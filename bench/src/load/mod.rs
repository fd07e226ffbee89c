//! The plain load of `cargo bench` and the scripts in `tests/bench/`: WebSocket clients, and one backend that publishes to them.
//!
//! Streams of Server-Sent Events can take the place of the WebSockets. [`crate::driver`] makes loads for relay alone. This module also drives other servers that do the same job, and it sends
//! exactly the same bytes in every run, which callgrind needs to count instructions that can be compared. Every delivery is
//! checked for loss, order and content.

mod channel;
mod fan_out;
mod idle;
mod member;
mod others;
mod replay;

use std::{path::PathBuf, time::Duration};

use relay::sign::{Subject, to_hex};

pub use self::{
    channel::Channel,
    fan_out::{FanOut, FanOutCost},
    idle::{Idle, IdleCost, idle_room},
    member::Member,
    others::{Crowd, Delivery},
    replay::{Measured, Replay, ReplayCost},
};
use crate::{
    engineio::{self, Revision},
    error::Error,
    process::Process,
    workload::login,
};

/// The signing key of source `demo`, the public one of relay's built-in demo configuration.
pub const KEY: &str = "try4dfs%#fs!#$2334ds(%B)";
/// How long a load waits for an event, and the maximum duration of a fan-out.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// How clients and backends talk to a server. The default is relay with plain WebSocket clients.
///
/// In `connect` and `notify`, `{room}` is replaced by the room, `{number}` by the client's number and `{sign}` by the signature of
/// a login.
#[derive(Clone, Debug, Default)]
pub struct Dialect {
    /// The revision of Engine.IO if the clients speak Socket.IO.
    pub socketio: Option<Revision>,
    /// Whether the clients have streams of Server-Sent Events in place of WebSockets.
    pub stream: bool,
    /// The target of a client's WebSocket handshake, if it is not relay's.
    pub connect: Option<String>,
    /// The target of a notification, if it is not relay's.
    pub notify: Option<String>,
    /// Whether the body of a notification is the bare data instead of a signed form.
    pub raw_body: bool,
    /// Whether a client sends a frame after its login, as those that have answered a ping did: the kernel then confirms each packet
    /// by itself.
    pub talks: bool,
    /// The authorities of the server's certificate, a PEM file, if the clients use TLS. The backend does not.
    pub authorities: Option<PathBuf>,
}

impl Dialect {
    fn connect_target(&self, room: &str, number: usize) -> String {
        match (&self.connect, self.socketio) {
            (Some(template), _) => {
                let sign = to_hex(&Subject::Connect { source: "demo", userid: "", room_ids: room }.md5(KEY.as_bytes()));
                let target = template.replace("{room}", room).replace("{sign}", &sign);
                target.replace("{number}", &number.to_string())
            }
            (None, Some(revision)) => engineio::path(revision, "websocket", &login("demo", KEY, room, number)),
            (None, None) => {
                format!("/{}?{}", if self.stream { "sse" } else { "ws" }, login("demo", KEY, room, number))
            }
        }
    }

    /// The request that publishes `data` to a room.
    pub fn notification(&self, room: &str, data: &str) -> Vec<u8> {
        let target = self.notify.as_deref().unwrap_or("/api/notify").replace("{room}", room);
        let (media_type, body) = if self.raw_body {
            ("text/plain", data.to_owned())
        } else {
            let subject = Subject::Notify { source: "demo", room_id: room, data: data.as_bytes() };
            let sign = to_hex(&subject.md5(KEY.as_bytes()));
            let fields = [("source", "demo"), ("room_id", room), ("data", data), ("sign", &sign)];
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            ("application/x-www-form-urlencoded", body)
        };
        let length = body.len();
        let head = format!("POST {target} HTTP/1.1\r\nHost: relay\r\nContent-Type: {media_type}\r\n");
        format!("{head}Content-Length: {length}\r\n\r\n{body}").into_bytes()
    }
}

/// The CPU time and resident memory of a server's processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Nanoseconds of CPU time, user and system, of all threads.
    pub cpu: u64,
    /// Bytes of resident memory.
    pub resident: u64,
}

impl Usage {
    /// Reads the usage of these processes.
    pub fn of(processes: &[Process]) -> Result<Usage, Error> {
        processes.iter().try_fold(Usage::default(), |sum, process| {
            let (cpu, resident) = process.cpu().zip(process.memory()).ok_or_else(|| {
                Error::Failed("cannot read the CPU time or the memory of a server's process: did it exit?".into())
            })?;
            Ok(Usage { cpu: sum.cpu + cpu, resident: sum.resident + resident })
        })
    }
}

/// Lets the server finish the work that remains after many connects.
const SETTLE: Duration = Duration::from_millis(300);
/// The kernel accounts the CPU time of a process when it stops running, or some milliseconds later.
const ACCOUNTING: Duration = Duration::from_millis(50);
