//! Properties of the walk back: random clients are sent random frames, and the place of each message among the bytes is known.

use relay::{
    clock::Now,
    config::Config,
    engineio::{Packet, payload::Bodies},
    events::socketio::{Opening, handle_packet, open},
    frame::Opcode,
    fuzzing::invariants,
    hub::{Hub, login::Login},
    key::{ClientKey, ConnKey, Handle, Key, SessionKey},
    message::{Data, Event, Form, MessageId, Target},
    names::Rooms,
    outbox::Flushed,
    sign::Signature,
};

use crate::dice::Dice;

/// The room `u` keeps nothing, and `few` not much.
const CONFIG: &str = r#"
[sources.one]
sign_key = "key"
[namespaces."/one"]
auth = "open"
source = "one"
join = true
[namespaces."/two"]
auth = "open"
source = "one"
join = true
[history]
count = 1000
age = 100000
bytes = 900000
rooms = [{ room = "u", count = 0 }, { room = "few", count = 5, bytes = 3000 }]
[limits]
unsent = 4000000
message_rate = 0
"#;

fn config(offsets: &str) -> Config {
    let text = format!("{CONFIG}\n[recovery]\noffsets = \"{offsets}\"\n");
    relay::config::parse(&text, &mut |_| unreachable!("no file is named")).unwrap()
}

const NAMESPACES: [&str; 2] = ["/one", "/two"];
const ROOMS: [&str; 5] = ["a", "b", "c", "u", "few"];
const FORMS: [Form; 11] = [
    Form::Json,
    Form::JsonTime,
    Form::Text,
    Form::SocketIo3,
    Form::SocketIo4,
    Form::SocketIo4Offset,
    Form::SocketIo3Base64,
    Form::SocketIo4Base64,
    Form::Sse,
    Form::SseText,
    Form::Lines,
];

/// A kept message that a session must get: it was in the room when it was published.
struct Owed {
    session: usize,
    stamp: u64,
    room: &'static str,
}

/// One client, and what is known of what was sent to it.
struct World {
    hub: Hub,
    dice: Dice,
    form: Form,
    /// The rooms that its login names, and in how many namespaces it is.
    list: String,
    namespaces: usize,
    client: ClientKey,
    /// With the rooms of each.
    sessions: Vec<(SessionKey, Vec<&'static str>)>,
    /// All bytes that its present connection got.
    stream: Vec<u8>,
    owed: Vec<Owed>,
    /// Ids of published messages, and the markers in their data, with their stamps.
    stamps: Vec<(String, String, u64)>,
    /// What the client is known to have received, because it has answered.
    proven: usize,
    /// Where the last answer to a ping of an old client begins, which its next ping proves.
    /// Up to which stamp it had all messages when its connection began.
    begun: u64,
    /// Whether messages are so large that a replay takes several turns.
    is_large: bool,
    /// Whether the order of what was sent is that of the stamps, and nothing was sent of rooms that it has left.
    is_simple: bool,
}

impl World {
    fn new(seed: u64) -> World {
        let mut dice = Dice::new(seed);
        let form = dice.pick(&FORMS);
        let offsets = if form == Form::SocketIo4Offset { "all" } else { "no" };
        let mut hub = Hub::new(config(offsets).into(), MessageId::first(1000, 7), [0; 32]);
        hub.begin_turn(Now::default());
        let client = ClientKey::wrap(Key::from_bits(1 << 32).unwrap());
        let mut world = World {
            hub,
            dice,
            form,
            list: String::new(),
            namespaces: 1,
            client,
            sessions: Vec::new(),
            stream: Vec::new(),
            owed: Vec::new(),
            stamps: Vec::new(),
            proven: 0,
            begun: 0,
            is_large: false,
            is_simple: true,
        };
        (0..3).for_each(|_| world.publish());
        let rooms: Vec<&'static str> =
            ROOMS.into_iter().filter(|room| *room == "a" || world.dice.roll(3) > 0).collect();
        world.is_large = world.dice.once_in(4);
        world.list = rooms.join(",");
        world.namespaces = if form.is_socketio() && world.dice.once_in(3) { 2 } else { 1 };
        world.begun = world.hub.state.ids.last();
        world.connect();
        world
    }

