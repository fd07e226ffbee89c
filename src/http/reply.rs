//! Replies: a status, headers and a body, and their encoding (RFC 9112 section 4).

use core::cell::Cell;
use std::borrow::Cow;

use super::error::Error;
use crate::json::quote;

/// The answer to one request.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The media type of the body; not sent with 204 and 304, which have none.
    pub content_type: &'static str,
    /// Further headers. `Date`, `Content-Type`, `Content-Length` and `Connection` are added by [`Reply::write`].
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body.
    pub body: Cow<'static, [u8]>,
    /// If the body is a piece of HTML, the title of the document that browsers get ([`Reply::document`]); else empty.
    pub title: &'static str,
}

impl Reply {
    /// A reply with a body of the media type `content_type`.
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Cow<'static, [u8]>>) -> Reply {
        Reply { status, content_type, headers: Vec::new(), body: body.into(), title: "" }
    }

    /// A JSON document.
    pub fn json(status: u16, body: impl Into<Cow<'static, [u8]>>) -> Reply {
        Reply::new(status, JSON, body)
    }

    /// The JSON document for a failed request, with the reason for the client: `{"code":0,"msg":message,"data":""}`
    /// (`docs/protocol.md`, Notifications).
    pub fn refusal(status: u16, message: &str) -> Reply {
        let mut body = String::from("{\"code\":0,\"msg\":");
        body.push_str(&quote(message));
        body.push_str(",\"data\":\"\"}");
        Reply::json(status, body.into_bytes())
    }

    /// Adds a header. Neither `name` nor `value` may contain a line end.
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds the name of a request header that the reply depends on to `Vary`.
    pub fn vary(mut self, name: &'static str) -> Reply {
        match self.headers.iter_mut().find(|(known, _)| *known == "Vary") {
            Some((_, names)) => names.to_mut().extend([", ", name]),
            None => self.headers.push(("Vary", name.into())),
        }
        self
    }

    /// A reply whose piece of HTML is a whole document, with the language, title and landmark that screen readers need.
    /// It allows both colour schemes, without a style, which the pages' Content-Security-Policy forbids.
    pub fn document(&self) -> Reply {
        let title = self.title;
        let head = format!(
            "<!DOCTYPE html>\n<html lang=\"zh\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title} - relay</title>\n<main>\n<h1>{title}</h1>\n"
        );
        let body = [head.as_bytes(), &self.body, b"\n</main>\n"].concat();
        Reply { headers: self.headers.clone(), ..Reply::new(self.status, self.content_type, body) }
    }

    /// Appends the encoded reply to `out`. `unix` is the time of `Date` in seconds. With `head_only`, the answer to HEAD,
    /// `Content-Length` is that of the body, but the body is not sent.
    pub fn write(&self, out: &mut Vec<u8>, connection: Connection, head_only: bool, unix: u64) {
        // Enough for nearly every head: the buffer grows once.
        out.reserve(256 + self.body.len());
        match self.status {
            200 => out.extend_from_slice(b"HTTP/1.1 200 OK\r\nDate: "),
            status => {
                out.extend_from_slice(b"HTTP/1.1 ");
                out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
                out.push(b' ');
                out.extend_from_slice(reason(status).as_bytes());
                out.extend_from_slice(b"\r\nDate: ");
            }
        }
        date(unix, out);
        if !matches!(self.status, 204 | 304) {
            match self.content_type {
                JSON => out.extend_from_slice(b"\r\nContent-Type: application/json\r\nContent-Length: "),
                other => {
                    out.extend_from_slice(b"\r\nContent-Type: ");
                    out.extend_from_slice(other.as_bytes());
                    out.extend_from_slice(b"\r\nContent-Length: ");
                }
            }
            out.extend_from_slice(itoa::Buffer::new().format(self.body.len()).as_bytes());
        }
        for (name, value) in &self.headers {
            ["\r\n", name, ": ", value].into_iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
        }
        out.extend_from_slice(match connection {
            Connection::Stays => b"\r\n\r\n",
            Connection::StaysForOld => b"\r\nConnection: keep-alive\r\n\r\n",
            Connection::Ends => b"\r\nConnection: close\r\n\r\n",
        });
        if !head_only {
            out.extend_from_slice(&self.body);
        }
    }
}

