//! A page of the message log: the end of a file, and the reply that shows it.

use core::fmt::Write;
use std::io;

use serde_json::value::RawValue;

use super::html::{escape, page};
use crate::{http::Reply, message_log::Tail};

/// A request for the end of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The path of the file, relative to `message_log.dir`.
    pub path: String,
    /// How many bytes of its end to read.
    pub bytes: u64,
    /// Whether the reply is JSON; else it is HTML.
    pub json: bool,
}

impl Page {
    /// The reply with the end of the file. A file that does not exist counts as empty: nothing has been logged yet.
    pub fn reply(&self, tail: io::Result<Tail>) -> Reply {
        let tail = match tail {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Tail::default(),
            Err(error) => return Reply::refusal(500, &format!("{}: {error}", self.path)),
            Ok(tail) => tail,
        };
        let text = String::from_utf8_lossy(&tail.text);
        match self.json {
            true => {
                // Other programs may have written lines that are not JSON.
                let is_json = |line: &&str| serde_json::from_str::<&RawValue>(line).is_ok();
                let lines: Vec<&str> = text.lines().filter(is_json).collect();
                let body = format!(
                    "{{\"file\":\"{}\",\"omitted\":{},\"lines\":[{}]}}",
                    self.path,
                    tail.omitted,
                    lines.join(",")
                );
                Reply::json(200, body.into_bytes()).with("Cache-Control", "no-store")
            }
            false if tail.omitted > 0 => html_page(&text, &format!("… {} bytes", tail.omitted)),
            false => html_page(&text, ""),
        }
    }
}

/// An HTML page with `<br>` before each line, as node-socket-im wrote it.
pub fn html_page(text: &str, before: &str) -> Reply {
    let mut body = String::from(before);
    for line in text.lines() {
        write!(body, "\r\n<br>{}", escape(line)).expect("writing to memory succeeds");
    }
    page("日志", body)
}
