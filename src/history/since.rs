//! Since when a client wants messages.

use core::{error, fmt, time::Duration};

use crate::message::MessageId;

/// Since when a client wants messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// From now on.
    New,
    /// All that is kept.
    All,
    /// Messages that are not older than this.
    Age(Duration),
    /// Messages after the one with this id.
    Id(MessageId),
    /// Messages after one that this relay cannot know: what the client sent is no id of a relay.
    Unknown,
}

/// Where a client stands in the order of all messages, and what it cannot get any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The client has, or does not want, all messages up to this stamp.
    pub stamp: u64,
    /// The indexes of the rooms in which messages after it are missing.
    pub gaps: Vec<usize>,
}

/// Why a text is no [`Since`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinceError {
    /// It is none of the forms.
    Form,
    /// It is longer ago than any message is kept.
    TooLong,
}

impl fmt::Display for SinceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SinceError::Form => f.write_str(
                "since must be the id of a message, a time like 30s, 10m or 2h, a number of seconds, all, or empty",
            ),
            SinceError::TooLong => write!(f, "since can be at most {} hours ago", MAX_SECONDS / 3600),
        }
    }
}

impl error::Error for SinceError {}

impl Since {
    /// Parses what a client sends: the id of a message, `30s`, `10m`, `2h` or `30` (seconds), `all`, or nothing for
    /// [`Since::New`].
    pub fn parse(text: &str) -> Result<Since, SinceError> {
        match text {
            "" => return Ok(Since::New),
            "all" => return Ok(Since::All),
            _ => {}
        }
        if let Some(id) = MessageId::parse(text) {
            return Ok(Since::Id(id));
        }
        let (digits, unit) = match text.as_bytes().last() {
            Some(b's') => (&text[..text.len() - 1], 1),
            Some(b'm') => (&text[..text.len() - 1], 60),
            Some(b'h') => (&text[..text.len() - 1], 3600),
            _ => (text, 1),
        };
        if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(SinceError::Form);
        }
        let seconds = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        let seconds = seconds.filter(|seconds| *seconds <= MAX_SECONDS).ok_or(SinceError::TooLong)?;
        Ok(Since::Age(Duration::from_secs(seconds)))
    }
}

/// The longest time that `history.age` can be.
const MAX_SECONDS: u64 = 604_800;

/// Digits of a number; the id of a message has more.
const MAX_DIGITS: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let age = |seconds| Ok(Since::Age(Duration::from_secs(seconds)));
        let id = MessageId::first(1_795_000_000_000_000, 7);
        for (text, since) in [
            ("", Ok(Since::New)),
            ("all", Ok(Since::All)),
            ("30", age(30)),
            ("30s", age(30)),
            ("10m", age(600)),
            ("2h", age(7200)),
            ("0", age(0)),
            ("0604800", age(604_800)),
            ("604801", Err(SinceError::TooLong)),
            ("169h", Err(SinceError::TooLong)),
            ("999999999999999", Err(SinceError::TooLong)),
            ("999999999999999h", Err(SinceError::TooLong)),
            (&id.to_string(), Ok(Since::Id(id))),
            (&id.part(12).to_string(), Ok(Since::Id(id.part(12)))),
            // An id of digits alone.
            ("12345678901234567", Ok(Since::Id(MessageId::parse("12345678901234567").unwrap()))),
        ] {
            assert_eq!(Since::parse(text), since, "{text}");
        }
        for wrong in ["ALL", "s", "h", "-1", "+1", "1.5", "1d", "30 s", " 30", "é", "1é", "123456789012345678", "null"]
        {
            assert_eq!(Since::parse(wrong), Err(SinceError::Form), "{wrong}");
        }
        assert!(SinceError::Form.to_string().contains("30s, 10m or 2h"));
        assert_eq!(SinceError::TooLong.to_string(), "since can be at most 168 hours ago");
    }
}