    /// A new connection. Nothing proves what it gets until it answers.
    fn connect(&mut self) {
        let conn = ConnKey::wrap(Key::from_bits(1 << 32).unwrap());
        (self.stream, self.proven) = (Vec::new(), 0);
        let login = Login {
            source: "one",
            room_ids: &self.list,
            signature: Signature::new("", "", ""),
            jwt: "",
            userid: "7",
            username: "",
            ext_info: "",
            watch_quit: false,
            presence: false,
            form: self.form,
            since: None,
            pid: "",
            offset: "",
            proxied: false,
            ip: None,
            referer: "",
            user_agent: "",
        };
        let Some(revision) = self.form.revision() else {
            self.client = self.hub.admit("/one", &login, "", conn, Now::default()).unwrap().client;
            return self.begin();
        };
        let query = format!("room_ids={}&userid=7", self.list);
        let opening = Opening {
            revision,
            base64: matches!(self.form, Form::SocketIo3Base64 | Form::SocketIo4Base64),
            bodies: Bodies::Any,
            query: &query,
            proxied: false,
            ip: None,
            referer: "",
            user_agent: "",
        };
        self.client = open(&mut self.hub, &opening, Some(conn), Now::default());
        for name in &NAMESPACES[..self.namespaces] {
            handle_packet(&mut self.hub, self.client, &Packet::Text(&format!("0{name},")), Now::default()).unwrap();
        }
        self.begin();
    }

    /// It shows a sign of life, so that its login goes on.
    fn begin(&mut self) {
        self.hub.state.show_life(self.client);
        self.feed();
        let known = |name: &str| *ROOMS.iter().find(|room| **room == name).unwrap();
        let sessions = invariants::sessions(&self.hub, self.client).into_iter();
        self.sessions = sessions.map(|(key, rooms)| (key, rooms.iter().map(|room| known(room)).collect())).collect();
        assert_eq!(self.sessions.len(), self.namespaces);
        // Rooms that it had joined later come back only if it has a right to them.
        let sessions = &self.sessions;
        self.owed.retain(|owed| sessions.get(owed.session).is_some_and(|(_, rooms)| rooms.contains(&owed.room)));
    }

    fn feed(&mut self) {
        self.hub.feed();
    }

    /// Takes what is queued.
    fn drain(&mut self) {
        self.hub.state.mark_dirty(self.client);
        let stream = &mut self.stream;
        self.hub.state.flush(self.client, |_, outbox, turn, scratch| {
            assert_eq!(outbox.write_to(stream, turn, scratch).unwrap(), Flushed::All);
        });
    }

    fn publish(&mut self) {
        let (room, number) = (self.dice.pick(&ROOMS), self.stamps.len());
        let marker = format!("#{number}#");
        let length = if self.is_large || self.dice.roll(30) == 0 {
            if self.is_large { 15_000 } else { 4000 }
        } else {
            self.dice.pick(&[0, 1, 20, 90, 120, 125, 126, 300])
        };
        let text = marker.clone() + &"ä".repeat(length / 2) + "\"\n";
        let json = serde_json::to_string(&text).unwrap();
        let mixed = format!("{{\"a\":{json},\"b\":{{\"_placeholder\":true,\"num\":0}}}}");
        let attachments = [text.as_bytes().to_vec()];
        let data = match self.dice.roll(4) {
            0 => Data::Text(&text),
            1 => Data::Json(&json),
            2 => Data::Binary(text.as_bytes()),
            _ => Data::Mixed { json: &mixed, attachments: &attachments },
        };
        let tenant = self.hub.state.tenant("one").unwrap();
        let filename = self.dice.pick(&["", "log"]);
        let id = self.hub.publish(tenant, &Rooms::parse(room, 128, 0).unwrap(), data, filename);
        self.stamps.push((id.to_string(), marker, id.stamp()));
        if self.is_kept(room, id.stamp()) {
            let members = self.sessions.iter().enumerate().filter(|(_, (_, rooms))| rooms.contains(&room));
            self.owed.extend(members.map(|(session, _)| Owed { session, stamp: id.stamp(), room }));
        }
    }

