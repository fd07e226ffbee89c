//! What a backend asks for with a notification.

use core::time::Duration;

use crate::state::Refusal;

/// The receipt that a notification asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptRequest {
    /// Whether it names users.
    pub names: bool,
    /// How long to wait until all clients are known to have the message.
    pub wait: Option<Duration>,
}

impl ReceiptRequest {
    /// Parses the fields `receipt`, `wait` and `ms`, which are empty if they are missing. `None` if no receipt is asked for.
    pub fn parse(receipt: &str, wait: &str, ms: &str) -> Result<Option<ReceiptRequest>, Refusal> {
        let wait = match (wait, ms) {
            ("", "") => None,
            ("acked", "") => Some(DEFAULT_WAIT),
            ("acked", ms) => Some(milliseconds(ms).ok_or(Refusal::MsRange(MAX_WAIT))?),
            _ => return Err(Refusal::WaitUnknown),
        };
        match receipt {
            "" | "0" if wait.is_none() => Ok(None),
            "" | "1" => Ok(Some(ReceiptRequest { names: true, wait })),
            "count" => Ok(Some(ReceiptRequest { names: false, wait })),
            _ => Err(Refusal::ReceiptUnknown),
        }
    }
}

/// Refuses a notification to so many rooms that its receipt would be too large.
pub fn check_rooms(rooms: usize) -> Result<(), Refusal> {
    if rooms > MAX_ROOMS { Err(Refusal::ReceiptRooms(MAX_ROOMS)) } else { Ok(()) }
}

fn milliseconds(text: &str) -> Option<Duration> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = text.parse().ok().filter(|number| is_number && (1..=MAX_WAIT).contains(number))?;
    Some(Duration::from_millis(number))
}

/// The most rooms of a notification with a receipt.
const MAX_ROOMS: usize = 100;
/// The most milliseconds that a notification may wait.
const MAX_WAIT: u64 = 10_000;
/// How long it waits without `ms`.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let parse = ReceiptRequest::parse;
        let request = |names, ms: u64| {
            Ok(Some(ReceiptRequest { names, wait: Some(ms).filter(|ms| *ms > 0).map(Duration::from_millis) }))
        };
        assert_eq!((parse("", "", ""), parse("0", "", "")), (Ok(None), Ok(None)));
        assert_eq!((parse("1", "", ""), parse("count", "", "")), (request(true, 0), request(false, 0)));
        assert_eq!((parse("1", "acked", ""), parse("", "acked", "800")), (request(true, 1000), request(true, 800)));
        assert_eq!(
            (parse("count", "acked", "1"), parse("1", "acked", "10000")),
            (request(false, 1), request(true, 10_000))
        );
        assert_eq!((check_rooms(100), check_rooms(101)), (Ok(()), Err(Refusal::ReceiptRooms(100))));
        for wrong in ["2", "yes", "Count", " 1", "0"] {
            assert_eq!(parse(wrong, "acked", "1"), Err(Refusal::ReceiptUnknown), "{wrong}");
        }
        for (wait, ms) in [("ack", ""), ("1", ""), ("", "800"), ("Acked", "800")] {
            assert_eq!(parse("1", wait, ms), Err(Refusal::WaitUnknown), "{wait} {ms}");
        }
        for ms in ["0", "10001", "-1", "+1", "1.5", "x", " 1", "99999999999999999999999"] {
            assert_eq!(parse("1", "acked", ms), Err(Refusal::MsRange(10_000)), "{ms}");
        }
    }
}
