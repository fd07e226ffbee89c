//! Whether connections stay open while relay has nothing to say.

use std::{
    io::Read,
    time::{Duration, Instant},
};

use tungstenite::{Error, Message, WebSocket, protocol::Role};

use super::{advice::Advice, finding::Finding};
use crate::cli::{client::Opened, connection::is_timeout};

const CHECK: &str = "idle";
/// The kernel may let long waits take an eighth longer.
const GLANCE: Duration = Duration::from_secs(1);

/// How a connection fared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The connection that was held open, such as `a WebSocket`.
    pub what: &'static str,
    /// How long it was open.
    pub open: Duration,
    /// Why it was closed, and how long before that the last byte had come or gone; `None` if it is still open.
    pub closed: Option<(String, Duration)>,
}

/// Keeps a WebSocket open and answers relay's pings, for `bound` at most.
pub fn hold_websocket(opened: Opened, bound: Duration) -> Held {
    let Opened { answer, connection } = opened;
    let begun = Instant::now();
    let (deadline, mut last) = (begun + bound, begun);
    let mut socket = WebSocket::from_partially_read(connection, answer.body, Role::Client, None);
    let mut hold = || {
        loop {
            if Instant::now() >= deadline {
                let _ = socket.close(None);
                return None;
            }
            socket.get_ref().wait_until(deadline.min(Instant::now() + GLANCE)).ok()?;
            match socket.read() {
                // Engine.IO's own ping.
                Ok(Message::Text(text)) if text.as_str() == "2" => {
                    let _ = socket.send(Message::text("3"));
                }
                Ok(Message::Close(Some(frame))) => return Some(format!("with the code {}", frame.code)),
                Ok(_) => {}
                Err(Error::Io(error)) if is_timeout(&error) => continue,
                Err(Error::Io(error)) => return Some(format!("({error})")),
                Err(_) => return Some("without a reason".into()),
            }
            last = Instant::now();
        }
    };
    let closed = hold();
    let now = Instant::now();
    Held { what: "a WebSocket", open: now - begun, closed: closed.map(|why| (why, now - last)) }
}

/// Keeps a stream open, for `bound` at most.
pub fn hold_stream(opened: Opened, bound: Duration) -> Held {
    let mut connection = opened.connection;
    let begun = Instant::now();
    let (deadline, mut last) = (begun + bound, begun);
    let mut piece = [0; 4096];
    let closed = loop {
        if Instant::now() >= deadline || connection.wait_until(deadline.min(Instant::now() + GLANCE)).is_err() {
            break None;
        }
        match connection.read(&mut piece) {
            Ok(0) => break Some("without a reason".to_owned()),
            Ok(_) => last = Instant::now(),
            Err(error) if is_timeout(&error) => {}
            Err(error) => break Some(format!("({error})")),
        }
    };
    let now = Instant::now();
    Held { what: "a stream", open: now - begun, closed: closed.map(|why| (why, now - last)) }
}

/// Judges a connection on which relay says something at least every `interval`.
pub fn judge(held: &Held, interval: Duration) -> Finding {
    let Held { what, open, closed } = held;
    let seconds = |time: &Duration| format!("{:.0} s", time.as_secs_f64());
    let Some((why, silent)) = closed else {
        return Finding::ok(CHECK, format!("{what} stays open for {}", seconds(open)));
    };
    // A time-out that counts silence ends a connection at a time that has nothing to do with its begin.
    let text = match *silent + Duration::from_secs(1) < *open {
        false => format!(
            "{what} is closed after {} of silence, {why}: the proxy's time-out must be longer than {}, after which relay sends something",
            seconds(silent),
            seconds(&interval)
        ),
        true => format!(
            "{what} is closed after {}, {why}, although something was sent {} before: the proxy limits how long a connection lasts",
            seconds(open),
            seconds(silent)
        ),
    };
    Finding::failure(CHECK, text).advise(Advice::Idle)
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Level, *};

    #[test]
    fn silence_and_duration() {
        let held = |open: u64, closed: Option<u64>| Held {
            what: "a WebSocket",
            open: Duration::from_secs(open),
            closed: closed.map(|silent| ("without a reason".into(), Duration::from_secs(silent))),
        };
        let judge = |held: Held| judge(&held, Duration::from_secs(25));
        assert_eq!(judge(held(70, None)).level, Level::Ok);
        let silent = judge(held(10, Some(10)));
        assert!(
            silent.text.contains("closed after 10 s of silence") && silent.text.contains("longer than 25 s"),
            "{silent:?}"
        );
        let limited = judge(held(60, Some(10)));
        assert!(
            limited.text.contains("closed after 60 s, without a reason, although") && limited.advice.is_some(),
            "{limited:?}"
        );
    }
}
