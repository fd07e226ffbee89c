//! `relay listen`: joins rooms and prints their messages.

use core::ops::ControlFlow;

use lexopt::Parser;
use serde_json::Value as Json;

use super::{
    arguments::Stop,
    commands,
    credentials::{Account, Purpose},
    endpoint::Sends,
    error::{Error, UsageError},
    options::Options,
    subscription::{Frame, Subscription},
    terminal::{print_line, visible, visible_json},
};
use crate::{
    history::Since,
    json::{string, to_text},
};

/// Rooms to listen to, and how messages are printed.
#[derive(Debug)]
pub struct Listen {
    account: Account,
    subscription: Subscription,
    /// What it asks for at first.
    since: String,
    is_json: bool,
    once: bool,
}

impl Listen {
    /// Parses what follows `listen`.
    pub fn parse(parser: &mut Parser) -> Result<Listen, Stop> {
        let mut options = Options::parse(parser, &commands::LISTEN)?;
        let account = Account::new(&mut options)?;
        let mut rooms = options.all("room");
        if rooms.is_empty() {
            rooms = core::mem::take(&mut options.words);
        }
        options.no_more_words()?;
        let since = options.text("since");
        Since::parse(&since).map_err(|error| UsageError::Since(since.clone(), error))?;
        let rooms = Some(rooms.join(",")).filter(|rooms| !rooms.is_empty()).ok_or(UsageError::MissingRooms)?;
        let subscription = Subscription {
            rooms,
            userid: options.text("userid"),
            username: options.text("username"),
            ext_info: options.text("ext-info"),
        };
        Ok(Listen { account, subscription, since, is_json: options.has("json"), once: options.has("once") })
    }

    /// Prints messages until the process is killed. Reconnects after a lost connection, but not after a refused login, and asks
    /// for the messages that it has missed.
    pub fn run(mut self) -> Result<(), Error> {
        let endpoint = self.account.endpoint(Sends::Credentials)?;
        let credentials = self.account.credentials(Purpose::Login)?;
        let (is_json, once) = (self.is_json, self.once);
        self.subscription.follow(&credentials, &endpoint, self.since, &mut |frame| {
            let is_message = frame.event == "newMsg";
            match line(frame, is_json) {
                Some(line) => print_line(&line),
                None if frame.event == "sys_error" => frame.complain(),
                None => {}
            }
            if is_message && once { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }
}

/// The part of an event that is printed.
fn line(frame: &Frame<'_>, is_json: bool) -> Option<String> {
    if is_json {
        return Some(visible_json(frame.text));
    }
    let data = frame.json("data").unwrap_or("null");
    let compact = || serde_json::from_str::<Json>(data).map_or_else(|_| data.into(), |data| to_text(&data));
    let text = || string(data).map_or_else(compact, String::from);
    (frame.event == "newMsg").then(|| visible(&format!("{}\t{}", frame.field("room_id"), text())))
}
