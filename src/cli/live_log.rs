//! The lines of a relay's log, as they are written (`GET /api/live`; docs/protocol.md, Live).

use std::io::{self, Read};

use serde_json::Value as Json;

use super::{
    client::{Opened, Request, USUAL},
    connection::{Connection, is_timeout},
    endpoint::Endpoint,
    error::Error,
    refusal::reason,
};

/// A stream of lines of JSON.
pub struct LiveLog {
    connection: Connection,
    /// The beginning of the next line, as far as it has arrived.
    rest: Vec<u8>,
}

impl LiveLog {
    /// Opens the stream. Reads time out after `TICK`.
    pub fn open(endpoint: &Endpoint, token: &str) -> Result<LiveLog, Error> {
        // With HTTP/1.0 no proxy sends chunks.
        let request = Request::get("/api/live?log=info").bearer(token).without_chunks();
        let Opened { answer, connection } = endpoint.open(&request, |answer| answer.status == 200)?;
        let failed = |why: String| Error::Connection(endpoint.to_string(), why);
        if answer.status != 200 {
            let why = reason(&answer.json()).unwrap_or_else(|| "this is not an answer of relay".into());
            return Err(Error::Status(answer.status, why));
        }
        if !answer.header("transfer-encoding").is_empty() {
            return Err(failed("a proxy answers a request of HTTP/1.0 in chunks".into()));
        }
        connection.set_read_timeout(TICK).map_err(|error| failed(error.to_string()))?;
        Ok(LiveLog { connection, rest: answer.body })
    }

    /// The next lines; none if nothing has arrived in time. Fails when the stream has ended.
    pub fn read(&mut self) -> io::Result<Vec<Json>> {
        // Some may have come with the head of the answer, and nothing after them.
        let lines = self.take_lines();
        if !lines.is_empty() {
            return Ok(lines);
        }
        let mut piece = [0; 16_384];
        match self.connection.read(&mut piece) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => self.rest.extend_from_slice(&piece[..length]),
            Err(error) if is_timeout(&error) || error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if self.rest.len() as u64 > USUAL.body {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(self.take_lines())
    }

    /// The lines that are complete.
    fn take_lines(&mut self) -> Vec<Json> {
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let lines: Vec<u8> = self.rest.drain(..=end).collect();
        lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }
}

/// How long a read waits.
const TICK: core::time::Duration = core::time::Duration::from_millis(200);
