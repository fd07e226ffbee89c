//! Names of the log's files: `2026-11-21/client.log`, within the log's folder.

use crate::clock::Date;

/// The file of connects and disconnects.
pub const CLIENTS: &str = "client.log";
/// The file of starts, stops, reloads, and changes of the link to Redis.
pub const SYSTEM: &str = "sys.log";
/// The file of refused logins, messages, notifications and publications.
pub const ERRORS: &str = "error.log";

/// The file of a source's messages with this `filename`; `msg.log` if it is empty.
pub fn messages(source: &str, filename: &str) -> String {
    let filename = if filename.is_empty() { "msg.log" } else { filename };
    format!("{source}_{filename}")
}

/// The path of a day's file.
pub fn path(date: Date, name: &str) -> String {
    format!("{date}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let date = Date::parse("2026-11-21").unwrap();
        assert_eq!(path(date, CLIENTS), "2026-11-21/client.log");
        assert_eq!(path(date, &messages("demo", "")), "2026-11-21/demo_msg.log");
        assert_eq!(messages("demo", "x.log"), "demo_x.log");
    }
}
