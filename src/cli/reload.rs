//! `relay reload`: has a relay read its configuration again, and prints what has changed.

use lexopt::Parser;
use serde_json::Value as Json;

use super::{
    arguments::Stop,
    client::{Request, USUAL},
    credentials::Account,
    endpoint::Sends,
    error::Error,
    operators::RELOAD,
    options::Options,
    refusal::reason,
    terminal::{complain, say, visible},
};
use crate::text::Count;

/// The relay that shall reload.
#[derive(Debug)]
pub struct Reload {
    account: Account,
}

impl Reload {
    /// Parses what follows `reload`.
    pub fn parse(parser: &mut Parser) -> Result<Reload, Stop> {
        let mut options = Options::parse(parser, &RELOAD)?;
        options.no_more_words()?;
        Ok(Reload { account: Account::new(&mut options)? })
    }

    /// Prints what has changed. Fails with the problems of the new configuration if nothing has.
    pub fn run(mut self) -> Result<(), Error> {
        let endpoint = self.account.endpoint(Sends::Credentials)?;
        let token = self.account.admin_token()?;
        let answer = endpoint.ask(Request::post("/api/reload", b"").bearer(&token), USUAL)?;
        let (status, answer) = (answer.status, answer.json());
        let data = &answer["data"];
        texts(&data["warnings"]).for_each(|warning| complain(&format_args!("warning: {}", visible(warning))));
        if let (Some(lines), 1) = (describe(data), answer["code"].as_u64().unwrap_or_default()) {
            say(&lines);
            return Ok(());
        }
        texts(&data["errors"]).for_each(|error| complain(&visible(error)));
        let why = reason(&answer).unwrap_or_else(|| "this is not an answer of relay".into());
        Err(match status {
            // Its token is the one from before.
            401 => Error::Refused(format!(
                "{why}. If the token in the file is new, give the old one with --token or --token-file, or reload with \
                 SIGHUP (systemctl reload relay)"
            )),
            409 => Error::Refused(why),
            status => Error::Status(status, why),
        })
    }
}

/// What has changed as lines, or `None` if this does not say it.
fn describe(data: &Json) -> Option<String> {
    let changed = data["changed"].as_array()?;
    let mut lines = String::new();
    for change in changed {
        lines += &format!("changed: {}\n", visible(change["text"].as_str()?));
    }
    match data["more"].as_u64().unwrap_or_default() {
        0 => {}
        more => lines += &format!("changed: {}\n", Count(more, "more key")),
    }
    match data["sessions_ended"].as_u64().unwrap_or_default() {
        0 => {}
        ended => lines += &format!("{ended} sessions end: the new configuration would not admit them\n"),
    }
    lines += if changed.is_empty() { "nothing has changed\n" } else { "configuration re-read\n" };
    Some(lines)
}

fn texts(list: &Json) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Json::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_for_people() {
        let data = json!({"changed": [{"text": "a: 1 → \u{1b}"}], "more": 2, "sessions_ended": 3});
        let expected = "changed: a: 1 → \\u{1b}\nchanged: 2 more keys\n\
                        3 sessions end: the new configuration would not admit them\nconfiguration re-read\n";
        assert_eq!(describe(&data).as_deref(), Some(expected));
        assert_eq!(describe(&json!({"changed": []})).as_deref(), Some("nothing has changed\n"));
        assert_eq!((describe(&json!("")), describe(&json!({"changed": [1]}))), (None, None));
    }
}
