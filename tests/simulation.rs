//! A seeded simulation of the hub with a shadow model: clients come and go, join, leave and post; backends notify; some
//! readers are slow, some sockets take a few bytes at a time; some speak Socket.IO, over a WebSocket, by polling, or first
//! the one and then the other. After each turn what must always hold is checked:
//! every member that is not closed has got each message of its rooms once, in the order in which they were published;
//! frames arrive whole; counted bytes are queued bytes; what is closed is gone from its rooms.
#![allow(missing_docs)]

use core::ops::ControlFlow;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::{self, ErrorKind, Write},
};

use relay::{
    clock::{Now, Time},
    config::Config,
    engineio::{
        Packet, Revision,
        engine::Polled,
        payload::{self, Bodies},
    },
    events::{
        self, Incoming,
        socketio::{Opening, handle_packet, open},
    },
    frame::{Batch, Opcode},
    hub::{Hub, login::Login},
    key::{ClientKey, ConnKey, Handle, Key},
    message::{Data, Form, MessageId},
    names::Rooms,
    outbox::Flushed,
    sign::{Signature, Subject, to_hex},
    state::{Effect, client::Carrier},
};
use serde_json::Value;

const KEY: &str = "key";
const ROOMS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A generator whose every run with a seed is the same (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }
    fn rooms(&mut self) -> Vec<&'static str> {
        let most = 1 + self.roll(3);
        (0..most).map(|_| ROOMS[self.roll(ROOMS.len())]).collect()
    }
}

