//! Reading the message log: the end of a file, as JSON or as HTML (docs/protocol.md, GET /api/log/…, and Old pages).
//!
//! This file checks the request. The returned [`Page`] specifies the file, and how much of its end the message log's
//! thread reads.

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
    /// The messages of a source: those without a `filename`, or those with the given one.
    Messages,
}

/// `/clientlog`, `/readsysmsg`, `/errorlog` and `/readmsg?source=[&filename=]`: node-socket-im's pages. They also take
/// `date=2026-11-21` and `bytes=`.
pub fn html(head: &Head<'_>, file: File, cx: &Context<'_>) -> Outcome {
    let fields = head.fields();
    if file == File::Messages && fields.get("source").is_empty() {
        return html_page("", ASK_SOURCE).into();
    }
    read(&fields, file, false, cx).unwrap_or_else(Outcome::from)
}

/// `GET /api/log/client`, `sys`, `error` and `messages`: the end of a file as JSON.
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
                return Err(Reply::refusal(400, "source and filename must be 1 to 64 of A-Z a-z 0-9 . _ -"));
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
        bytes => bytes.parse().ok().filter(|bytes| (1..=MAX_BYTES).contains(bytes)),
    };
    match (date, bytes) {
        (Some(date), Some(bytes)) => Ok(Outcome::AwaitDisk(Page { path: file::path(date, &name), bytes, json })),
        (None, _) => Err(Reply::refusal(400, "date must be YYYY-MM-DD, such as 2026-11-21")),
        (_, None) => Err(Reply::refusal(400, "bytes must be 1 to 1048576")),
    }
}

/// Bytes that are read if the request has no `bytes=`.
const DEFAULT_BYTES: u64 = 256 * 1024;
/// The most that `bytes=` may ask for.
const MAX_BYTES: u64 = 1024 * 1024;
