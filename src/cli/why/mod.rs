//! `relay why`: asks a relay why somebody did not get a message.

pub mod command;

use lexopt::Parser;
use serde_json::Value as Json;

use super::{
    arguments::Stop,
    client::{Request, USUAL},
    credentials::{Account, encode},
    endpoint::Sends,
    error::{Error, UsageError},
    options::Options,
    terminal::{say, visible},
};
use crate::message::MessageId;

/// A question.
#[derive(Debug)]
pub struct Why {
    account: Account,
    id: String,
    userid: String,
    room: String,
    session: String,
    is_json: bool,
}

impl Why {
    /// Parses what follows `why`.
    pub fn parse(parser: &mut Parser) -> Result<Why, Stop> {
        let mut options = Options::parse(parser, &command::WHY)?;
        let (userid, room, session) = (options.text("userid"), options.text("room"), options.text("session"));
        let is_json = options.has("json");
        let id = options.only_word()?.unwrap_or_default();
        if [&id, &userid, &room, &session].iter().all(|given| given.is_empty()) {
            return Err(UsageError::MissingQuestion.into());
        }
        if !id.is_empty() && MessageId::parse(&id).is_none() {
            return Err(UsageError::MessageId(id).into());
        }
        Ok(Why { account: Account::new(&mut options)?, id, userid, room, session, is_json })
    }

    /// Prints the answer.
    pub fn run(mut self) -> Result<(), Error> {
        let endpoint = self.account.endpoint(Sends::Credentials)?;
        let (source, token) = self.account.operator()?;
        let fields = [
            ("source", source.unwrap_or_default()),
            ("id", self.id),
            ("userid", self.userid),
            ("room_id", self.room),
            ("socket_id", self.session),
        ];
        let query = encode(&fields.into_iter().filter(|(_, value)| !value.is_empty()).collect());
        let answer = endpoint.ask(Request::get(&format!("/api/why?{query}")).bearer(&token), USUAL)?;
        let (status, text, answer) = (answer.status, answer.text(), answer.json());
        match &answer["data"] {
            Json::Object(_) if status == 200 && self.is_json => say(&format!("{}\n", text.trim_end())),
            Json::Object(_) if status == 200 => say(&shown(&answer["data"])),
            _ => {
                let why = answer["msg"].as_str().unwrap_or(&text).trim_end();
                return Err(Error::Status(status, visible(why)));
            }
        }
        Ok(())
    }
}

/// The answer as lines: what has happened, what follows from it, and since when that is known.
fn shown(data: &Json) -> String {
    let list = |name: &str| data[name].as_array().cloned().unwrap_or_default();
    let time = |text: &Json| visible(text.as_str().and_then(|text| text.get(11..19)).unwrap_or_default());
    let text = |text: &Json| visible(text.as_str().unwrap_or_default());
    let mut out = String::new();
    for line in list("lines") {
        let id = text(&line["id"]);
        let id = if id.is_empty() { id } else { format!(" (id {id})") };
        out += &format!("{} {}{id}\n", time(&line["time"]), text(&line["text"]));
    }
    for verdict in list("verdicts") {
        out += &format!("=> {}\n", text(&verdict));
    }
    if list("lines").is_empty() && list("verdicts").is_empty() {
        out += "nothing is known about it\n";
    }
    for advice in list("advice") {
        out += &format!("-> {}\n", text(&advice));
    }
    if data["since"].is_string() {
        out += &format!("(the records begin at {})\n", time(&data["since"]));
    }
    if data["refusals_since"].is_string() {
        out += &format!("(the records of refusals begin at {})\n", time(&data["refusals_since"]));
    }
    out
}