/// A socket that takes so many bytes and then blocks.
#[derive(Default)]
struct Socket {
    room: usize,
    got: Vec<u8>,
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.room);
        if taken == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= taken;
        self.got.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket {
    /// Puts the packets of a poll's answer where frames would be.
    fn take_body(&mut self, body: &[u8], binary: bool, form: Form) {
        let revision = if form == Form::SocketIo3 { Revision::V3 } else { Revision::V4 };
        let mut count = 0;
        payload::decode(body, revision, binary, &mut |packet| {
            let mut batch = Batch::default();
            let (begin, end) = match packet {
                Packet::Text(text) => {
                    batch.push(Opcode::Text, |out| out.extend_from_slice(format!("4{text}").as_bytes()))
                }
                Packet::Open(text) => {
                    batch.push(Opcode::Text, |out| out.extend_from_slice(format!("0{text}").as_bytes()))
                }
                Packet::Close => batch.push(Opcode::Close, |out| out.extend_from_slice(&1013_u16.to_be_bytes())),
                other => panic!("{other:?}"),
            };
            self.got.extend_from_slice(batch.slice(begin, end));
            count += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!((1..=16).contains(&count));
    }
}

/// What the model knows of a client.
struct Shadow {
    key: ClientKey,
    source: &'static str,
    form: Form,
    /// In the order in which it has them, which is where a text client's messages go.
    rooms: Vec<&'static str>,
    socket: Socket,
    /// Every message it must still get, in order: as `room/data`, or the data alone in text form.
    owed: VecDeque<String>,
    slow: bool,
    blocked: bool,
    closed: Option<u16>,
    userid: String,
    carriage: Carriage,
}

/// What carries a simulated client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carriage {
    Socket,
    Polling,
    /// Between the answer to its probe and the upgrade.
    Probing,
}

struct World {
    hub: Hub,
    clients: BTreeMap<u32, Shadow>,
    dice: Dice,
    now: Now,
    count: u32,
    published: u64,
}

fn config() -> Config {
    let mut config = Config::default();
    for source in ["one", "two"] {
        let text = format!("[sources.{source}]\nsign_key = \"{KEY}\"");
        config.sources.extend(relay::config::parse(&text, &mut |_| unreachable!("no file is named")).unwrap().sources);
    }
    config.limits.message_rate = 0;
    config.limits.unsent = 4096;
    config.limits.rooms_per_session = 4;
    config
}

impl World {
    fn new(seed: u64) -> World {
        let hub = Hub::new(config().into(), MessageId::first(1, 1), [1; 32]);
        World { hub, clients: BTreeMap::new(), dice: Dice(seed | 1), now: Now::default(), count: 0, published: 0 }
    }

    fn enter(&mut self) {
        let number = self.count;
        self.count += 1;
        let source = ["one", "two"][self.dice.roll(2)];
        let rooms = self.dice.rooms();
        let room_ids = rooms.join(",");
        let forms = [
            Form::Text,
            Form::Json,
            Form::Json,
            Form::SocketIo3,
            Form::SocketIo4,
            Form::Sse,
            Form::SseText,
            Form::Lines,
        ];
        let form = forms[self.dice.roll(forms.len())];
        let userid = format!("u{number}");
        let sign = to_hex(&Subject::Connect { source, userid: &userid, room_ids: &room_ids }.md5(KEY.as_bytes()));
        let login = Login {
            source,
            room_ids: &room_ids,
            signature: Signature::new(&sign, "", ""),
            userid: &userid,
            username: &userid,
            ext_info: "",
            watch_quit: self.dice.roll(4) == 0,
            form,
            since: None,
            ip: None,
            referer: "",
            user_agent: ["x", "y"][self.dice.roll(2)],
        };
        let conn = ConnKey::wrap(Key::from_bits((1 << 32) | u64::from(number)).unwrap());
        let watch = login.watch_quit;
        let mut carriage = Carriage::Socket;
        let key = match form {
            form if !form.is_socketio() => self.hub.admit("/", &login, "", conn, self.now).unwrap().client,
            _ => {
                if self.dice.roll(2) == 0 {
                    carriage = Carriage::Polling;
                }
                let query = format!(
                    "source={source}&room_ids={room_ids}&sign={sign}&userid={userid}&username={userid}&watch_quit={}",
                    u8::from(watch)
                );
                let revision = if form == Form::SocketIo3 { Revision::V3 } else { Revision::V4 };
                let opening = Opening {
                    revision,
                    base64: false,
                    bodies: Bodies::Any,
                    query: &query,
                    ip: None,
                    referer: "",
                    user_agent: "",
                };
                let websocket = (carriage == Carriage::Socket).then_some(conn);
                let key = open(&mut self.hub, &opening, websocket, self.now);
                if form == Form::SocketIo4 {
                    handle_packet(&mut self.hub, key, &Packet::Text("0"), self.now).unwrap();
                }
                key
            }
        };
        assert_eq!(self.hub.state.conn(key), (carriage == Carriage::Socket).then_some(conn));
        let shadow = Shadow {
            key,
            source,
            form,
            rooms: distinct(rooms),
            socket: Socket::default(),
            owed: VecDeque::new(),
            slow: self.dice.roll(8) == 0,
            blocked: false,
            closed: None,
            userid: if watch { userid } else { String::new() },
            carriage,
        };
        self.clients.insert(number, shadow);
    }

    fn any(&mut self) -> Option<u32> {
        let open: Vec<u32> =
            self.clients.iter().filter(|(_, client)| client.closed.is_none()).map(|(n, _)| *n).collect();
        (!open.is_empty()).then(|| open[self.dice.roll(open.len())])
    }

    /// A client that reads: of a slow one the model cannot know whether it is being closed already.
    fn quick(&mut self) -> Option<u32> {
        self.any().filter(|number| !self.clients[number].slow && self.clients[number].carriage != Carriage::Probing)
    }

    /// The model's side of a publication: who is owed it. A client that is being closed is owed nothing more.
    fn owe(&mut self, source: &str, rooms: &[&str], data: &str, value: &str) {
        for room in rooms {
            for client in self.clients.values_mut() {
                if client.closed.is_none() && client.source == source && client.rooms.contains(room) {
                    client.owed.push_back(match client.form {
                        Form::Text | Form::SseText => value.to_owned(),
                        _ => format!("{room}/{data}"),
                    });
                }
            }
        }
    }

    fn step(&mut self) {
        match self.dice.roll(20) {
            0..3 => self.enter(),
            3 => {
                if let Some(number) = self.any() {
                    self.leave(number);
                }
            }
            4 => self.change_rooms(),
            5 => self.change_transport(),
            6..12 => self.post(),
            12..18 => {
                let (source, rooms) = (["one", "two"][self.dice.roll(2)], self.dice.rooms());
                let data = format!("n{}", self.published) + &"x".repeat(self.dice.roll(300));
                self.published += 1;
                let list = rooms.join(",");
                let tenant = self.hub.state.tenant(source).unwrap();
                self.hub.publish(tenant, &Rooms::parse(&list, 10, 0).unwrap(), Data::Text(&data), "");
                self.owe(source, &rooms, &format!("\"{data}\""), &data);
            }
            _ => self.turn(),
        }
        while self.hub.state.needs_flush() {
            self.turn();
        }
    }

    fn post(&mut self) {
        let Some(number) = self.quick() else { return };
        let (key, form, source) = (self.clients[&number].key, self.clients[&number].form, self.clients[&number].source);
        if form.is_stream() {
            return;
        }
        let data = format!("p{}", self.published);
        self.published += 1;
        match form {
            Form::Text => {
                events::handle_message(&mut self.hub, key, Incoming::Text(&data), self.now);
                let rooms = self.clients[&number].rooms.clone();
                self.owe(source, &rooms, &format!("\"{data}\""), &data);
            }
            _ => {
                let rooms = self.dice.rooms();
                let message = match form {
                    Form::Json => format!(r#"{{"data":"{data}","room_ids":"{}"}}"#, rooms.join(",")),
                    _ => format!(r#"42["postMsg","{data}","{}"]"#, rooms.join(",")),
                };
                events::handle_message(&mut self.hub, key, Incoming::Text(&message), self.now);
                self.owe(source, &rooms, &format!("\"{data}\""), &data);
            }
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
        let join = self.dice.roll(2) == 0;
        let event = if join { "join" } else { "leave" };
        let message = match client.form {
            Form::Json => format!(r#"{{"event":"{event}","room_ids":"{list}","sign":"{sign}"}}"#),
            _ => format!(r#"42["{event}","{list}","{sign}"]"#),
        };
        events::handle_message(&mut self.hub, client.key, Incoming::Text(&message), self.now);
        if join {
            let new = distinct(client.rooms.iter().copied().chain(rooms));
            // More than four are refused, and the client is told.
            if new.len() <= 4 {
                client.rooms = new;
            } else {
                client.owed.push_back("sys_error".into());
            }
        } else {
            for room in rooms {
                if let Some(slot) = client.rooms.iter().position(|other| *other == room) {
                    client.rooms.swap_remove(slot);
                }
            }
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
            Carriage::Probing if self.dice.roll(3) == 0 => {
                self.hub.handle_end(client.key, probe, true);
                client.carriage = Carriage::Polling;
            }
            Carriage::Probing => {
                self.hub.state.upgrade(client.key, probe).unwrap();
                client.carriage = Carriage::Socket;
            }
        }
    }

    /// The connection is gone: its rooms hear of it if it wanted them to.
    fn leave(&mut self, number: u32) {
        let client = self.clients.remove(&number).unwrap();
        self.hub.remove(client.key, true);
        self.quit(&client.userid, client.source, client.rooms);
    }

    fn quit(&mut self, userid: &str, source: &'static str, rooms: Vec<&'static str>) {
        if userid.is_empty() {
            return;
        }
        let data = format!(r#"{{"username":"{userid}","key":"user_quit","msg":"{userid}退出群聊"}}"#);
        self.owe(source, &rooms, &data, &data);
    }

    /// Ends a turn as the server does: effects, flush, and a look at everybody.
    fn turn(&mut self) {
        self.now.time = Time::from_micros(self.now.time.micros() + 1000);
        while let Some(effect) = self.hub.poll_effect() {
            let Effect::Close { client, close } = effect else { continue };
            self.hub.end(client, Some(close), true);
            let Some(number) = self.clients.iter().find(|(_, shadow)| shadow.key == client).map(|(n, _)| *n) else {
                continue;
            };
            let shadow = self.clients.get_mut(&number).unwrap();
            // After a failed probe it has not polled again yet.
            let behind = shadow.carriage == Carriage::Polling && shadow.blocked;
            let stalled = shadow.slow || shadow.carriage == Carriage::Probing || behind;
            assert!(stalled, "a client that reads was closed with {}", close.code);
            assert!(shadow.closed.replace(close.code).is_none());
            let (userid, source, rooms) = (shadow.userid.clone(), shadow.source, std::mem::take(&mut shadow.rooms));
            self.quit(&userid, source, rooms);
        }
        // Sockets that became writable are flushed with the dirty ones.
        for client in self.clients.values().filter(|client| client.blocked) {
            self.hub.state.mark_dirty(client.key);
        }
        let mut dirty = Vec::new();
        let count = if self.dice.roll(2) == 0 { usize::MAX } else { 1 + self.dice.roll(4) };
        self.hub.state.poll_dirty(count, &mut dirty);
        assert!(dirty.windows(2).all(|two| two[0] < two[1]), "each once, in slot order");
        for key in dirty {
            let Some(client) = self.clients.values_mut().find(|client| client.key == key) else { continue };
            match client.carriage {
                Carriage::Socket => {
                    client.socket.room = if client.slow { self.dice.roll(40) } else { usize::MAX };
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
            if self.hub.state.is_closing_poller(key) {
                self.hub.remove(key, false);
            }
        }
        self.hub.state.end_flush();
        self.check();
    }

    fn check(&mut self) {
        let open = self.clients.values().filter(|client| client.closed.is_none()).count();
        assert_eq!(self.hub.state.session_count(), open, "who is closed has no session");
        let rooms: BTreeSet<(&str, &str)> =
            self.clients.values().flat_map(|client| client.rooms.iter().map(|room| (client.source, *room))).collect();
        assert_eq!(self.hub.state.room_count(), rooms.len(), "a room is there while somebody is in it");
        for client in self.clients.values_mut() {
            let code = client.take_frames();
            match client.closed {
                None if !client.blocked => {
                    assert!(client.socket.got.is_empty(), "frames arrive whole");
                    let waits = self.hub.state.is_dirty();
                    assert!(client.owed.is_empty() || waits, "who reads has got everything, or waits to be flushed");
                }
                None => assert_eq!(code, None),
                Some(closed) => assert!(code.is_none_or(|code| code == closed)),
            }
        }
    }
}

/// What a poll of revision 3 has in place of the text of `user_quit`.
const ESCAPED: &str = "\\u9000\\u51fa\\u7fa4\\u804a";

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

impl Shadow {
    /// Takes whole frames off the bytes the socket got: each must be the message that is owed next. The code of a close.
    fn take_frames(&mut self) -> Option<u16> {
        if self.form.is_stream() {
            return self.take_blocks();
        }
        let (mut code, mut taken) = (None, 0);
        while let Some((head, payload)) = frame(&self.socket.got[taken..]) {
            taken += head.len() + payload.len();
            match head[0] {
                0x81 if matches!(payload, [b'0', ..] | [b'4', b'0', ..]) && self.form != Form::Text => {}
                0x81 => {
                    assert_eq!(Some(message(payload, self.form).replace(ESCAPED, "退出群聊")), self.owed.pop_front())
                }
                0x88 => code = Some(u16::from_be_bytes([payload[0], payload[1]])),
                other => panic!("opcode {other:x}"),
            }
        }
        self.socket.got.drain(..taken);
        code
    }

    /// The same of a stream: whole blocks or lines.
    fn take_blocks(&mut self) -> Option<u16> {
        let (mut code, mut taken) = (None, 0);
        let end = if self.form == Form::Lines { "\n" } else { "\n\n" };
        let text = std::str::from_utf8(&self.socket.got).unwrap_or_default();
        while let Some((block, _)) = text[taken..].split_once(end) {
            taken += block.len() + end.len();
            let (name, data) = match block.split_once("\ndata: ") {
                None if block.starts_with("retry: ") => continue,
                None => ("", block.to_owned()),
                Some((name, data)) if name.starts_with("event: ") || self.form == Form::SseText => {
                    (name, data.to_owned())
                }
                Some((_, data)) => ("", data.replacen('{', "{\"event\":\"newMsg\",", 1)),
            };
            let json = || serde_json::from_str::<Value>(&data).unwrap();
            match (name, self.form) {
                ("event: disconnect", _) => code = json()["code"].as_u64(),
                ("", Form::Lines) if json()["event"] == "disconnect" => code = json()["data"]["code"].as_u64(),
                _ => {
                    let form = if self.form == Form::SseText { Form::Text } else { Form::Json };
                    assert_eq!(Some(message(data.as_bytes(), form)), self.owed.pop_front());
                }
            }
        }
        self.socket.got.drain(..taken);
        code.map(|code| code as u16)
    }
}

/// The header and the payload of a first whole frame, unmasked and of less than 64 KiB.
fn frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, head) = match *bytes.get(1)? {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap())), 4),
        length => (usize::from(length), 2),
    };
    bytes.get(..head + length).map(|frame| frame.split_at(head))
}

/// A message as the model writes it down.
fn message(payload: &[u8], form: Form) -> String {
    let text = std::str::from_utf8(payload).unwrap();
    if form == Form::Text {
        return text.to_owned();
    }
    let (text, value) = match text.strip_prefix("42") {
        Some(list) => (list, serde_json::from_str::<[Value; 2]>(list).unwrap()),
        None => {
            let value: Value = serde_json::from_str(text).unwrap();
            (text, [value["event"].clone(), value])
        }
    };
    let [event, value] = value;
    match event.as_str() {
        Some("newMsg") => {
            let data = text.split_once("\"data\":").unwrap().1.rsplit_once(",\"room_id\"").unwrap().0;
            format!("{}/{data}", value["room_id"].as_str().unwrap())
        }
        other => other.unwrap().to_owned(),
    }
}

#[test]
fn what_must_always_hold() {
    let mut closed = 0;
    for seed in 1..=40 {
        let mut world = World::new(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        for _ in 0..1500 {
            world.step();
        }
        for _ in 0..1000 {
            world.turn();
        }
        closed += world.clients.values().filter(|client| client.closed == Some(1013)).count();
        let numbers: Vec<u32> = world.clients.keys().copied().collect();
        for number in numbers {
            let key = world.clients.remove(&number).unwrap().key;
            world.hub.remove(key, false);
        }
        assert_eq!((world.hub.state.session_count(), world.hub.state.room_count()), (0, 0));
    }
    assert!(closed > 0, "no simulated reader was slow enough to be closed: the simulation is too kind");
}
