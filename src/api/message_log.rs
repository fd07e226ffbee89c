//! Reading the message log: the end of a file, as JSON or as the old server's page (contract section 7).
//!
//! What is read is decided here, from names that were checked; the reading itself waits for a disk and is the world's.

use core::fmt::Write;
use std::{borrow::Cow, io};

use serde_json::value::RawValue;

use super::{
    Context, Outcome,
    html::{escape, page},
    online::ASK_SOURCE,
};
use crate::{
    clock::Date,
    http::{Fields, Head, Reply},
    names::is_file_safe,
};

/// What is to be read, and how it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The file within the log's folder.
    pub path: String,
    /// How much of its end.
    pub bytes: u64,
    /// Whether as JSON.
    pub json: bool,
}

/// The end of a file: whole lines.
#[derive(Debug)]
pub struct Tail {
    /// The lines.
    pub text: Vec<u8>,
    /// How many bytes come before them.
    pub omitted: u64,
}

/// A file of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// `client.log`, `sys.log` or `error.log`.
    Of(&'static str),
    /// A source's messages, or a file that messages named.
    Messages,
}

/// The old server's pages: `/clientlog`, `/readsysmsg`, `/errorlog`, `/readmsg?source=[&filename=]`; now also with
/// `date=2026-11-21` and `bytes=`.
pub fn html(head: &Head<'_>, file: File, cx: &Context<'_>) -> Outcome {
    let fields = head.fields();
    if file == File::Messages && fields.get("source").is_empty() {
        return html_page("", ASK_SOURCE).into();
    }
    read(&fields, file, false, cx).unwrap_or_else(Outcome::from)
}

/// `GET /api/log/client`, `sys`, `error` and `messages`: the same as JSON.
pub fn json(head: &Head<'_>, file: File, cx: &Context<'_>) -> Outcome {
    read(&head.fields(), file, true, cx).unwrap_or_else(Outcome::from)
}

fn read(fields: &Fields<'_>, file: File, json: bool, cx: &Context<'_>) -> Result<Outcome, Reply> {
    if !cx.hub.log.is_on() {
        return Err(Reply::refusal(404, "there is no message log: [message_log] dir is not set"));
    }
    let name: Cow<'static, str> = match file {
        File::Of(name) => name.into(),
        File::Messages => {
            let (source, filename) = (fields.get("source"), fields.get("filename").trim());
            let filename = if filename.is_empty() { "msg.log" } else { filename };
            if !is_file_safe(source) || !is_file_safe(filename) {
                return Err(Reply::refusal(400, "source and filename have 1 to 64 of A-Z a-z 0-9 . _ -"));
            }
            format!("{source}_{filename}").into()
        }
    };
    let date = match fields.get("date") {
        "" => Some(cx.now.local().date()),
        date => Date::parse(date),
    };
    let bytes = match fields.get("bytes") {
        "" => Some(USUAL),
        bytes => bytes.parse().ok().filter(|bytes| (1..=MOST).contains(bytes)),
    };
    match (date, bytes) {
        (Some(date), Some(bytes)) => Ok(Outcome::Read(Page { path: format!("{date}/{name}"), bytes, json })),
        (None, _) => Err(Reply::refusal(400, "date is like 2026-11-21")),
        (_, None) => Err(Reply::refusal(400, "bytes is 1 to 1048576")),
    }
}

impl Page {
    /// What who asked gets. A file that is not there is empty: nothing has happened yet.
    pub fn reply(&self, tail: io::Result<Tail>) -> Reply {
        let tail = match tail {
            Ok(tail) => tail,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Tail { text: Vec::new(), omitted: 0 },
            Err(error) => return Reply::refusal(500, &format!("{}: {error}", self.path)),
        };
        let text = String::from_utf8_lossy(&tail.text);
        match self.json {
            true => {
                // What somebody else wrote into the file may be no JSON.
                let right = |line: &&str| serde_json::from_str::<&RawValue>(line).is_ok();
                let lines: Vec<&str> = text.lines().filter(right).collect();
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

/// Each line begins with its break, as the old server's did.
fn html_page(text: &str, before: &str) -> Reply {
    let mut body = String::from(before);
    for line in text.lines() {
        write!(body, "\r\n<br>{}", escape(line)).expect("writing to memory succeeds");
    }
    page(body)
}

/// Bytes that are read if nobody says how many, and the most.
const USUAL: u64 = 256 * 1024;
const MOST: u64 = 1024 * 1024;
