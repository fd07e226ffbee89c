//! `relay emit`: sends an event to clients.

use lexopt::Parser;
use serde_json::value::RawValue;

use super::{
    arguments::Stop,
    commands,
    credentials::{Account, Purpose, read_data},
    endpoint::Sends,
    error::{Error, UsageError},
    notify::post,
    options::Options,
};
use crate::{json::quote, sign::Subject};

/// An event to send.
#[derive(Debug)]
pub struct Emit {
    account: Account,
    event: Event,
    idempotency_key: String,
}

/// An event with its receivers.
#[derive(Debug)]
pub struct Event {
    name: String,
    nsp: String,
    /// The field that names the receivers; `nsp` for everybody in the namespace.
    kind: &'static str,
    to: String,
    args: Vec<String>,
    is_json: bool,
}

impl Event {
    /// Takes the options and words of an event: its name, and its arguments.
    pub fn take(options: &mut Options) -> Result<Event, Stop> {
        let name = options.next_word().ok_or(UsageError::MissingEvent)?;
        let mut receivers = Vec::new();
        for (kind, option) in [("room_id", "room"), ("userid", "userid"), ("socket_id", "socket-id")] {
            receivers.extend(options.all(option).into_iter().map(|to| (kind, to)));
        }
        receivers.extend(options.has("all").then(|| ("nsp", String::new())));
        let (kind, to) = match receivers.len() {
            0 => return Err(UsageError::MissingReceivers.into()),
            1 => receivers.remove(0),
            _ => return Err(UsageError::Receivers.into()),
        };
        let mut args = options.all("data");
        args.append(&mut options.words);
        let nsp = options.take("nsp").unwrap_or("/".into());
        Ok(Event { name, nsp, kind, to, args, is_json: options.has("json") })
    }

    /// The text of the list of arguments. Reads those that are `-` from standard input.
    pub fn arguments(&mut self) -> Result<String, Error> {
        let mut texts = Vec::new();
        for arg in self.args.drain(..) {
            let arg = read_data(arg)?;
            if self.is_json {
                let raw = serde_json::from_str::<&RawValue>(&arg).map_err(|error| Error::Json("ARG", error))?;
                texts.push(raw.get().to_owned());
            } else {
                texts.push(quote(&arg));
            }
        }
        Ok(format!("[{}]", texts.join(",")))
    }

    /// The fields that its signature covers; `args` is the text of its arguments.
    pub fn subject<'a>(&'a self, source: &'a str, args: &'a str) -> Subject<'a> {
        let (nsp, kind, to, event) = (&self.nsp, self.kind, &self.to, &self.name);
        Subject::Emit { source, nsp, kind, to, event, data: args.as_bytes() }
    }
}

impl Emit {
    /// Parses what follows `emit`.
    pub fn parse(parser: &mut Parser) -> Result<Emit, Stop> {
        let mut options = Options::parse(parser, &commands::EMIT)?;
        let account = Account::new(&mut options)?;
        let idempotency_key = options.text("idempotency-key");
        Ok(Emit { account, event: Event::take(&mut options)?, idempotency_key })
    }

    /// Sends it and prints the answer.
    pub fn run(mut self) -> Result<(), Error> {
        let endpoint = self.account.endpoint(Sends::Credentials)?;
        let credentials = self.account.credentials(Purpose::Send)?;
        let args = self.event.arguments()?;
        let event = &self.event;
        let mut fields = vec![("source", credentials.source.clone()), ("nsp", event.nsp.clone())];
        if event.kind != "nsp" {
            fields.push((event.kind, event.to.clone()));
        }
        fields.push(("event", event.name.clone()));
        fields.extend(credentials.sign(&event.subject(&credentials.source, &args)));
        if !self.idempotency_key.is_empty() {
            fields.push(("idempotency_key", self.idempotency_key.clone()));
        }
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{}", quote(value))).collect();
        let body = format!("{{{},\"args\":{args}}}", fields.join(","));
        post(&endpoint, "/api/emit", &credentials, "application/json", &body)
    }
}
