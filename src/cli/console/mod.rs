//! `relay console`: follows what pages log.

pub mod command;
mod record;
mod value;

use core::ops::ControlFlow;
use std::{
    collections::HashSet,
    env,
    io::{self, IsTerminal},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use lexopt::Parser;

use self::{
    command::CONSOLE,
    record::{Level, Pages, Record},
};
use super::{
    arguments::Stop,
    credentials::{Account, Credentials, Purpose},
    endpoint::{Endpoint, Sends},
    error::{Error, UsageError},
    options::Options,
    subscription::{Frame, Subscription},
    terminal::{complain, print_line, visible, visible_json},
};
use crate::{
    config::DEMO_KEYS,
    history::Since,
    server::clock::Clock,
    sign::{Scheme, Subject, to_hex},
};

/// The lines to follow.
#[derive(Debug)]
pub struct Console {
    account: Account,
    room: String,
    since: String,
    wanted: Wanted,
}

/// Which lines are printed, and how.
#[derive(Debug)]
struct Wanted {
    user: Option<String>,
    session: Option<String>,
    level: Option<Level>,
    is_json: bool,
    once: bool,
}

impl Console {
    /// Parses what follows `console`.
    pub fn parse(parser: &mut Parser) -> Result<Console, Stop> {
        let mut options = Options::parse(parser, &CONSOLE)?;
        options.no_more_words()?;
        let level = options.take("level");
        let level = level.map(|name| {
            Level::parse(&name).ok_or(UsageError::NotOneOf("level", name, "error, warn, info, log or debug"))
        });
        let level = level.transpose()?;
        let since = options.text("since");
        Since::parse(&since).map_err(|error| UsageError::Since(since.clone(), error))?;
        let wanted = Wanted {
            user: options.take("user"),
            session: options.take("session"),
            level,
            is_json: options.has("json"),
            once: options.has("once"),
        };
        let room = options.take("room").unwrap_or_else(|| ROOM.into());
        Ok(Console { account: Account::new(&mut options)?, room, since, wanted })
    }

    /// Prints lines until the process is killed.
    pub fn run(mut self) -> Result<(), Error> {
        let endpoint = self.account.endpoint(Sends::Credentials)?;
        self.account.prefer_source(SOURCE)?;
        let credentials = self.account.credentials(Purpose::Login)?;
        let wanted = self.wanted;
        let has_some = Arc::new(AtomicBool::new(false));
        let advice = advice(&endpoint, &credentials, &self.room, wanted.user.as_deref());
        let seen = has_some.clone();
        thread::spawn(move || {
            thread::sleep(PATIENCE);
            if !seen.load(Ordering::Relaxed) {
                complain(&advice);
            }
        });
        let subscription = Subscription {
            rooms: self.room,
            userid: String::new(),
            username: "relay console".into(),
            ext_info: String::new(),
        };
        let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_coloured = io::stdout().is_terminal() && !no_color;
        let mut printer =
            Printer { clock: Clock::start(), pages: Pages::default(), others: HashSet::new(), is_coloured };
        subscription.follow(&credentials, &endpoint, self.since, &mut |frame| {
            if frame.event == "sys_error" {
                frame.complain();
            }
            let has_printed = frame.event == "newMsg" && printer.handle(frame, &wanted);
            has_some.fetch_or(has_printed, Ordering::Relaxed);
            if has_printed && wanted.once { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }
}

/// What to do if nothing arrives.
fn advice(endpoint: &Endpoint, credentials: &Credentials, room: &str, user: Option<&str>) -> String {
    let url = match endpoint.to_string() {
        url if url.starts_with("http") => url,
        _ => "http://RELAY".into(),
    };
    let mut element = format!("<script src=\"{url}/js/node_im_remote_debug.js\"");
    let (source, key) = (&*credentials.source, credentials.key());
    let is_default = source == SOURCE && room == ROOM;
    let is_demo = DEMO_KEYS.iter().any(|(name, demo)| *name == SOURCE && demo.as_bytes() == key);
    let mut attribute = |name: &str, value: &str| element += &format!(" data-{name}=\"{}\"", escaped(value));
    let mut more = "";
    if !is_default {
        attribute("source", source);
        attribute("room", room);
    }
    if !is_default || !is_demo {
        let subject = Subject::Connect { source, userid: "", room_ids: room };
        match credentials.scheme(&subject).0 {
            Scheme::Md5 if !key.is_empty() => attribute("sign", &to_hex(&subject.md5(key))),
            _ => {
                attribute("sign", "…");
                more = "\ndata-sign is the md5 signature of a login, which the source must accept.";
            }
        }
    }
    if let Some(user) = user {
        attribute("user", user);
    }
    element += "></script>";
    let of_user = user.map_or_else(String::new, |user| format!(" of user {user:?}"));
    visible_lines(&format!(
        "nothing{of_user} has arrived yet. A page sends what it logs if this is the first line of its <head>:\n  {element}{more}\n\
         A page to try it with is {url}/demo/remote_debug.html"
    ))
}

/// A text within an attribute of HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

fn visible_lines(text: &str) -> String {
    text.lines().map(visible).collect::<Vec<_>>().join("\n")
}

/// The lines that were printed.
struct Printer {
    clock: Clock,
    pages: Pages,
    /// Users of whom nothing is printed, each said once.
    others: HashSet<String>,
    is_coloured: bool,
}

impl Printer {
    /// Prints a message if it is wanted. Returns whether it is.
    fn handle(&mut self, frame: &Frame<'_>, wanted: &Wanted) -> bool {
        let data = frame.json("data").unwrap_or("null");
        let record = Record::read(data);
        let is_wanted = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        if !is_wanted(&wanted.user, &record.user) || !is_wanted(&wanted.session, &record.session) {
            if self.others.len() < MOST_OTHERS && self.others.insert(record.user.clone()) {
                complain(&format_args!("not shown: lines of user {:?}", record.user));
            }
            return false;
        }
        let Some(notes) = self.pages.note(&record) else { return false };
        if !wanted.is_json {
            notes.iter().for_each(|note| print_line(&self.paint(DIM, &visible(&format!("— {note} —")))));
        }
        let is_left_out = record.is_empty && record.dropped > 0;
        if is_left_out || wanted.level.is_some_and(|least| record.level < least) {
            return false;
        }
        match wanted.is_json {
            true => print_line(&visible_json(data)),
            false => print_line(&self.shown(&record)),
        }
        true
    }

    /// A line as people read it. What continues it is indented, so that a page cannot make up a line of another one.
    fn shown(&mut self, record: &Record) -> String {
        let level = record.level;
        let colour = match level {
            Level::Error => RED,
            Level::Warn => YELLOW,
            Level::Info => CYAN,
            Level::Debug => DIM,
            Level::Log => "",
        };
        let from = match (&*record.user, record.path()) {
            ("", "") => String::new(),
            (user, path) => self.paint(DIM, &visible(&format!("{user} {path} "))),
        };
        let (head, rest) = record.words.split_once('\n').unwrap_or((&record.words, ""));
        let mut line = format!(
            "{} {} {from}{}",
            self.paint(DIM, &self.time(record)),
            self.paint(colour, &format!("{:<5}", level.name().to_uppercase())),
            self.paint(if level >= Level::Warn { colour } else { "" }, &visible(head.trim_end_matches('\r')))
        );
        for more in rest.lines().filter(|more| !more.trim().is_empty()) {
            line += "\n  ";
            line += &self.paint(if level == Level::Error { DIM } else { "" }, &visible(more.trim_end()));
        }
        line
    }

    /// The local time of a line.
    fn time(&self, record: &Record) -> String {
        let mut clock = self.clock;
        let now = clock.now();
        let millis = record.time.unwrap_or(now.unix * 1000);
        let local = now.local_at(millis / 1000).to_string();
        format!("{}.{:03}", local.get(11..19).unwrap_or_default(), millis % 1000)
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        match self.is_coloured && !colour.is_empty() && !text.is_empty() {
            true => format!("\x1b[{colour}m{text}\x1b[0m"),
            false => text.into(),
        }
    }
}

/// The source and the room to which the script sends unless the page says otherwise.
const SOURCE: &str = "remote_debug";
const ROOM: &str = "console-log";
/// How long nothing may arrive before it is said what a page needs.
const PATIENCE: Duration = Duration::from_secs(5);
/// Users whose lines are not shown that are named.
const MOST_OTHERS: usize = 50;
const RED: &str = "31";
const YELLOW: &str = "33";
const CYAN: &str = "36";
const DIM: &str = "2";
