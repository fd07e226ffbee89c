//! `relay notify`: posts a notification.

use lexopt::Parser;
use serde_json::Value as Json;

use super::{
    arguments::Stop,
    client::{Request, USUAL},
    commands,
    credentials::{Account, Credentials, Purpose, encode, read_data},
    endpoint::{Endpoint, Sends},
    error::Error,
    options::Options,
    refusal::reason,
    terminal::say,
};
use crate::{json::quote, sign::Subject, text::Count};

/// A notification to post.
#[derive(Debug)]
pub struct Notify {
    account: Account,
    rooms: String,
    data: String,
    is_json: bool,
    filename: String,
    idempotency_key: String,
    receipt: bool,
    wait: String,
}

impl Notify {
    /// Parses what follows `notify`.
    pub fn parse(parser: &mut Parser) -> Result<Notify, Stop> {
        let mut options = Options::parse(parser, &commands::NOTIFY)?;
        let account = Account::new(&mut options)?;
        let (is_json, filename) = (options.has("json"), options.text("filename"));
        let idempotency_key = options.text("idempotency-key");
        let (receipt, wait) = (options.has("receipt"), options.text("wait"));
        let (rooms, data) = (options.rooms()?, options.data()?);
        Ok(Notify { account, rooms, data, is_json, filename, idempotency_key, receipt, wait })
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
        let print = if self.receipt || !self.wait.is_empty() { print_receipt } else { print_answer };
        if self.receipt {
            fields.push(("receipt", "1".into()));
        }
        if !self.wait.is_empty() {
            fields.extend([("wait", "acked".into()), ("ms", self.wait)]);
        }
        if value.is_none() {
            fields.push(("data", data));
            return post_and(&endpoint, "/api/notify", &credentials, (FORM, &encode(&fields)), print);
        }
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{}", quote(value))).collect();
        let body = format!("{{{},\"data\":{}}}", fields.join(","), data.trim_matches(JSON_SPACE));
        post_and(&endpoint, "/api/notify", &credentials, ("application/json", &body), print)
    }
}

/// Prints an answer as it is.
fn print_answer(answer: &str) {
    say(&format!("{}\n", answer.trim_end()));
}

/// Prints the receipt of an answer for people. An answer without one is printed as it is.
fn print_receipt(answer: &str) {
    match serde_json::from_str::<Json>(answer).ok().as_ref().and_then(|answer| describe(&answer["data"])) {
        Some(text) => say(&text),
        None => print_answer(answer),
    }
}

/// A receipt as lines, or `None` if this is none.
fn describe(receipt: &Json) -> Option<String> {
    let mut lines = String::new();
    for room in receipt["rooms"].as_array()? {
        let (sessions, guests) = (room["sessions"].as_u64()?, room["guests"].as_u64()?);
        let mut parts = match sessions {
            0 => vec!["nobody".to_owned()],
            _ => vec![Count(sessions, "session").to_string()],
        };
        parts.extend(names(room, "users", "users", "more"));
        parts.extend((guests > 0).then(|| format!("without a user: {guests}")));
        parts.extend(names(room, "away", "away", "more_away"));
        parts.extend((room["kept"] == true).then(|| "kept".to_owned()));
        lines += &format!("room {}: {}\n", room["room_id"].as_str()?, parts.join("; "));
    }
    if let Some(acked) = receipt["acked"].as_u64() {
        let mut parts = vec![format!("acknowledged: {acked}")];
        parts.extend(names(receipt, "users", "acked_users", "more_acked"));
        lines += &format!("{}\n", parts.join("; "));
    }
    if receipt["complete"] != true {
        lines += "incomplete: another relay has not answered, or too many receipts are open\n";
    }
    Some(lines)
}

/// A list of names with its label. Nothing if it is empty.
fn names(object: &Json, label: &str, field: &str, more: &str) -> Option<String> {
    let list = object[field].as_array().filter(|list| !list.is_empty())?;
    let mut names: Vec<String> = list.iter().filter_map(Json::as_str).map(visible).collect();
    names.extend(object[more].as_u64().map(|more| format!("{more} more")));
    Some(format!("{label} {}", names.join(", ")))
}

/// A name without characters that would change the terminal.
fn visible(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Posts a message or an event and prints the answer. Fails unless the relay accepts it.
pub fn post(
    endpoint: &Endpoint,
    target: &str,
    credentials: &Credentials,
    media_type: &str,
    body: &str,
) -> Result<(), Error> {
    post_and(endpoint, target, credentials, (media_type, body), print_answer)
}

/// As [`post`], but prints the answer with `print`.
fn post_and(
    endpoint: &Endpoint,
    target: &str,
    credentials: &Credentials,
    (media_type, body): (&str, &str),
    print: fn(&str),
) -> Result<(), Error> {
    let request = Request::post(target, body.as_bytes()).bearer(credentials.token().unwrap_or_default());
    let answer = endpoint.ask(request.with("Content-Type", media_type), USUAL)?;
    print(&answer.text());
    let (status, answer) = (answer.status, answer.json());
    if answer["code"] == 1 {
        return Ok(());
    }
    let why = reason(&answer).unwrap_or_else(|| "this is not an answer of relay".into());
    Err(if status == 200 { Error::Refused(why) } else { Error::Status(status, why) })
}

const FORM: &str = "application/x-www-form-urlencoded";
/// White space around a JSON text (RFC 8259 section 2).
const JSON_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_for_people() {
        let text = |json: &str| describe(&serde_json::from_str(json).unwrap());
        let receipt = r#"{"id":"1","complete":false,"rooms":[
            {"room_id":"a","sessions":3,"users":["7","9\u001b"],"more":4,"guests":1,"away":["1305"],"kept":true},
            {"room_id":"b","sessions":1,"users":["7"],"guests":0,"away":[],"kept":false},
            {"room_id":"rome","sessions":0,"guests":0,"kept":false}],"acked":2,"acked_users":["7"]}"#;
        let expected = "room a: 3 sessions; users 7, 9\u{fffd}, 4 more; without a user: 1; away 1305; kept\n\
                        room b: 1 session; users 7\nroom rome: nobody\nacknowledged: 2; users 7\n\
                        incomplete: another relay has not answered, or too many receipts are open\n";
        assert_eq!(text(receipt).as_deref(), Some(expected));
        assert_eq!((text("\"\""), text("{}"), text("null")), (None, None, None));
    }
}