impl From<Error> for Reply {
    fn from(error: Error) -> Reply {
        let reply = Reply::refusal(error.status(), &error.to_string());
        match error.status() {
            429 => reply.with("Retry-After", "5"),
            503 => reply.with("Retry-After", "1"),
            _ => reply,
        }
    }
}

/// The head of a response with status 200 whose body ends with the connection: it has no length, and no chunks. `headers` are
/// further headers, `unix` is the time of `Date` in seconds.
pub fn endless_head(content_type: &str, headers: &[(&'static str, Cow<'static, str>)], unix: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\nDate: ");
    date(unix, &mut out);
    let named = headers.iter().map(|(name, value)| (*name, &**value));
    for (name, value) in [("Content-Type", content_type)].into_iter().chain(named).chain([("Connection", "close")]) {
        ["\r\n", name, ": ", value].into_iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
    }
    out.extend_from_slice(b"\r\n\r\n");
    out
}

/// Whether a connection stays open after a reply (RFC 9112 section 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// It stays open, which is the default of HTTP/1.1.
    Stays,
    /// It stays open, and the reply to a client of HTTP/1.0 says so.
    StaysForOld,
    /// It is closed, and the reply says so.
    Ends,
}

impl Connection {
    /// What becomes of it after the reply to a request.
    pub fn after(keep_alive: bool, http11: bool) -> Connection {
        match (keep_alive, http11) {
            (false, _) => Connection::Ends,
            (true, true) => Connection::Stays,
            (true, false) => Connection::StaysForOld,
        }
    }
}

/// The media type of JSON (RFC 8259 section 11).
pub const JSON: &str = "application/json";

/// Appends an IMF-fixdate (RFC 9110 section 5.6.7). It is formatted once a second.
fn date(unix: u64, out: &mut Vec<u8>) {
    thread_local! {
        static CACHED: Cell<(u64, [u8; 29])> = const { Cell::new((u64::MAX, [b' '; 29])) };
    }
    let (second, mut text) = CACHED.get();
    if second != unix {
        let time = std::time::SystemTime::UNIX_EPOCH + core::time::Duration::from_secs(unix);
        let fresh = httpdate::fmt_http_date(time);
        // An IMF-fixdate has 29 characters until the year 9999, the last one that httpdate supports.
        text.copy_from_slice(fresh.as_bytes());
        CACHED.set((unix, text));
    }
    out.extend_from_slice(&text);
}

/// The reason phrase (RFC 9110 section 15, RFC 6585).
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(reply: &Reply, connection: Connection, head_only: bool) -> String {
        let mut out = Vec::new();
        reply.write(&mut out, connection, head_only, 784_111_777);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_head_without_a_length() {
        let head = endless_head("text/event-stream", &[("Cache-Control", "no-cache".into())], 784_111_777);
        assert_eq!(
            String::from_utf8(head).unwrap(),
            "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/event-stream\r\n\
             Cache-Control: no-cache\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn bytes() {
        let reply = Reply::refusal(404, "no \"such\" page");
        assert_eq!(
            text(&reply, Connection::Stays, false),
            "HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: application/json\r\n\
             Content-Length: 49\r\n\r\n{\"code\":0,\"msg\":\"no \\\"such\\\" page\",\"data\":\"\"}"
                .replace("49\r\n", &format!("{}\r\n", reply.body.len()))
        );
        let head = text(&reply, Connection::Ends, true);
        assert!(head.ends_with("\r\nConnection: close\r\n\r\n"));
        assert!(head.contains(&format!("Content-Length: {}", reply.body.len())));
        let empty = Reply::new(204, "", &b""[..]).with("Allow", "POST");
        assert_eq!(
            text(&empty, Connection::StaysForOld, false),
            "HTTP/1.1 204 No Content\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nAllow: POST\r\nConnection: keep-alive\r\n\r\n"
        );
    }
}
