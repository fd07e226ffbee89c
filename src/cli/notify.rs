//! `relay notify`: posts a notification.

use std::io;

use lexopt::Parser;
use serde_json::Value as Json;

use super::{
    arguments::Stop,
    commands,
    credentials::{Account, Credentials, Purpose, encode, read_data},
    endpoint::{Endpoint, Sends, exchange},
    error::Error,
    options::Options,
    refusal::reason,
    terminal::say,
};
use crate::{json::quote, sign::Subject};

/// A notification to post.
#[derive(Debug)]
pub struct Notify {
    account: Account,
    rooms: String,
    data: String,
    is_json: bool,
    filename: String,
    idempotency_key: String,
}

impl Notify {
    /// Parses what follows `notify`.
    pub fn parse(parser: &mut Parser) -> Result<Notify, Stop> {
        let mut options = Options::parse(parser, &commands::NOTIFY)?;
        let account = Account::new(&mut options)?;
        let (is_json, filename) = (options.has("json"), options.text("filename"));
        let idempotency_key = options.text("idempotency-key");
        Ok(Notify { account, rooms: options.rooms()?, data: options.data()?, is_json, filename, idempotency_key })
    }

    /// Posts it and prints the answer.
    pub fn run(mut self) -> Result<(), Error> {
        let endpoint = self.account.endpoint(Sends::Credentials)?;
        let credentials = self.account.credentials(Purpose::Send)?;
        let data = read_data(self.data)?;
        let value: Option<Json> = match self.is_json {
            true => Some(serde_json::from_str(&data).map_err(|error| Error::Json("DATA", error))?),
            false => None,
        };
        // Of a JSON string, the value is signed; of any other JSON, the text.
        let signed = value.as_ref().and_then(Json::as_str).unwrap_or(data.trim_matches(JSON_SPACE));
        let signed = if value.is_some() { signed } else { &data };
        let subject = Subject::Notify { source: &credentials.source, room_id: &self.rooms, data: signed.as_bytes() };
        let mut fields = vec![("source", credentials.source.clone()), ("room_id", self.rooms.clone())];
        fields.extend(credentials.sign(&subject));
        if !self.filename.is_empty() {
            fields.push(("filename", self.filename));
        }
        if !self.idempotency_key.is_empty() {
            fields.push(("idempotency_key", self.idempotency_key));
        }
        if value.is_none() {
            fields.push(("data", data));
            return post(&endpoint, "/api/notify", &credentials, FORM, &encode(&fields));
        }
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{}", quote(value))).collect();
        let body = format!("{{{},\"data\":{}}}", fields.join(","), data.trim_matches(JSON_SPACE));
        post(&endpoint, "/api/notify", &credentials, "application/json", &body)
    }
}

/// Posts a message or an event and prints the answer. Fails unless the relay accepts it.
pub fn post(
    endpoint: &Endpoint,
    target: &str,
    credentials: &Credentials,
    media_type: &str,
    body: &str,
) -> Result<(), Error> {
    let authorization = match credentials.token() {
        Some(token) => format!("Authorization: Bearer {token}\r\n"),
        None => String::new(),
    };
    let request = format!(
        "POST {}{target} HTTP/1.1\r\nHost: {}\r\n{authorization}Content-Type: {media_type}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        endpoint.path,
        endpoint.host,
        body.len()
    );
    let mut stream = endpoint.connect()?;
    let failed = |error: io::Error| {
        let why = match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".to_owned(),
            _ => error.to_string(),
        };
        Error::Connection(endpoint.to_string(), why)
    };
    let (status, answer) = exchange(&mut stream, &request).map_err(failed)?;
    let answer = String::from_utf8_lossy(&answer);
    say(&format!("{}\n", answer.trim_end()));
    let answer: Json = serde_json::from_str(&answer).unwrap_or_default();
    if answer["code"] == 1 {
        return Ok(());
    }
    let why = reason(&answer).unwrap_or_else(|| "this is not an answer of relay".into());
    Err(if status == 200 { Error::Refused(why) } else { Error::Status(status, why) })
}

const FORM: &str = "application/x-www-form-urlencoded";
/// White space around a JSON text (RFC 8259 section 2).
const JSON_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];
