//! Reading the message log: the end of a file, as JSON or as node-socket-im's page (docs/protocol.md, Message log).
//!
//! The request is checked here. Reading takes a disk, so the server's thread does it, as the [`Page`] says.

use super::{
    context::Context,
    online::ASK_SOURCE,
    outcome::Outcome,
    page::{Page, html_page},
};
use crate::{
    clock::Date,
    http::{Fields, Head, Reply},
    message_log::file,
    names::is_file_safe,
};

/// A file of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// `client.log`, `sys.log` or `error.log`.
    Of(&'static str),
    /// A source's messages, or a file that messages named.
    Messages,
}

/// `/clientlog`, `/readsysmsg`, `/errorlog` and `/readmsg?source=[&filename=]`: node-socket-im's pages, which take
/// `date=2026-11-21` and `bytes=`, too.
pub fn html(head: &Head<'_>, file: File, cx: &Context<'_>) -> Outcome {
    let fields = head.fields();
    if file == File::Messages && fields.get("source").is_empty() {
        return html_page("", ASK_SOURCE).into();
    }
    read(&fields, file, false, cx).unwrap_or_else(Outcome::from)
}

/// `GET /api/log/client`, `sys`, `error` and `messages`: these files as JSON.
pub fn json(head: &Head<'_>, file: File, cx: &Context<'_>) -> Outcome {
    read(&head.fields(), file, true, cx).unwrap_or_else(Outcome::from)
}

fn read(fields: &Fields<'_>, file: File, json: bool, cx: &Context<'_>) -> Result<Outcome, Reply> {
    if !cx.hub.log.is_on() {
        return Err(Reply::refusal(404, "there is no message log: [message_log] dir is not set"));
    }
    let name = match file {
        File::Of(name) => name.to_owned(),
        File::Messages => {
            let (source, filename) = (fields.get("source"), fields.get("filename").trim());
            if !is_file_safe(source) || !(filename.is_empty() || is_file_safe(filename)) {
                return Err(Reply::refusal(400, "source and filename have 1 to 64 of A-Z a-z 0-9 . _ -"));
            }
            file::messages(source, filename)
        }
    };
    let date = match fields.get("date") {
        "" => Some(cx.now.local().date()),
        date => Date::parse(date),
    };
    let bytes = match fields.get("bytes") {
        "" => Some(DEFAULT_BYTES),
        bytes => bytes.parse().ok().filter(|bytes| (1..=MOST_BYTES).contains(bytes)),
    };
    match (date, bytes) {
        (Some(date), Some(bytes)) => Ok(Outcome::Read(Page { path: file::path(date, &name), bytes, json })),
        (None, _) => Err(Reply::refusal(400, "date is like 2026-11-21")),
        (_, None) => Err(Reply::refusal(400, "bytes is 1 to 1048576")),
    }
}

/// Bytes that are read without `bytes=`, and the most.
const DEFAULT_BYTES: u64 = 256 * 1024;
const MOST_BYTES: u64 = 1024 * 1024;
