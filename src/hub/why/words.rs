//! Records in words.

use super::{super::Hub, findings::Findings};
use crate::{
    clock::Time,
    journal::{EVERY, Record, What, unpack},
};

/// A record in words.
pub fn words(hub: &Hub, found: &Findings<'_>, record: &Record) -> String {
    let journal = &hub.state.journal;
    let room = |hash| found.rooms.get(&hash).map_or_else(|| "another room".into(), |name| format!("room {name}"));
    let session = || format!("session {}", found.socket_id(hub, record.session));
    let why = journal.why(record);
    let because = if why.is_empty() { String::new() } else { format!(": {why}") };
    let aside = if why.is_empty() { String::new() } else { format!(" ({why})") };
    let count = record.count;
    match record.what {
        What::Published | What::Kept => {
            let kept = if record.what == What::Kept { " and kept" } else { ", which keeps nothing" };
            let from = origin(hub, record).map_or_else(String::new, |from| format!(" by {from}"));
            format!("published{from} to {}{kept}: sent to {}", room(record.who), counted(count.into(), "session"))
        }
        What::Came => format!("{} logged in{because}", session()),
        What::Joined => format!("{} joined {}{aside}", session(), room(record.stamp)),
        What::Left => format!("{} left {}{aside}", session(), room(record.stamp)),
        What::Ended => format!("{} ended{because}", session()),
        What::Lost => format!("{} was lost{because}", session()),
        What::Silent => format!("{} did not answer when it was asked, so that another may take its place", session()),
        What::Returned => {
            format!("{} went on in the place of one that was lost; {count} messages again", session())
        }
        What::Resumed => {
            format!("{} said what it has; {} that it had missed", session(), counted(count.into(), "message"))
        }
        What::Behind => {
            format!("{} fell behind: {count} bytes wait for it; it gets no more messages until it reads", session())
        }
        What::CaughtUp => format!("{} has caught up", session()),
        What::Slow => format!("{} is a slow consumer: {count} bytes wait for it", session()),
        What::Gap => {
            format!("{} has not got messages of {}, which were not kept any more", session(), room(record.stamp))
        }
        What::Gaps => format!("the same is so in {count} more of its rooms"),
        What::SentAway => format!("{} was to be ended{because}", session()),
        What::GivenUp => format!("a session that was lost was given up{because}"),
        What::Refreshed if record.session != 0 => format!("an operator has loaded the page of {} again", session()),
        What::Refreshed => {
            let whose = match (record.who, record.tenant) {
                (0, EVERY) => "all pages".into(),
                (0, _) => "all pages of the source".into(),
                (hash, _) => format!("the pages of {}", room(hash)),
            };
            format!("an operator has loaded {whose} again: {}", counted(count.into(), "session"))
        }
        What::Refused => format!("a login was refused{}{because}", times(hub, record)),
        What::MessageRefused => format!("{} sent what was refused{}{because}", session(), times(hub, record)),
        What::HookFailed => format!("the backend did not answer a call about it{}{because}", times(hub, record)),
        What::PublicationRefused => {
            let of = if record.tenant == EVERY { " of a source that is not known" } else { "" };
            let of = if record.who == 0 { "" } else { of };
            let to = if record.who == 0 { String::new() } else { format!(" to {}", room(record.who)) };
            format!("a publication{of}{to} was refused{}{because}", times(hub, record))
        }
        What::Repeated => {
            let to = room(record.who);
            format!("a publication to {to} repeated an earlier one (idempotency_key){}", times(hub, record))
        }
        What::Missed => {
            let (node, publications) = (unpack(record.session), counted(count.into(), "publication"));
            format!("{publications} of relay {node} did not arrive here{}", until(hub, record))
        }
    }
}

/// The relay that has given out the id of a message, if that is another one.
pub fn origin(hub: &Hub, record: &Record) -> Option<String> {
    let node = hub.state.journal.origin(record)?;
    Some(match node {
        0 => "another relay".into(),
        node => format!("relay {}", crate::message::MessageId::first(0, node).node()),
    })
}

/// A number of things.
pub fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// A time of day.
pub fn clock(hub: &Hub, time: Time) -> String {
    let now = hub.state.now;
    let text = now.local_at(now.unix_at(time)).to_string();
    text.get(11..19).unwrap_or_default().to_owned()
}

/// How often something was refused, if more than once.
fn times(hub: &Hub, record: &Record) -> String {
    match record.count {
        0 | 1 => String::new(),
        count => format!(" {count} times{}", until(hub, record)),
    }
}

fn until(hub: &Hub, record: &Record) -> String {
    match Time::from_micros(record.stamp) {
        last if last > record.time => format!(" until {}", clock(hub, last)),
        _ => String::new(),
    }
}
