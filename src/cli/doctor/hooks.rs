//! Whether the backend of hooks answers, asked with a request that changes nothing.

use std::io::{self, Read, Write};

use super::{finding::Finding, place};
use crate::{
    cli::endpoint::Stream,
    config::Config,
    http::response::{Malformed, Reader},
};

const CHECK: &str = "hooks";

/// Sends OPTIONS to the address of the hooks. It is no event, so no backend acts on it.
pub fn check(config: &Config) -> Finding {
    let Some(backend) = &config.hooks.url else { return Finding::ok(CHECK, "not used") };
    let name = place::name(&backend.place);
    let mut stream = match place::connect(&backend.place, config.hooks.tls.as_ref(), config.hooks.timeout) {
        Ok(stream) => stream,
        Err(error) => return Finding::failure(CHECK, format!("the backend {name} cannot be reached: {error}")),
    };
    let request = format!(
        "OPTIONS {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: relay-doctor/{}\r\nConnection: close\r\n\r\n",
        backend.target,
        backend.host(),
        env!("CARGO_PKG_VERSION")
    );
    match exchange(&mut stream, &request) {
        Ok(status) => judge(&name, status),
        Err(error) => Finding::failure(CHECK, format!("the backend {name} does not answer a request: {error}")),
    }
}

fn exchange(stream: &mut Stream, request: &str) -> io::Result<u16> {
    let invalid = |error: Malformed| io::Error::new(io::ErrorKind::InvalidData, error);
    stream.write_all(request.as_bytes())?;
    let (mut reader, mut piece) = (Reader::default(), [0; 4096]);
    loop {
        let length = stream.read(&mut piece).map_err(|error| match super::exchange::is_timeout(&error) {
            true => io::Error::new(io::ErrorKind::TimedOut, "no answer within hooks.timeout"),
            false => error,
        })?;
        let answer = match length {
            0 => Some(reader.handle_end().map_err(invalid)?),
            _ => reader.handle_input(&piece[..length], 1 << 20).map_err(invalid)?,
        };
        if let Some(answer) = answer {
            return Ok(answer.status);
        }
    }
}

/// Judges the status of the answer. A backend that knows only POST answers with 404 or 405.
fn judge(name: &str, status: u16) -> Finding {
    match status {
        200..300 | 405 | 501 => Finding::ok(CHECK, format!("the backend {name} answers (OPTIONS: status {status})")),
        404 => Finding::warning(
            CHECK,
            format!("the backend {name} answers OPTIONS with 404: look whether the path of hooks.url is right"),
        ),
        500.. => Finding::failure(CHECK, format!("the backend {name} fails: status {status}")),
        _ => Finding::warning(
            CHECK,
            format!("the backend {name} answers OPTIONS with status {status}: relay needs 200 to 299 for POST"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Level, *};

    #[test]
    fn statuses() {
        for (status, level) in [
            (204, Level::Ok),
            (405, Level::Ok),
            (404, Level::Warning),
            (301, Level::Warning),
            (401, Level::Warning),
            (502, Level::Failure),
        ] {
            assert_eq!(judge("b", status).level, level, "{status}");
        }
    }
}
