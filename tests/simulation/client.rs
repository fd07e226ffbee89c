//! A simulated client: what it has got, and what it must still get.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use relay::{key::ClientKey, message::Form};

use crate::{
    dice::ROOMS,
    model::{Message, Model, Told},
    wire::{Got, Socket},
};

/// What carries a simulated client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriage {
    Socket,
    Polling,
    /// Between the answer to its probe and the upgrade.
    Probing,
}

/// What comes first after a login, in this order.
#[derive(Debug)]
pub enum Greeting {
    Opening(String),
    Recovery { id: String, missed: usize, must: BTreeSet<&'static str>, may: BTreeSet<&'static str> },
    LastValue(Rc<Message>),
    Position(String),
}

/// A message that a client must get.
#[derive(Debug)]
pub struct Owed {
    pub message: Rc<Message>,
    /// Whether the client was behind when it was published: then it comes from the history of its room, or after what does.
    pub behind: bool,
    /// Whether it may be lost: the client was told, or has left the room before it was queued.
    pub excused: bool,
}

/// An event that the client must get.
pub struct Event {
    pub name: &'static str,
    /// The newest message when it was queued, and whether the client was behind.
    pub stamp: u64,
    pub behind: bool,
}

/// What the model knows of a client.
pub struct Client {
    pub key: ClientKey,
    pub source: &'static str,
    pub form: Form,
    /// In the order in which it has them, which is where a text client's messages go.
    pub rooms: Vec<&'static str>,
    pub socket: Socket,
    pub greetings: VecDeque<Greeting>,
    /// In the order in which they were published.
    pub owed: VecDeque<Owed>,
    pub events: VecDeque<Event>,
    /// Rooms that are incomplete, as the client was told.
    pub told: BTreeMap<&'static str, Told>,
    /// Texts without ids that were dropped, or of which the second was taken for the first.
    pub doubtful: Vec<String>,
    /// The newest position that it has got, and its id.
    pub position: Option<(u64, String)>,
    pub slow: bool,
    pub blocked: bool,
    pub behind: bool,
    pub closed: Option<u16>,
    pub userid: String,
    pub carriage: Carriage,
}

/// A client that is cut off, and what it may ask for when it comes back.
pub struct Away {
    pub source: &'static str,
    pub form: Form,
    pub rooms: Vec<&'static str>,
    pub position: Option<(u64, String)>,
    /// What it had not got.
    pub unread: Vec<Rc<Message>>,
}

impl Owed {
    /// Whether it may wait until the client has all kept messages.
    pub fn is_held(&self) -> bool {
        self.behind && !self.message.has_rule
    }

    /// Whether the client gets `other` first, although that is newer: it is kept, and this one is not.
    fn waits_for(&self, other: &Message) -> bool {
        self.is_held() && other.has_rule
    }

    /// Whether the client may not get it. Text clients have no frame for the event that would tell them.
    fn may_be_lost(&self, form: Form, told: &BTreeMap<&'static str, Told>, model: &Model) -> bool {
        let is_told = || told.get(self.message.room).is_some_and(|told| model.is_told(*told, &self.message));
        let may_be_dropped = self.behind && self.message.has_rule && !model.has(&self.message);
        self.excused || (may_be_dropped && (form == Form::Text || is_told()))
    }
}

impl Client {
    pub fn owe(&mut self, message: &Rc<Message>) {
        self.owed.push_back(Owed { message: message.clone(), behind: self.behind, excused: false });
    }

    /// It may get the messages of a room that it leaves, if they are queued already.
    pub fn leave_room(&mut self, room: &str) {
        if let Some(slot) = self.rooms.iter().position(|other| *other == room) {
            self.rooms.swap_remove(slot);
            let behind = self.behind;
            self.owed
                .iter_mut()
                .filter(|owed| behind && owed.message.room == room)
                .for_each(|owed| owed.excused = true);
        }
    }

    /// What is left of it when it is cut off.
    pub fn cut(self) -> Away {
        let unread = self.owed.into_iter().filter(|owed| !owed.excused).map(|owed| owed.message);
        Away {
            source: self.source,
            form: self.form,
            rooms: self.rooms,
            position: self.position,
            unread: unread.collect(),
        }
    }

    /// Takes what has arrived: each message must be the one that is owed next. Returns the code of a close.
    pub fn read(&mut self, model: &Model) -> Option<u16> {
        let mut code = None;
        for got in self.socket.take(self.form) {
            assert_eq!(code, None, "nothing comes after a close: {got:?}");
            match (self.greetings.pop_front(), got) {
                (None, Got::Close(closed)) => code = Some(closed),
                // A slow consumer gets nothing of what was queued.
                (Some(_), Got::Close(closed)) => code = Some(closed),
                (Some(greeting), got) => self.greet(greeting, got),
                (None, Got::Message { id, room, data }) => self.take_message(id, room, data, model),
                (None, Got::Recovery(event)) => self.take_gap(&event, model),
                (None, Got::Event(name)) => self.take_event(&name),
                (None, got) => panic!("{got:?}"),
            }
        }
        code
    }

