//! `relay notify`: posts a notification.

use std::io::{self, Read, Write};

use lexopt::{
    Arg::{Long, Value},
    Parser, ValueExt,
};
use serde_json::Value as Json;

use super::{
    arguments::{self, Stop, value},
    credentials::{Credentials, encode, read_data},
    endpoint::{ANSWER_MAX, Endpoint, Stream},
    error::{Error, UsageError},
    terminal::say,
};
use crate::json::quote;

/// A notification to post.
#[derive(Debug)]
pub struct Notify {
    credentials: Credentials,
    url: String,
    rooms: String,
    data: String,
    is_json: bool,
    filename: String,
}

impl Notify {
    /// Parses what follows `notify`.
    pub fn parse(parser: &mut Parser) -> Result<Notify, Stop> {
        let (mut credentials, mut url) = (Credentials::default(), String::from("http://127.0.0.1:4000"));
        let (mut is_json, mut filename) = (false, String::new());
        let (mut words, mut rooms, mut data) = (Vec::new(), Vec::new(), None);
        while let Some(argument) = arguments::next(parser)? {
            match argument {
                Long("source") => credentials.source = value(parser)?,
                Long("key") => credentials.key = Some(value(parser)?),
                Long("key-file") => credentials.key_file = Some(value(parser)?),
                Long("hmac") => credentials.hmac = true,
                Long("url") => url = value(parser)?,
                Long("json") => is_json = true,
                Long("filename") => filename = value(parser)?,
                Long("room-id" | "room-ids") => rooms.push(value(parser)?),
                Long("data") => data = Some(value(parser)?),
                Value(word) => words.push(word.string()?),
                other => return Err(other.unexpected().into()),
            }
        }
        let mut words = words.into_iter();
        if rooms.is_empty() {
            rooms.extend(words.next());
        }
        let rooms = rooms.join(",");
        if rooms.is_empty() {
            return Err(UsageError::MissingRooms.into());
        }
        let data = data.or_else(|| words.next()).ok_or(UsageError::MissingData)?;
        arguments::no_more(words)?;
        Ok(Notify { credentials, url, rooms, data, is_json, filename })
    }

    /// Posts it and prints the answer.
    pub fn run(mut self) -> Result<(), Error> {
        let key = self.credentials.find_key()?;
        self.data = read_data(self.data)?;
        let (media_type, content) = self.body(&key)?;
        let endpoint = Endpoint::parse(&self.url)?;
        let request = format!(
            "POST {}/api/notify HTTP/1.1\r\nHost: {}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{content}",
            endpoint.path,
            endpoint.host,
            content.len()
        );
        let mut stream = endpoint.connect()?;
        let failed = |error: io::Error| Error::Connection(self.url.clone(), error.to_string());
        let (status, answer) = exchange(&mut stream, &request).map_err(failed)?;
        let answer = String::from_utf8_lossy(&answer);
        say(&format!("{}\n", answer.trim_end()));
        if serde_json::from_str::<Json>(&answer).is_ok_and(|answer| answer["code"] == 1) {
            return Ok(());
        }
        Err(if status == 200 { Error::NotificationRefused } else { Error::Status(status) })
    }

    /// The media type and the body of the request.
    fn body(&self, key: &str) -> Result<(&'static str, String), Error> {
        let value: Option<Json> = match self.is_json {
            true => Some(serde_json::from_str(&self.data).map_err(Error::Json)?),
            false => None,
        };
        // Of a JSON string, the value is signed; of any other JSON, the text.
        let signed = value.as_ref().and_then(Json::as_str).unwrap_or(&self.data);
        let mut fields = vec![("source", self.credentials.source.clone()), ("room_id", self.rooms.clone())];
        fields.extend(self.credentials.sign_notify(key, &self.rooms, signed));
        if !self.filename.is_empty() {
            fields.push(("filename", self.filename.clone()));
        }
        if value.is_none() {
            fields.push(("data", self.data.clone()));
            return Ok(("application/x-www-form-urlencoded", encode(&fields)));
        }
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{}", quote(value))).collect();
        Ok(("application/json", format!("{{{},\"data\":{}}}", fields.join(","), self.data.trim())))
    }
}

/// Sends a request and reads until the server closes the connection: the status and the body of the answer.
fn exchange(stream: &mut Stream, request: &str) -> io::Result<(u16, Vec<u8>)> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    let malformed = |_| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP");
    match parsed.parse(&answer).map_err(malformed)? {
        httparse::Status::Complete(head) => Ok((parsed.code.unwrap_or(0), answer.split_off(head))),
        httparse::Status::Partial => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// `relay notify --help`.
pub const HELP: &str = "\
relay notify ROOMS DATA

Posts a signed notification and prints the answer. ROOMS is one room or several, separated by commas. If
DATA is '-', it is read from standard input. The exit code is 0 only if the relay accepted it.

  --url URL               http://host:port or unix:PATH (default: http://127.0.0.1:4000)
  --source NAME           the source (default: demo)
  --key KEY, --key-file FILE
                          its key (default: the key in this machine's configuration)
  --hmac                  use hmac-sha256 in place of md5
  --json                  DATA is JSON: deliver its value instead of a string
  --filename NAME         the message log file to write it to
";
