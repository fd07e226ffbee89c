//! The hub and its clients: what can happen in a step, and what the model says about it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use relay::{
    clock::{Now, Time},
    engineio::{Packet, Revision, engine::Polled, payload::Bodies},
    events::{
        self, Incoming,
        socketio::{Opening, handle_packet, open},
    },
    fuzzing::invariants,
    history::Since,
    hub::{Hub, login::Login},
    key::{ConnKey, Handle, Key},
    message::{Data, Form, IdClock, MessageId},
    names::Rooms,
    outbox::Flushed,
    sign::{Signature, Subject, to_hex},
    state::{Effect, End, client::Carrier},
};

use crate::{
    client::{Away, Carriage, Client, Event, Greeting, Owed},
    dice::{Dice, KEY, SOURCES},
    model::{Message, Model, own, second},
};

pub struct World {
    pub hub: Hub,
    clients: BTreeMap<u32, Client>,
    away: Vec<Away>,
    model: Model,
    dice: Dice,
    now: Now,
    count: u32,
    published: u64,
    /// Whether some messages are so large that a replay takes several turns.
    is_large: bool,
    /// Sources of which messages of rooms without history wait for a client that is behind.
    waiting: BTreeSet<&'static str>,
    /// How often a client came back with its position.
    pub returned: u64,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut dice = Dice::new(seed);
        let config = dice.config();
        let model = Model::new(&config.history);
        World {
            hub: Hub::new(config.into(), own(), [1; 32]),
            clients: BTreeMap::new(),
            away: Vec::new(),
            model,
            is_large: dice.once_in(4),
            dice,
            now: Now::default(),
            count: 0,
            published: 0,
            waiting: BTreeSet::new(),
            returned: 0,
        }
    }

    pub fn step(&mut self) {
        match self.dice.roll(22) {
            0..3 => {
                let away = self.any_away();
                self.enter(away);
            }
            3 => {
                if let Some(number) = self.any() {
                    self.leave(number);
                }
            }
            4 => self.change_rooms(),
            5 => self.change_transport(),
            6..12 => self.post(),
            12..18 => self.notify(),
            18 => self.read_history(),
            19 if self.dice.once_in(8) => self.reload(),
            _ => self.turn(),
        }
        self.note_behind();
        while self.hub.state.needs_flush() {
            self.turn();
        }
        self.model.follow(&self.hub);
        invariants::check(&self.hub);
    }

    /// Removes everybody. Returns how many had been closed because they were slow.
    pub fn end(&mut self) -> usize {
        let behind = self.clients.values().find(|client| client.behind && !client.blocked && client.closed.is_none());
        assert!(behind.is_none_or(|client| client.slow), "a client that reads does not stay behind");
        let closed = self.clients.values().filter(|client| client.closed == Some(1013)).count();
        for client in core::mem::take(&mut self.clients).into_values() {
            self.hub.remove(client.key, false);
        }
        self.hub.feed();
        invariants::check(&self.hub);
        assert_eq!((self.hub.state.session_count(), self.hub.state.room_count()), (0, 0));
        assert!(!self.hub.has_hungry_replay());
        closed
    }

    fn any_away(&mut self) -> Option<Away> {
        let comes_back = !self.away.is_empty() && !self.dice.once_in(2);
        comes_back.then(|| self.away.swap_remove(self.dice.roll(self.away.len())))
    }

    /// A login, of a new client or of one that was cut off.
    fn enter(&mut self, away: Option<Away>) {
        let number = self.count;
        self.count += 1;
        let source = away.as_ref().map_or_else(|| self.dice.pick(&SOURCES), |away| away.source);
        let rooms = match &away {
            Some(away) if !away.rooms.is_empty() && !self.dice.once_in(4) => away.rooms.clone(),
            _ => self.dice.rooms(),
        };
        let form = away.as_ref().map_or_else(|| self.dice.pick(&FORMS), |away| away.form);
        let (since, is_return) = self.since(away.as_ref(), form);
        // Only a page that says where it was gets the time of messages.
        let form = if form == Form::Json && since.is_some() { Form::JsonTime } else { form };
        let slow = self.dice.once_in(8);
        // Their messages have no ids: if they are behind, those of several rooms cannot be told apart.
        let rooms = if form == Form::Text && (slow || since.is_some()) { rooms[..1].to_vec() } else { rooms };
        let (userid, room_ids) = (format!("u{number}"), rooms.join(","));
        let sign = to_hex(&Subject::Connect { source, userid: &userid, room_ids: &room_ids }.md5(KEY.as_bytes()));
        let conn = ConnKey::wrap(Key::from_bits((1 << 32) | u64::from(number)).unwrap());
        let login = Login {
            source,
            room_ids: &room_ids,
            signature: Signature::new(&sign, "", ""),
            jwt: "",
            userid: &userid,
            username: &userid,
            ext_info: "",
            watch_quit: self.dice.once_in(4),
            presence: false,
            form,
            since: since.as_ref().map(|text| Since::parse(text).unwrap_or(Since::Unknown)),
            pid: "",
            offset: "",
            proxied: false,
            ip: None,
            referer: "",
            user_agent: self.dice.pick(&["x", "y"]),
        };
        let watch = login.watch_quit;
        let (mut carriage, mut recovered) = (Carriage::Socket, None);
        let key = if form.is_socketio() {
            if self.dice.once_in(2) {
                carriage = Carriage::Polling;
            }
            let mut query = format!(
                "source={source}&room_ids={room_ids}&sign={sign}&userid={userid}&username={userid}&watch_quit={}",
                u8::from(watch)
            );
            let in_auth = form == Form::SocketIo4 && self.dice.once_in(2);
            let mut connect = String::from("0");
            match &since {
                Some(since) if in_auth => connect = format!("0{{\"since\":\"{since}\"}}"),
                Some(since) => query += &format!("&since={since}"),
                None => {}
            }
            let revision = if form == Form::SocketIo3 { Revision::V3 } else { Revision::V4 };
            let opening = Opening {
                revision,
                base64: false,
                bodies: Bodies::Any,
                query: &query,
                proxied: false,
                ip: None,
                referer: "",
                user_agent: "",
            };
            let websocket = (carriage == Carriage::Socket).then_some(conn);
            let key = open(&mut self.hub, &opening, websocket, self.now);
            if form == Form::SocketIo4 {
                handle_packet(&mut self.hub, key, &Packet::Text(&connect), self.now).unwrap();
            }
            key
        } else {
            let admitted = self.hub.admit("/", &login, "", conn, self.now).unwrap();
            recovered = Some(admitted.recovered);
            admitted.client
        };
        assert_eq!(self.hub.state.conn(key), (carriage == Carriage::Socket).then_some(conn));
        let mut client = Client {
            key,
            source,
            form,
            rooms: distinct(rooms),
            socket: Default::default(),
            greetings: VecDeque::new(),
            owed: VecDeque::new(),
            events: VecDeque::new(),
            told: BTreeMap::new(),
            doubtful: Vec::new(),
            position: None,
            slow,
            blocked: false,
            behind: invariants::is_behind(&self.hub, key),
            closed: None,
            userid: if watch { userid } else { String::new() },
            carriage,
        };
        let unread = away.filter(|_| is_return).map_or_else(Vec::new, |away| away.unread);
        self.greet(&mut client, since.as_deref(), &unread, recovered);
        self.returned += u64::from(is_return);
        self.clients.insert(number, client);
    }

    /// What a client says, and whether that is the position that it has really had.
    fn since(&mut self, away: Option<&Away>, form: Form) -> (Option<String>, bool) {
        let position = away.and_then(|away| away.position.as_ref());
        if let Some((_, id)) = position
            && !self.dice.once_in(3)
        {
            return (Some(id.clone()), true);
        }
        let newest = self.hub.state.ids.last();
        let since = match self.dice.roll(10) {
            0..3 => return (None, false),
            3 | 4 => String::new(),
            5 => "all".into(),
            6 => self.dice.pick(&["0", "1s", "2", "5s", "1h"]).into(),
            // One in four of them was never made.
            7 => own().with_number((newest + (1 << 20)).saturating_sub(self.dice.roll(1 << 22) as u64)).to_string(),
            // Of another relay.
            8 => MessageId::first(newest + self.dice.roll(1 << 22) as u64, 2).to_string(),
            // It is refused before the hub sees it.
            _ if matches!(form, Form::Json | Form::Text) => "all".into(),
            _ => self.dice.pick(&["yesterday", "0000"]).into(),
        };
        (Some(since), false)
    }

    /// What a client must get after its login. `unread` are messages that it has not got before although its position may be
    /// after them; `recovered` is what it was told without an event.
    fn greet(&mut self, client: &mut Client, since: Option<&str>, unread: &[Rc<Message>], recovered: Option<bool>) {
        let (source, rooms) = (client.source, client.rooms.clone());
        let mut expected = self.model.expect(source, &rooms, since.unwrap_or_default(), &self.hub);
        for message in unread.iter().filter(|message| rooms.contains(&message.room)) {
            if message.stamp <= expected.stamp || !self.model.has(message) {
                expected.must.insert(message.room);
            }
        }
        let id = own().with_number(expected.stamp).to_string();
        let is_event_source = matches!(client.form, Form::Sse | Form::SseText);
        if is_event_source {
            client.greetings.push_back(Greeting::Opening(id.clone()));
        }
        if since.is_some() && client.form != Form::Text {
            let (must, may) = (expected.must.clone(), expected.may.clone());
            client.greetings.push_back(Greeting::Recovery {
                id: id.clone(),
                missed: expected.messages.len(),
                must,
                may,
            });
        }
        let last_values = match since {
            Some(text) if MessageId::parse(text).is_some() => Vec::new(),
            Some(_) => self.model.last_values(source, &rooms, expected.stamp),
            None => self.model.last_values(source, &rooms, u64::MAX),
        };
        if is_event_source && !last_values.is_empty() {
            let values = last_values.into_iter().map(Greeting::LastValue);
            client.greetings.extend(values.chain([Greeting::Position(id)]));
        } else {
            client.greetings.extend(last_values.into_iter().map(Greeting::LastValue));
        }
        if let Some(recovered) = recovered {
            assert!(!recovered || expected.must.is_empty(), "incomplete: {:?}", expected.must);
            assert!(recovered || !expected.may.is_empty(), "complete: {rooms:?}");
        }
        assert_eq!(client.behind, !expected.messages.is_empty(), "it is behind if it has missed a message");
        if since.is_some() {
            client.told = rooms.iter().map(|room| (*room, self.model.told(source, room))).collect();
        }
        expected.messages.iter().for_each(|message| client.owe(message));
    }

    fn any(&mut self) -> Option<u32> {
        let open: Vec<u32> =
            self.clients.iter().filter(|(_, client)| client.closed.is_none()).map(|(n, _)| *n).collect();
        (!open.is_empty()).then(|| self.dice.pick(&open))
    }

    /// A client that reads: of a slow one the model cannot know whether it is being closed already.
    fn quick(&mut self) -> Option<u32> {
        let number = self.any()?;
        let client = &self.clients[&number];
        let is_quick = !client.slow && client.carriage != Carriage::Probing && !self.hub.state.is_ending(client.key);
        is_quick.then_some(number)
    }

    fn note_behind(&mut self) {
        // Of one that is being closed it is remembered.
        for client in self.clients.values_mut().filter(|client| !self.hub.state.is_ending(client.key)) {
            client.behind = invariants::is_behind(&self.hub, client.key);
        }
        for source in SOURCES {
            let waits =
                |client: &Client| client.source == source && client.behind && client.owed.iter().any(Owed::is_held);
            let waited = self.waiting.contains(source);
            match self.clients.values().any(waits) {
                true => self.waiting.insert(source),
                false => self.waiting.remove(source),
            };
            if waited || self.waiting.contains(source) {
                self.model.note_unordered(source, self.hub.state.ids.last());
            }
        }
    }

    /// The model's side of a publication: who is owed it. A client that is being closed is owed nothing more. `ids` is the
    /// clock of ids before it, `size` that of the data.
    fn owe(
        &mut self,
        mut ids: IdClock,
        source: &'static str,
        rooms: &[&'static str],
        size: usize,
        json: &str,
        text: &str,
    ) {
        let id = ids.next(rooms.len(), self.now.time);
        assert_eq!(ids.last(), self.hub.state.ids.last());
        self.note_behind();
        for (part, room) in rooms.iter().enumerate() {
            let id = id.part(part);
            let message = Rc::new(Message {
                stamp: id.stamp(),
                id: id.to_string(),
                source,
                room,
                json: json.into(),
                text: text.into(),
                cost: 48 + size,
                second: second(self.now),
                has_rule: self.model.rule(source, room).is_some(),
            });
            self.model.publish(message.clone());
            for client in self.clients.values_mut() {
                if client.closed.is_none() && client.source == source && client.rooms.contains(room) {
                    client.owe(&message);
                }
            }
        }
        self.model.follow(&self.hub);
    }

    fn notify(&mut self) {
        let (source, rooms) = (self.dice.pick(&SOURCES), self.dice.rooms());
        let most = if self.is_large && self.dice.once_in(12) { 16_000 } else { 300 };
        let data = format!("n{}", self.published) + &"x".repeat(self.dice.roll(most));
        self.published += 1;
        let (list, ids) = (rooms.join(","), self.hub.state.ids);
        let tenant = self.hub.state.tenant(source).unwrap();
        self.hub.publish(tenant, &Rooms::parse(&list, 10, 0).unwrap(), Data::Text(&data), "");
        self.owe(ids, source, &rooms, data.len(), &format!("\"{data}\""), &data);
    }

    fn post(&mut self) {
        let Some(number) = self.quick() else { return };
        let (key, form, source) = (self.clients[&number].key, self.clients[&number].form, self.clients[&number].source);
        if form.is_stream() {
            return;
        }
        let (data, ids) = (format!("p{}", self.published), self.hub.state.ids);
        self.published += 1;
        let json = format!("\"{data}\"");
        if form == Form::Text {
            let rooms = self.clients[&number].rooms.clone();
            events::handle_message(&mut self.hub, key, Incoming::Text(&data), self.now);
            self.owe(ids, source, &rooms, data.len(), &json, &data);
        } else {
            let rooms = self.dice.rooms();
            let message = match form {
                Form::Json | Form::JsonTime => format!(r#"{{"data":"{data}","room_ids":"{}"}}"#, rooms.join(",")),
                _ => format!(r#"42["postMsg","{data}","{}"]"#, rooms.join(",")),
            };
            events::handle_message(&mut self.hub, key, Incoming::Text(&message), self.now);
            self.owe(ids, source, &rooms, json.len(), &json, &data);
        }
    }

    fn change_rooms(&mut self) {
        let Some(number) = self.quick() else { return };
        let rooms = self.dice.rooms();
        let list = rooms.join(",");
        let client = self.clients.get_mut(&number).unwrap();
        if client.form == Form::Text || client.form.is_stream() {
            return;
        }
        let userid = format!("u{number}");
        let sign =
            to_hex(&Subject::Connect { source: client.source, userid: &userid, room_ids: &list }.md5(KEY.as_bytes()));
        let join = self.dice.once_in(2);
        let event = if join { "join" } else { "leave" };
        let message = match client.form {
            Form::Json | Form::JsonTime => format!(r#"{{"event":"{event}","room_ids":"{list}","sign":"{sign}"}}"#),
            _ => format!(r#"42["{event}","{list}","{sign}"]"#),
        };
        events::handle_message(&mut self.hub, client.key, Incoming::Text(&message), self.now);
        if join {
            let new = distinct(client.rooms.iter().copied().chain(rooms));
            // More than four are refused, and the client is told.
            if new.len() <= 4 {
                client.rooms = new;
            } else {
                let (stamp, behind) = (self.hub.state.ids.last(), client.behind);
                client.events.push_back(Event { name: "sys_error", stamp, behind });
            }
        } else {
            rooms.into_iter().for_each(|room| client.leave_room(room));
        }
    }

    /// A client that polls goes on with a WebSocket, in two steps between which nothing is drained.
    fn change_transport(&mut self) {
        let Some(number) = self.any() else { return };
        let client = self.clients.get_mut(&number).unwrap();
        if self.hub.state.is_ending(client.key) {
            return;
        }
        let probe = ConnKey::wrap(Key::from_bits((2 << 32) | u64::from(number)).unwrap());
        match client.carriage {
            Carriage::Socket => {}
            Carriage::Polling => {
                let engine = self.hub.state.engine_mut(client.key).unwrap();
                engine.handle_probe(probe, false, self.now.time).unwrap();
                engine.answer_probe();
                client.carriage = Carriage::Probing;
                client.blocked = true;
            }
            // The WebSocket may die instead.
            Carriage::Probing if self.dice.once_in(3) => {
                self.hub.handle_end(client.key, probe, true);
                client.carriage = Carriage::Polling;
            }
            Carriage::Probing => {
                self.hub.state.upgrade(client.key, probe).unwrap();
                client.carriage = Carriage::Socket;
            }
        }
    }

    /// The connection is gone: its rooms are told if it wanted that. It may come back.
    fn leave(&mut self, number: u32) {
        let client = self.clients.remove(&number).unwrap();
        let ids = self.hub.state.ids;
        self.hub.remove(client.key, true);
        self.quit(ids, &client.userid, client.source, &client.rooms);
        // At once, or later.
        if self.dice.once_in(3) {
            self.enter(Some(client.cut()));
        } else {
            self.away.push(client.cut());
        }
    }

    fn quit(&mut self, ids: IdClock, userid: &str, source: &'static str, rooms: &[&'static str]) {
        if userid.is_empty() || rooms.is_empty() {
            return;
        }
        let data = format!(r#"{{"username":"{userid}","key":"user_quit","msg":"{userid}退出群聊"}}"#);
        self.owe(ids, source, rooms, data.len(), &data, &data);
    }

    /// Reads kept messages as `GET /api/history` and `poll=1` do: exactly those of the model.
    fn read_history(&mut self) {
        let (source, rooms) = (self.dice.pick(&SOURCES), distinct(self.dice.rooms()));
        let (since, _) = self.since(None, Form::Lines);
        let since = since.unwrap_or("all".into());
        let expected = self.model.expect(source, &rooms, &since, &self.hub);
        let tenant = self.hub.state.tenant(source).unwrap();
        let asked = self.hub.allowed(Since::parse(&since).unwrap_or(Since::Unknown));
        let history = &self.hub.history;
        let position = history.position(&self.hub.state, tenant, &rooms, &asked);
        assert_eq!(position.stamp, expected.stamp, "{since}");
        let gaps: BTreeSet<_> = position.gaps.iter().map(|index| rooms[*index]).collect();
        assert!(expected.must.is_subset(&gaps) && gaps.is_subset(&expected.may), "{gaps:?}, but {expected:#?}");
        let found = history.entries_after(&self.hub.state, tenant, &rooms, position.stamp);
        let found: Vec<_> = found.map(|found| (found.id.to_string(), found.entry.cost(), rooms[found.room])).collect();
        let expected = expected.messages.iter().map(|message| (message.id.clone(), message.cost, message.room));
        assert_eq!(found, expected.collect::<Vec<_>>());
    }

    /// Other rules, other bounds, or no history at all.
    fn reload(&mut self) {
        let config = self.dice.config();
        let newest = self.hub.state.ids.last();
        self.model.reload(&config.history, newest, self.now);
        assert_eq!(self.hub.reload(config.into(), self.now), 0);
        self.model.follow(&self.hub);
    }

    /// Ends a turn as the server does: effects, flush, and a look at everybody.
    pub fn turn(&mut self) {
        let step = if self.dice.once_in(8) { self.dice.roll(700_000) as u64 } else { 1000 };
        self.now.time = Time::from_micros(self.now.time.micros() + step);
        self.hub.begin_turn(self.now);
        if self.hub.deadline() <= self.now.time {
            events::handle_timeout(&mut self.hub, self.now);
        }
        self.model.follow(&self.hub);
        self.hub.feed();
        while let Some(effect) = self.hub.poll_effect() {
            let Effect::Close { client, close } = effect else { continue };
            let ids = self.hub.state.ids;
            self.hub.end(client, End::Closed(close), true);
            let Some(shadow) = self.clients.values_mut().find(|shadow| shadow.key == client) else { continue };
            // After a failed probe it has not polled again yet.
            let pauses = shadow.carriage == Carriage::Polling && shadow.blocked;
            // Too much waits until a client that is behind has what is kept.
            let stalled = shadow.slow || shadow.carriage == Carriage::Probing || pauses || shadow.behind;
            assert!(stalled, "a client that reads was closed with {}", close.code);
            assert!(shadow.closed.replace(close.code).is_none());
            let (userid, source, rooms) = (shadow.userid.clone(), shadow.source, std::mem::take(&mut shadow.rooms));
            self.quit(ids, &userid, source, &rooms);
        }
        self.note_behind();
        // Sockets that became writable are flushed with the dirty ones.
        for client in self.clients.values().filter(|client| client.blocked) {
            self.hub.state.mark_dirty(client.key);
        }
        self.flush();
        self.check();
    }

    fn flush(&mut self) {
        let mut dirty = Vec::new();
        let count = if self.dice.once_in(2) { usize::MAX } else { 1 + self.dice.roll(4) };
        self.hub.state.poll_dirty(count, &mut dirty);
        assert!(dirty.windows(2).all(|two| two[0] < two[1]), "each once, in slot order");
        for key in dirty.iter().copied() {
            let Some(client) = self.clients.values_mut().find(|client| client.key == key) else { continue };
            match client.carriage {
                Carriage::Socket => {
                    let most = if self.dice.once_in(8) { 20_000 } else { 40 };
                    client.socket.room = if client.slow { self.dice.roll(most) } else { usize::MAX };
                    let (socket, blocked) = (&mut client.socket, &mut client.blocked);
                    let carrier = self.hub.state.flush(key, |_, outbox, turn, scratch| {
                        *blocked = outbox.write_to(socket, turn, scratch).unwrap() == Flushed::Blocked;
                    });
                    assert!(matches!(carrier, Some(Carrier::Socket(_))));
                }
                Carriage::Polling => {
                    self.hub.state.flush(key, |_, _, _, _| panic!("it polls"));
                    let mut polls = if client.slow { self.dice.roll(2) } else { usize::MAX };
                    client.blocked = true;
                    while polls > 0 {
                        polls -= 1;
                        let conn = ConnKey::wrap(Key::from_bits(3 << 32).unwrap());
                        let waits = self.hub.state.carrier(key) != Carrier::Nothing;
                        if !waits && !self.hub.state.is_ending(key) {
                            assert_eq!(self.hub.state.poll(key, conn), Ok(Polled::Waits));
                        }
                        let Some((body, binary)) = self.hub.state.compose(key) else {
                            client.blocked = false;
                            break;
                        };
                        client.socket.take_body(&body, binary, client.form);
                    }
                    self.hub.state.keep(key);
                }
                Carriage::Probing => {
                    self.hub.state.flush(key, |_, _, _, _| panic!("it probes"));
                    self.hub.state.keep(key);
                }
            }
            if self.hub.state.is_closed_poller(key) {
                self.hub.remove(key, false);
            }
        }
        self.hub.flushed(&dirty);
        self.hub.state.end_flush();
    }

    fn check(&mut self) {
        let open = self.clients.values().filter(|client| client.closed.is_none()).count();
        assert_eq!(self.hub.state.session_count(), open, "a client that is closed has no session");
        let rooms: BTreeSet<(&str, &str)> =
            self.clients.values().flat_map(|client| client.rooms.iter().map(|room| (client.source, *room))).collect();
        assert_eq!(self.hub.state.room_count(), rooms.len(), "a room is there while it has a member");
        let waits = self.hub.state.is_dirty();
        for client in self.clients.values_mut() {
            let code = client.read(&self.model);
            match client.closed {
                None if !client.blocked => {
                    assert!(client.socket.got.is_empty(), "frames arrive whole");
                    let is_behind = invariants::is_behind(&self.hub, client.key);
                    let is_done = waits || is_behind || client.is_done(&self.model);
                    assert!(is_done, "a client that reads has not got {:?}", client.owed);
                }
                None => assert_eq!(code, None),
                Some(closed) => assert!(code.is_none_or(|code| code == closed)),
            }
        }
    }
}

const FORMS: [Form; 8] =
    [Form::Text, Form::Json, Form::Json, Form::SocketIo3, Form::SocketIo4, Form::Sse, Form::SseText, Form::Lines];

/// Each once, in the order of their first naming.
fn distinct(rooms: impl IntoIterator<Item = &'static str>) -> Vec<&'static str> {
    let mut list = Vec::new();
    for room in rooms {
        if !list.contains(&room) {
            list.push(room);
        }
    }
    list
}