    fn is_kept(&self, room: &str, stamp: u64) -> bool {
        let tenant = self.hub.state.tenant("one").unwrap();
        let mut after = self.hub.history.entries_after(&self.hub.state, tenant, &[room], stamp - 1);
        after.next().is_some_and(|found| found.entry.stamp() == stamp)
    }

    /// The client confirms what it has got.
    fn prove(&mut self) {
        self.drain();
        if !self.form.is_stream() {
            self.hub.state.ask(self.client);
            if self.dice.roll(2) == 0 {
                self.publish();
            }
            self.drain();
            let mut pings = frames(&self.stream, self.form).into_iter().filter(|frame| frame.bytes[0] == 0x89);
            let last = pings.next_back().unwrap();
            let (end, payload) = (last.end, last.bytes[2..].to_vec());
            self.hub.state.handle_pong(self.client, &payload);
            self.proven = end;
        }
    }

    /// The connection is lost, and the client comes back.
    fn come_back(&mut self) {
        let queued = invariants::queued(&self.hub, self.client);
        let unconfirmed = self.dice.roll(self.stream.len() - self.proven + 1);
        self.hub.state.note_unconfirmed(self.client, Some(unconfirmed as u32));
        let position = invariants::position(&self.hub, self.client, queued + unconfirmed).unwrap();
        let name = self.hub.state.name_of(self.sessions[0].0);
        self.hub.remove(self.client, true);
        let away = self.hub.returns.away.get(name).map(|away| away.position);
        assert_eq!(away, Some(position), "what is queued counts, too");
        self.begun = position;
        (0..self.dice.roll(if self.is_large { 16 } else { 6 })).for_each(|_| self.publish());
        self.connect();
    }

    fn step(&mut self) {
        match self.dice.roll(16) {
            0..7 => self.publish(),
            7 if self.form.is_stream() => {
                let empty = if self.form == Form::Lines { "\n" } else { ":\n\n" };
                self.hub.state.send_raw(self.client, empty.as_bytes());
            }
            7 => self.hub.state.send(self.client, Opcode::Text, b"3"),
            8 => {
                let tenant = self.hub.state.tenant("one").unwrap();
                let target = Target::Room(self.dice.pick(&ROOMS));
                _ = self.hub.emit(tenant, "/one", &target, &Event::new("e", "\"an event\""));
            }
            9 => {
                let (index, room) = (self.dice.roll(self.sessions.len()), self.dice.pick(&ROOMS));
                let (session, rooms) = &mut self.sessions[index];
                let list = Rooms::parse(room, 128, 0).unwrap();
                if !rooms.contains(&room) {
                    rooms.push(room);
                    self.hub.state.join_all(*session, &list, 9);
                } else if self.dice.roll(3) == 0 && rooms.len() > 1 {
                    rooms.retain(|other| *other != room);
                    self.hub.state.leave_all(*session, &list);
                    self.owed.retain(|owed| (owed.session, owed.room) != (index, room));
                    self.is_simple = false;
                }
            }
            10 => self.prove(),
            11 => self.drain(),
            12 if self.is_large || self.dice.roll(3) == 0 => self.come_back(),
            _ => self.feed(),
        }
    }

    /// Every split of what was sent into confirmed and not.
    fn check(&mut self) {
        self.drain();
        // The length of messages that were dropped is not known any more.
        let dropped = self.owed.iter().any(|owed| owed.stamp > self.begun && !self.is_kept(owed.room, owed.stamp));
        self.is_simple &= !dropped;
        let ends = self.ends();
        let step = if self.is_large { 97 } else { 1 };
        (0..=self.stream.len() - self.proven).step_by(step).for_each(|tail| self.check_split(tail, &ends));
    }