    fn greet(&mut self, greeting: Greeting, got: Got) {
        match (greeting, got) {
            (Greeting::Opening(id), Got::Opening(got)) => {
                assert_eq!(id, got);
                self.move_to(stamp(&got), got);
            }
            (Greeting::Position(id), Got::Position(got)) => {
                assert_eq!(id, got);
                self.move_to(stamp(&got), got);
            }
            (Greeting::Recovery { id, missed, must, may }, Got::Recovery(got)) => {
                let named = named(&got["rooms"]);
                assert_eq!((got["id"].as_str(), got["missed"].as_u64()), (Some(&*id), Some(missed as u64)), "{got}");
                assert!(must.is_subset(&named), "incomplete: {must:?}, but {got}");
                assert!(named.is_subset(&may), "complete, except perhaps {may:?}, but {got}");
                assert_eq!(got["recovered"], named.is_empty());
                self.move_to(stamp(&id), id);
            }
            // Of a room that it was in before: this moves no position.
            (Greeting::LastValue(message), Got::Message { id, room, data }) => {
                assert!(is(&message, self.form, id.as_deref(), room.as_deref(), &data), "{message:?}, but {data}");
            }
            (greeting, got) => panic!("{greeting:?}, but {got:?}"),
        }
    }

    fn take_message(&mut self, id: Option<String>, room: Option<String>, data: String, model: &Model) {
        let matches = |owed: &Owed| is(&owed.message, self.form, id.as_deref(), room.as_deref(), &data);
        // A room can get a text twice with one publication, and may have dropped the first.
        let is_there = |owed: &Owed| !owed.may_be_lost(self.form, &self.told, model);
        let place = self.owed.iter().position(|owed| matches(owed) && is_there(owed));
        let Some(place) = place.or_else(|| self.owed.iter().position(matches)) else {
            let place = self.doubtful.iter().position(|text| *text == data);
            let place = place.unwrap_or_else(|| {
                panic!("{id:?} {room:?} {data} comes twice, or late, or was published before: {:#?}", self.owed)
            });
            self.doubtful.swap_remove(place);
            return;
        };
        let message = self.owed.remove(place).unwrap().message;
        assert!(
            self.events.front().is_none_or(|event| message.stamp <= event.stamp),
            "an event is lost or late: {}",
            self.events[0].name
        );
        // Those before it are lost, or wait until the client has all that is kept.
        let mut skipped: Vec<Owed> = self.owed.drain(..place).collect();
        skipped.retain(|owed| {
            if owed.waits_for(&message) {
                return true;
            }
            let is_lost = owed.may_be_lost(self.form, &self.told, model);
            assert!(
                is_lost,
                "{:?} {:?} {}: {owed:?} is lost, or late: {message:?} came before",
                self.key, self.form, self.userid
            );
            if self.form == Form::Text {
                self.doubtful.push(owed.message.text.clone());
            }
            false
        });
        skipped.into_iter().rev().for_each(|owed| self.owed.push_front(owed));
        self.move_to(message.stamp, message.id.clone());
    }

    /// While it is behind, some of what it was to get was dropped.
    fn take_gap(&mut self, event: &serde_json::Value, model: &Model) {
        let (rooms, id) = (named(&event["rooms"]), event["id"].as_str().unwrap());
        let from = stamp(id);
        assert_eq!(event["recovered"], false, "{event}");
        for room in &rooms {
            assert!(model.may_be_incomplete(self.source, room, from), "complete: {event}");
        }
        let told = rooms.iter().map(|room| (*room, model.told(self.source, room)));
        self.told.extend(told);
        let of_rooms = self.owed.iter_mut().filter(|owed| rooms.contains(owed.message.room));
        for owed in of_rooms.filter(|owed| owed.message.has_rule && !model.has(&owed.message)) {
            owed.excused = true;
        }
        self.move_to(from, id.to_owned());
    }

    fn take_event(&mut self, name: &str) {
        let event = self.events.pop_front().expect("an event that is not owed");
        assert_eq!(event.name, name);
        if !event.behind {
            let late = self.owed.iter().find(|owed| owed.message.stamp <= event.stamp && !owed.excused);
            assert!(late.is_none(), "{late:?} must come before {name}");
        }
    }

    /// An EventSource remembers the last position, others the newest.
    fn move_to(&mut self, stamp: u64, id: String) {
        let is_event_source = matches!(self.form, Form::Sse | Form::SseText);
        if is_event_source || self.position.as_ref().is_none_or(|(known, _)| *known <= stamp) {
            self.position = Some((stamp, id));
        }
    }

    /// Whether it has got everything, once it is not behind and everything that was queued has been read.
    pub fn is_done(&mut self, model: &Model) -> bool {
        let lost = |owed: &&Owed| owed.may_be_lost(self.form, &self.told, model);
        if self.form == Form::Text {
            self.doubtful.extend(self.owed.iter().filter(lost).map(|owed| owed.message.text.clone()));
        }
        self.owed.retain(|owed| !lost(&owed));
        self.owed.is_empty() && self.greetings.is_empty() && self.events.is_empty()
    }
}

/// Whether what a client has got is this message.
fn is(message: &Message, form: Form, id: Option<&str>, room: Option<&str>, data: &str) -> bool {
    match form {
        Form::Text => message.text == data,
        Form::SseText => message.text == data && id == Some(&*message.id),
        _ => id == Some(&*message.id) && room == Some(message.room) && message.json == data,
    }
}

fn named(rooms: &serde_json::Value) -> BTreeSet<&'static str> {
    let names: Vec<_> = rooms.as_array().into_iter().flatten().map(|name| name.as_str().unwrap()).collect();
    let known: BTreeSet<_> = ROOMS.into_iter().filter(|room| names.contains(room)).collect();
    assert_eq!(known.len(), names.len(), "each room once: {rooms}");
    known
}

fn stamp(id: &str) -> u64 {
    relay::message::MessageId::parse(id).unwrap().stamp()
}
