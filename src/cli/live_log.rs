//! The lines of a relay's log, as they are written (`GET /api/live`; docs/protocol.md, Live).

use std::io::{self, Read, Write};

use serde_json::Value as Json;

use super::{
    endpoint::{ANSWER_MAX, Endpoint, Stream},
    error::Error,
    refusal::reason,
};

/// A stream of lines of JSON.
pub struct LiveLog {
    stream: Stream,
    /// The beginning of the next line, as far as it has arrived.
    rest: Vec<u8>,
}

impl LiveLog {
    /// Opens the stream. Reads time out after `TICK`.
    pub fn open(endpoint: &Endpoint, token: &str) -> Result<LiveLog, Error> {
        let Endpoint { host, path, .. } = endpoint;
        // With HTTP/1.0 no proxy sends chunks.
        let request =
            format!("GET {path}/api/live?log=info HTTP/1.0\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n");
        let failed = |error: io::Error| Error::Connection(endpoint.to_string(), error.to_string());
        let mut stream = endpoint.connect()?;
        stream.write_all(request.as_bytes()).map_err(failed)?;
        let mut seen = Vec::new();
        let (status, end) = loop {
            let mut piece = [0; 4096];
            let length = stream.read(&mut piece).map_err(failed)?;
            seen.extend_from_slice(&piece[..length]);
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut head = httparse::Response::new(&mut headers);
            match head.parse(&seen) {
                Ok(httparse::Status::Complete(end)) => break (head.code.unwrap_or(0), end),
                Ok(httparse::Status::Partial) if length > 0 && (seen.len() as u64) < ANSWER_MAX => {}
                _ => return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))),
            }
        };
        let mut rest = seen.split_off(end);
        if status != 200 {
            let _ = stream.take(ANSWER_MAX).read_to_end(&mut rest);
            let why = serde_json::from_slice(&rest).ok().and_then(|answer| reason(&answer));
            return Err(Error::Status(status, why.unwrap_or_else(|| "this is not an answer of relay".into())));
        }
        stream.set_read_timeout(TICK).map_err(failed)?;
        Ok(LiveLog { stream, rest })
    }

    /// The next lines; none if nothing has arrived in time. Fails when the stream has ended.
    pub fn read(&mut self) -> io::Result<Vec<Json>> {
        let mut piece = [0; 16_384];
        match self.stream.read(&mut piece) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => self.rest.extend_from_slice(&piece[..length]),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
        if self.rest.len() as u64 > ANSWER_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(Vec::new()) };
        let lines: Vec<u8> = self.rest.drain(..=end).collect();
        Ok(lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }
}

/// How long a read waits.
const TICK: core::time::Duration = core::time::Duration::from_millis(200);
