//! Whether frames come through an open WebSocket, in both directions.

use std::time::{Duration, Instant};

use tungstenite::{Message, WebSocket, protocol::Role};

use super::{advice::Advice, finding::Finding};
use crate::cli::{client::Opened, connection::is_timeout};

/// A pong must come within this time.
const TIMEOUT: Duration = Duration::from_secs(5);
const PAYLOAD: &[u8] = b"relay-doctor";

/// Sends a ping and waits for the pong. `None` if it comes.
pub fn check(check: &'static str, opened: Opened) -> Option<Finding> {
    let Opened { answer, connection } = opened;
    let deadline = Instant::now() + TIMEOUT;
    let mut socket = WebSocket::from_partially_read(connection, answer.body, Role::Client, None);
    let _ = socket.send(Message::Ping(PAYLOAD.into()));
    let why = loop {
        if Instant::now() >= deadline || socket.get_ref().wait_until(deadline).is_err() {
            break "a ping gets no answer".to_owned();
        }
        match socket.read() {
            Ok(Message::Pong(payload)) if payload.as_ref() == PAYLOAD => {
                let _ = socket.close(None);
                return None;
            }
            Ok(Message::Close(Some(frame))) => break format!("it is closed with {}", frame.code),
            Ok(_) => {}
            Err(tungstenite::Error::Io(error)) if is_timeout(&error) => {}
            Err(error) => break format!("it ends: {error}"),
        }
    };
    let text = format!("a WebSocket opens, but then nothing comes through: {why}");
    Some(Finding::failure(check, text).advise(Advice::Upgrade))
}