    /// The messages that must have been received, or not: their stamps, and where they end in the stream, if they were sent.
    fn ends(&self) -> Vec<(u64, Option<usize>)> {
        let frames = frames(&self.stream, self.form);
        let is_owed = |owed: &&Owed| owed.stamp > self.begun && self.is_kept(owed.room, owed.stamp);
        let ends = self.owed.iter().filter(is_owed).map(|owed| {
            let (id, marker, _) = self.stamps.iter().find(|(.., stamp)| *stamp == owed.stamp).unwrap();
            let is_it = |frame: &&Frame| {
                let is_of_session = owed.session == 0 || frame.has("/two,");
                let is_of_other = self.sessions.len() > 1 && owed.session == 0 && frame.has("/two,");
                let is_message = match self.form {
                    Form::Sse | Form::SseText => frame.has("data: ") && !frame.has("event: "),
                    _ => frame.has("newMsg"),
                };
                ((frame.has(id) && is_message) || (self.form == Form::Text && frame.has(marker)))
                    && is_of_session
                    && !is_of_other
            };
            let found: Vec<usize> = frames.iter().filter(is_it).map(|frame| frame.end).collect();
            assert!(found.len() < 2, "{:?}: {} of {} comes twice", self.form, owed.stamp, owed.room);
            (owed.stamp, found.first().copied())
        });
        ends.collect()
    }

    fn check_split(&self, tail: usize, ends: &[(u64, Option<usize>)]) {
        let position = invariants::position(&self.hub, self.client, tail).unwrap();
        let confirmed = self.stream.len() - tail;
        let is_missing = |end: &Option<usize>| end.is_none_or(|end| end > confirmed);
        let missing = ends.iter().filter(|(_, end)| is_missing(end)).map(|(stamp, _)| *stamp).min().unwrap_or(u64::MAX);
        let what =
            || format!("{:?}, {tail} of {} bytes not confirmed, from {}", self.form, self.stream.len(), self.begun);
        assert!(position < missing, "{}: at {position}, but {missing} was not received: {ends:?}", what());
        // More frames of other kinds are merged, and may then seem older than they are.
        if self.is_simple && self.sessions.len() == 1 && invariants::other_frames(&self.hub, self.client) < 16 {
            let before = ends.iter().map(|(stamp, _)| *stamp).filter(|stamp| *stamp < missing).max().unwrap_or(0);
            assert!(before <= position, "{}: at {position}, though {before} was received: {ends:?}", what());
        }
    }
}

/// A frame, or a block of a stream, with the frames of attachments after it.
struct Frame {
    bytes: Vec<u8>,
    end: usize,
}

impl Frame {
    fn has(&self, text: &str) -> bool {
        self.bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

fn frames(bytes: &[u8], form: Form) -> Vec<Frame> {
    let (mut frames, mut begin): (Vec<Frame>, usize) = (Vec::new(), 0);
    while begin < bytes.len() {
        let rest = &bytes[begin..];
        let length = match form {
            Form::Sse | Form::SseText => rest.windows(2).position(|two| two == b"\n\n").unwrap() + 2,
            Form::Lines => rest.iter().position(|byte| *byte == b'\n').unwrap() + 1,
            _ => match rest[1] {
                126 => 4 + usize::from(u16::from_be_bytes([rest[2], rest[3]])),
                127 => 10 + u64::from_be_bytes(rest[2..10].try_into().unwrap()) as usize,
                length => 2 + usize::from(length),
            },
        };
        let (end, frame) = (begin + length, rest[..length].to_vec());
        let payload = if form.is_stream() { 0 } else { [2, 4][usize::from(rest[1] == 126)] };
        let is_attachment = form.is_socketio() && (rest[0] == 0x82 || rest.get(payload) == Some(&b'b'));
        match frames.last_mut().filter(|_| is_attachment) {
            Some(last) => last.end = end,
            None => frames.push(Frame { bytes: frame, end }),
        }
        begin = end;
    }
    frames
}

/// Whatever a peer has confirmed: what it has not received whole is repeated, and of a client with one session no more.
#[test]
fn a_position_is_never_past_what_was_received() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = number("WALK_SEED").map_or(1..=number("WALK_SEEDS").unwrap_or(60), |seed| seed..=seed);
    let mut moved = 0;
    for seed in seeds {
        eprintln!("WALK_SEED={seed}");
        let mut world = World::new(seed);
        for _ in 0..40 {
            world.step();
        }
        world.check();
        moved += world.owed.len();
    }
    assert!(moved > 100, "{moved}");
}
