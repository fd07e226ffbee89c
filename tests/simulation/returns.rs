//! Clients that do not know where they were: they are cut off at any byte of what is in flight, relay notices it sooner or later,
//! and they come back as the same or as one of several that nobody can tell apart. The model knows what each has received, and
//! what relay can know of that:
//!
//! - who comes back gets each kept message that it has not received, in order, unless its room has dropped it;
//! - of those that it has received, it gets only those again that were not proven when it was lost; of several that cannot be
//!   told apart, only those that were not proven of one of them; and with an offset none;
//! - one connection gets no message twice;
//! - who leaves for good is not kept, and who was lost is, for the window and within the budget;
//! - in the end all logins have gone on, and nothing is left in any table.

use core::{net::IpAddr, time::Duration};
use std::collections::{BTreeMap, BTreeSet};

use relay::{
    clock::{Now, Time},
    config::{Config, Offsets, SlowConsumers},
    engineio::{
        Packet, Revision,
        engine::Polled,
        payload::{self, Bodies},
    },
    events::{
        self, Incoming,
        socketio::{Opening, handle_packet, open},
    },
    fuzzing::invariants,
    hub::{Hub, login::Login},
    key::{ClientKey, ConnKey, Handle, Key, SessionKey},
    message::{Data, Form},
    names::Rooms,
    outbox::Flushed,
    sign::{Signature, Subject, to_hex},
    state::{Effect, End, client::Carrier},
};

use crate::{
    dice::{Dice, KEY},
    model::own,
    wire::Socket,
};

/// What a page shows, and what relay owes it.
struct Page {
    /// Whose it is: pages with the same number cannot be told apart.
    who: usize,
    form: Form,
    polls: bool,
    proxied: bool,
    ip: u8,
    rooms: Vec<&'static str>,
    /// Its connection, as far as it knows.
    line: Option<u32>,
    /// Kept messages that it must get.
    owed: BTreeMap<u64, &'static str>,
    got: BTreeSet<u64>,
    /// Whether it was lost and has not said goodbye.
    comes_back: bool,
    /// Whether it has had a connection on which it has shown a sign of life.
    established: bool,
    pid: Option<String>,
    /// The last message that it has got with an offset.
    offset: Option<(String, u64)>,
}

impl Page {
    /// It may not get what it has missed.
    fn forget(&mut self) {
        self.owed.clear();
        self.comes_back = false;
    }
}

/// A connection. relay may keep it for alive long after it was cut.
struct Line {
    /// `None` for a login that nobody waits for any more.
    page: Option<usize>,
    client: ClientKey,
    conn: ConnKey,
    session: SessionKey,
    who: usize,
    is_polling: bool,
    /// Whether a poll waits.
    polled: bool,
    is_cut: bool,
    alive: bool,
    /// All that the kernel has taken, how much of it the peer has read and how much of that relay's kernel knows.
    bytes: Vec<u8>,
    received: usize,
    confirmed: usize,
    /// Where frames with messages end.
    ends: Vec<(usize, u64)>,
    parsed: usize,
    handled: usize,
    /// Up to where pongs have proven what it has.
    ponged: usize,
    /// From which position it began.
    base: u64,
    seen: BTreeSet<u64>,
    newest: u64,
    proxied: bool,
    closing: bool,
    /// Whether it is the first of a page.
    is_new: bool,
    /// It has named this message when it came back.
    offset: Option<u64>,
}

/// What is checked: everything; not how much is repeated, because rooms drop messages; or only the tables, because the
/// configuration changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Strict,
    Loose,
    Chaos,
}

pub struct World {
    pub hub: Hub,
    mode: Mode,
    dice: Dice,
    now: Now,
    pages: Vec<Page>,
    lines: BTreeMap<u32, Line>,
    count: u32,
    /// The stamps of messages by the numbers in them, and whether they were kept.
    stamps: Vec<(u64, &'static str, bool)>,
    /// The least position of sessions of each that are away.
    low: BTreeMap<usize, u64>,
    /// The sessions that are away, whose they are and when they were lost.
    away: BTreeMap<SessionKey, (usize, Time)>,
    /// Whose messages relay repeats from an earlier position, because a sign of life was late.
    late: BTreeSet<usize>,
    /// Several pages that cannot be told apart, of which one session was given up: nobody knows who gets the others.
    unsure: BTreeSet<usize>,
    pub repeated: u64,
    pub resumed: u64,
}

const ROOMS: [&str; 4] = ["a", "b", "few", "u"];
const SLACK: usize = 1500;

impl World {
    pub fn new(seed: u64) -> World {
        let mut dice = Dice::new(seed);
        let mode = dice.pick(&[Mode::Strict, Mode::Strict, Mode::Loose, Mode::Chaos]);
        let config = config(&mut dice, mode);
        let mut world = World {
            hub: Hub::new(config.into(), own(), [1; 32]),
            mode,
            now: Now::default(),
            pages: Vec::new(),
            lines: BTreeMap::new(),
            count: 0,
            stamps: Vec::new(),
            low: BTreeMap::new(),
            away: BTreeMap::new(),
            late: BTreeSet::new(),
            unsure: BTreeSet::new(),
            repeated: 0,
            resumed: 0,
            dice,
        };
        let mut who = 0;
        while world.pages.len() < 7 {
            who += 1;
            let form = world.dice.pick(&[Form::Json, Form::Text, Form::SocketIo3, Form::SocketIo4]);
            let polls = form.is_socketio() && world.dice.once_in(2);
            let proxied = world.dice.once_in(3);
            let mut rooms: Vec<&'static str> = ROOMS.into_iter().filter(|_| world.dice.once_in(2)).collect();
            rooms.push("a");
            rooms.sort_unstable();
            rooms.dedup();
            let tabs = if world.dice.once_in(3) { 2 + world.dice.roll(2) } else { 1 };
            let ip = world.pages.len() as u8;
            if tabs > 1 && form == Form::SocketIo4 {
                // What one tab has taken from another stays for the `pid` of the other.
                world.late.insert(who);
            }
            for tab in 0..tabs {
                world.pages.push(Page {
                    who,
                    form,
                    polls,
                    proxied,
                    ip: if world.dice.once_in(2) { ip } else { ip + tab as u8 },
                    rooms: rooms.clone(),
                    line: None,
                    owed: BTreeMap::new(),
                    got: BTreeSet::new(),
                    comes_back: false,
                    established: false,
                    pid: None,
                    offset: None,
                });
            }
        }
        world
    }

    pub fn step(&mut self) {
        match self.dice.roll(24) {
            0..7 => self.publish(),
            7 | 8 => {
                let page = self.dice.roll(self.pages.len());
                self.log_in(page);
            }
            9 => {
                if let Some(line) = self.any_line() {
                    self.lines.get_mut(&line).unwrap().is_cut = true;
                }
            }
            10 => {
                // relay notices it.
                if let Some(line) = self.any_line().filter(|line| self.lines[line].is_cut || self.dice.once_in(4)) {
                    self.lose(line);
                }
            }
            11 => {
                // The page notices it.
                if let Some(line) = self.any_line().filter(|line| self.lines[line].is_cut) {
                    self.give_up(line);
                }
            }
            12 if self.dice.once_in(4) => self.say_goodbye(),
            13 if self.dice.once_in(3) => self.send_ghost(),
            14 if self.mode == Mode::Chaos && self.dice.once_in(4) => {
                let config = config(&mut self.dice, self.mode);
                self.hub.reload(config.into(), self.now);
                self.note_gone(true);
            }
            15..19 => {
                if let Some(line) = self.any_line() {
                    self.deliver(line);
                }
            }
            _ => self.turn(),
        }
        self.note_gone(false);
        self.check();
    }

    /// Everybody comes back, and gets what it is owed. Then everybody leaves.
    pub fn end(&mut self) {
        for _ in 0..6 {
            let cut: Vec<u32> = self
                .lines
                .iter()
                .filter(|(_, line)| line.is_cut || line.page.is_none())
                .map(|(line, _)| *line)
                .collect();
            for line in cut {
                self.lose(line);
            }
            for page in 0..self.pages.len() {
                if self.pages[page].line.is_none() && self.pages[page].comes_back {
                    self.log_in(page);
                }
            }
            for _ in 0..40 {
                self.turn();
                let lines: Vec<u32> = self.lines.keys().copied().collect();
                lines.into_iter().for_each(|line| self.deliver(line));
                self.note_gone(false);
                self.check();
            }
        }
        self.now.time = self.now.time.after(Duration::from_secs(1));
        for page in 0..self.pages.len() {
            let Some(line) = self.pages[page].line.and_then(|line| self.lines.get(&line)) else { continue };
            assert!(!self.hub.returns.asking.waits(line.session), "a login waits for ever");
            assert!(!invariants::is_behind(&self.hub, line.client), "a client that reads stays behind");
            let owed: Vec<u64> = self.pages[page]
                .owed
                .iter()
                .filter(|(stamp, room)| self.is_kept(room, **stamp))
                .map(|(stamp, _)| *stamp)
                .collect();
            let is_checked = self.mode != Mode::Chaos && !line.closing && !self.unsure.contains(&line.who);
            assert!(
                !is_checked || owed.is_empty(),
                "page {page} has not got {owed:?}: {:?} {:?} alive {} of {} got {} handled {} queued {} behind {} newest {}",
                self.pages[page].form,
                self.pages[page].rooms,
                line.alive,
                line.bytes.len(),
                line.received,
                line.handled,
                invariants::queued(&self.hub, line.client),
                invariants::is_behind(&self.hub, line.client),
                line.newest
            );
        }
        for line in core::mem::take(&mut self.lines).into_values() {
            self.hub.remove(line.client, false);
        }
        self.hub.feed();
        invariants::check(&self.hub);
        assert_eq!((self.hub.state.session_count(), self.hub.state.room_count()), (0, 0));
        assert!(
            self.hub.returns.live.is_empty() && self.hub.returns.asking.is_empty() && self.hub.state.tracks.is_empty()
        );
        self.now.time = self.now.time.after(Duration::from_secs(1000));
        self.hub.begin_turn(self.now);
        events::handle_timeout(&mut self.hub, self.now);
        assert!(self.hub.returns.away.is_empty() && self.hub.returns.away.bytes() == 0, "sessions are away for ever");
    }

    fn any_line(&mut self) -> Option<u32> {
        let lines: Vec<u32> = self.lines.keys().copied().collect();
        (!lines.is_empty()).then(|| self.dice.pick(&lines))
    }

    fn publish(&mut self) {
        let (room, number) = (self.dice.pick(&ROOMS), self.stamps.len());
        let text = format!("#{number}#{}", "x".repeat(self.dice.pick(&[0, 10, 60, 200])));
        let tenant = self.hub.state.tenant("one").unwrap();
        let id = self.hub.publish(tenant, &Rooms::parse(room, 128, 0).unwrap(), Data::Text(&text), "");
        let is_kept = self.is_kept(room, id.stamp());
        self.stamps.push((id.stamp(), room, is_kept));
        if is_kept {
            for page in &mut self.pages {
                let is_member = page.rooms.contains(&room) && (page.line.is_some() || page.comes_back);
                if is_member {
                    page.owed.insert(id.stamp(), room);
                }
            }
        }
    }

    fn is_kept(&self, room: &str, stamp: u64) -> bool {
        let tenant = self.hub.state.tenant("one").unwrap();
        let mut after = self.hub.history.entries_after(&self.hub.state, tenant, &[room], stamp - 1);
        after.next().is_some_and(|found| found.entry.stamp() == stamp)
    }

    fn log_in(&mut self, index: usize) {
        if self.pages[index].line.is_some() {
            return;
        }
        let who = self.pages[index].who;
        if !self.pages[index].comes_back && !self.is_calm(who) {
            // A new tab may be taken for one that was lost.
            return;
        }
        let page = &mut self.pages[index];
        if page.comes_back && self.dice.once_in(5) {
            // It has changed its network.
            page.ip = 100 + (self.count % 150) as u8;
            // What it takes from here stays for who comes from there.
            self.late.insert(who);
        }
        if !page.comes_back {
            page.owed.clear();
            page.got.clear();
            (page.pid, page.offset, page.established) = (None, None, false);
        }
        let is_new = !self.pages[index].comes_back;
        let low = self.low.get(&self.pages[index].who).copied().unwrap_or(0);
        let page = &self.pages[index];
        let knows = page.form == Form::SocketIo4 && page.pid.is_some() && self.dice.once_in(2);
        let pid = page.pid.clone().filter(|_| knows);
        let offset = page.offset.clone().filter(|_| knows);
        let line = self.open(index, pid.as_deref(), offset.as_ref().map(|(id, _)| id.as_str()));
        let line = Line { page: Some(index), is_new, base: low, offset: offset.map(|(_, stamp)| stamp), ..line };
        self.pages[index].line = Some(self.count);
        self.lines.insert(self.count, line);
    }

    /// A login that was given up before relay got it.
    fn send_ghost(&mut self) {
        let index = self.dice.roll(self.pages.len());
        let page = &self.pages[index];
        if page.line.is_none() && !page.comes_back {
            return;
        }
        let line = self.open(index, None, None);
        self.lines.insert(self.count, Line { page: None, is_cut: true, ..line });
    }

    fn open(&mut self, index: usize, pid: Option<&str>, offset: Option<&str>) -> Line {
        self.count += 1;
        let page = &self.pages[index];
        let (userid, room_ids) = (format!("u{}", page.who), page.rooms.join(","));
        let sign =
            to_hex(&Subject::Connect { source: "one", userid: &userid, room_ids: &room_ids }.md5(KEY.as_bytes()));
        let conn = ConnKey::wrap(Key::from_bits((1 << 32) | u64::from(self.count)).unwrap());
        let ip = Some(IpAddr::from([10, 0, 0, page.ip]));
        let client = if page.form.is_socketio() {
            let query = format!("source=one&room_ids={room_ids}&sign={sign}&userid={userid}");
            let revision = if page.form == Form::SocketIo3 { Revision::V3 } else { Revision::V4 };
            let opening = Opening {
                revision,
                base64: false,
                bodies: Bodies::Any,
                query: &query,
                proxied: page.proxied,
                ip,
                referer: "",
                user_agent: "",
            };
            let client = open(&mut self.hub, &opening, (!page.polls).then_some(conn), self.now);
            if page.form == Form::SocketIo4 {
                let connect = match (pid, offset) {
                    (Some(pid), Some(offset)) => format!("0{{\"pid\":\"{pid}\",\"offset\":\"{offset}\"}}"),
                    (Some(pid), None) => format!("0{{\"pid\":\"{pid}\"}}"),
                    _ => "0".into(),
                };
                handle_packet(&mut self.hub, client, &Packet::Text(&connect), self.now).unwrap();
            }
            client
        } else {
            let login = Login {
                source: "one",
                room_ids: &room_ids,
                signature: Signature::new(&sign, "", ""),
                jwt: "",
                userid: &userid,
                username: "",
                ext_info: "",
                watch_quit: false,
                presence: false,
                form: page.form,
                since: None,
                pid: "",
                offset: "",
                proxied: page.proxied,
                ip,
                referer: "",
                user_agent: "",
            };
            self.hub.admit("/", &login, "", conn, self.now).unwrap().client
        };
        let session = invariants::sessions(&self.hub, client)[0].0;
        Line {
            page: None,
            client,
            conn,
            session,
            who: page.who,
            is_polling: page.polls,
            polled: false,
            is_cut: false,
            alive: false,
            bytes: Vec::new(),
            received: 0,
            confirmed: 0,
            ends: Vec::new(),
            parsed: 0,
            handled: 0,
            ponged: 0,
            base: 0,
            seen: BTreeSet::new(),
            newest: 0,
            proxied: page.proxied,
            closing: false,
            is_new: false,
            offset: None,
        }
    }

    /// What a peer reads, and what it answers.
    fn deliver(&mut self, number: u32) {
        let Some(line) = self.lines.get_mut(&number).filter(|line| !line.is_cut) else { return };
        let waits = line.bytes.len() - line.received;
        line.received += if line.is_polling || self.dice.once_in(2) { waits } else { self.dice.roll(waits + 1) };
        self.read(number);
        let Some(line) = self.lines.get_mut(&number) else { return };
        if line.is_polling {
            if !line.polled && !self.hub.state.is_ending(line.client) {
                let has_handled = line.received > line.confirmed;
                (line.confirmed, line.polled) = (line.received, true);
                line.alive |= has_handled;
                assert_eq!(self.hub.state.poll(line.client, line.conn), Ok(Polled::Waits));
            }
        } else {
            // Its kernel says so, sooner or later.
            if self.dice.once_in(2) {
                line.confirmed = line.confirmed + self.dice.roll(line.received - line.confirmed + 1);
            }
            self.hub.state.handle_writable(line.client);
        }
        self.note_established(number);
    }

    /// The peer handles what it has received as a whole.
    fn read(&mut self, number: u32) {
        loop {
            let line = self.lines.get_mut(&number).unwrap();
            let Some((end, payload, opcode)) = frame(&line.bytes[..line.received], line.handled) else { break };
            line.handled = end;
            let text = String::from_utf8_lossy(&payload).into_owned();
            let answers = opcode == 0x89 || text == "2";
            match opcode {
                0x89 => self.answer(number, end, |hub, client| hub.state.handle_pong(client, &payload)),
                _ if text == "2" => {
                    let now = self.now;
                    self.answer(number, end, |hub, client| {
                        events::handle_message(hub, client, Incoming::Text("3"), now)
                    });
                }
                _ => self.take(number, &text),
            }
            if answers {
                self.note_established(number);
            }
        }
    }

    /// The answer to a question, which arrives at once: it confirms all that was received before it.
    fn answer(&mut self, number: u32, end: usize, handle: impl FnOnce(&mut Hub, ClientKey)) {
        let line = self.lines.get_mut(&number).unwrap();
        if line.is_polling {
            // Posted. It proves no more than what its next poll will.
            line.alive = true;
            let packet = Packet::Pong("");
            handle_packet(&mut self.hub, line.client, &packet, self.now).unwrap();
            return;
        }
        (line.alive, line.ponged) = (true, line.ponged.max(end));
        line.confirmed = line.confirmed.max(line.received);
        let client = line.client;
        handle(&mut self.hub, client);
    }

    fn take(&mut self, number: u32, text: &str) {
        let line = self.lines.get_mut(&number).unwrap();
        let Some(index) = line.page else { return };
        let page = &mut self.pages[index];
        if let Some((_, rest)) = text.split_once("\"pid\":\"") {
            page.pid = Some(rest.split('"').next().unwrap().to_owned());
        }
        let Some(marker) = marker(text) else { return };
        let (stamp, room, is_kept) = self.stamps[marker];
        if text.starts_with("42") && text.ends_with("\"]") {
            let id = text.trim_end_matches("\"]").rsplit('"').next().unwrap();
            page.offset = Some((id.to_owned(), stamp));
        }
        assert!(line.seen.insert(stamp), "page {index} gets {stamp} twice on one connection");
        if !is_kept {
            return;
        }
        assert!(line.newest < stamp, "page {index} gets {stamp} after {}", line.newest);
        line.newest = stamp;
        page.owed.remove(&stamp);
        if !page.got.insert(stamp) {
            self.repeated += 1;
            let low = self.low.get(&page.who).copied().unwrap_or(u64::MAX);
            if self.mode == Mode::Strict && !self.late.contains(&page.who) {
                assert!(
                    stamp > low,
                    "page {index} ({:?}) gets {stamp} again, though all up to {low} was proven",
                    page.form
                );
                let is_known = line.offset.is_some_and(|offset| stamp <= offset);
                assert!(!is_known, "page {index} gets {stamp} again, though it has said that it has it");
            }
        }
        let before: Vec<(u64, &'static str)> =
            self.pages[index].owed.range(..stamp).map(|(stamp, room)| (*stamp, *room)).collect();
        for (missing, room) in before {
            assert!(
                self.mode == Mode::Chaos
                    || self.unsure.contains(&self.pages[index].who)
                    || !self.is_kept(room, missing),
                "page {index} ({:?}, {}, {} of who, line {number}, base {}) gets {stamp}, but {missing} of {room} is lost",
                self.pages[index].form,
                if self.pages[index].polls { "polling" } else { "WebSocket" },
                self.pages.iter().filter(|page| page.who == self.pages[index].who).count(),
                self.lines[&number].base,
            );
            self.pages[index].owed.remove(&missing);
        }
        _ = room;
    }

    fn note_established(&mut self, number: u32) {
        let Some(line) = self.lines.get(&number) else { return };
        if let Some(page) = line.page.filter(|_| line.alive && !self.hub.returns.asking.waits(line.session)) {
            self.pages[page].established = true;
        }
    }

    /// The page knows that its connection is gone, relay may not.
    fn give_up(&mut self, number: u32) {
        let line = self.lines.get_mut(&number).unwrap();
        line.is_cut = true;
        if let Some(index) = line.page.take() {
            let page = &mut self.pages[index];
            page.line = None;
            // It has not shown that it is there: as if it had never come.
            if page.established {
                page.comes_back = true;
            } else {
                page.owed.clear();
            }
        }
    }

    /// relay notices that a connection is gone.
    fn lose(&mut self, number: u32) {
        self.give_up(number);
        let line = self.lines.remove(&number).unwrap();
        let (client, session) = (line.client, line.session);
        let name = self.hub.state.name_of(session);
        let waits = self.hub.returns.asking.waits(session);
        // Another may go on in its place already.
        let is_aside = self.hub.state.tracks.get(client).is_some_and(|track| track.is_aside);
        let frames = invariants::other_frames(&self.hub, client);
        let others_away = self.away.values().any(|(who, _)| *who == line.who);
        let dropped = self.hub.state.stats.away_dropped;
        let before = self.returned();
        if self.is_new_waiting(line.who) {
            // It may be taken for this one.
            self.unsure.insert(line.who);
        }
        match self.hub.state.carrier(client) {
            Carrier::Poll(conn) => self.hub.handle_end(client, conn, true),
            Carrier::Socket(conn) => {
                let unconfirmed = if line.proxied { 0 } else { line.bytes.len() - line.confirmed };
                self.hub.state.note_unconfirmed(client, Some(unconfirmed as u32));
                self.hub.handle_end(client, conn, true);
            }
            Carrier::Nothing => self.hub.remove(client, true),
        }
        if line.closing {
            return self.note_gone(false);
        }
        // Pongs prove, or what the kernel knows. If many frames of other kinds were sent, pongs only.
        let proven = if (line.proxied && !line.is_polling) || frames >= 16 { line.ponged } else { line.confirmed };
        let position = line.ends.iter().filter(|(end, _)| *end <= proven).map(|(_, stamp)| *stamp).max();
        let position = position.unwrap_or(0).max(line.base);
        // A login that has waited for this may go on with it at once.
        let is_away = !self.hub.returns.away.is_taken(name);
        let is_kept = is_away || self.returned() > before;
        let must_be = line.alive && !waits && !is_aside && self.mode != Mode::Chaos;
        assert!(!must_be || is_kept || self.hub.state.stats.away_dropped > dropped, "a lost session is not kept");
        if must_be && !is_kept {
            // There was no memory for it.
            self.pages.iter_mut().filter(|page| page.who == line.who).for_each(Page::forget);
            self.unsure.insert(line.who);
        }
        if is_kept {
            let low = self.low.entry(line.who).or_insert(u64::MAX);
            *low = if others_away { (*low).min(position) } else { position };
        }
        if is_away {
            self.away.insert(name, (line.who, self.now.time));
        }
        self.note_gone(false);
    }

    fn returned(&self) -> u64 {
        self.hub.state.stats.returned + self.hub.state.stats.returned_with_gaps
    }

    /// A page is closed.
    fn say_goodbye(&mut self) {
        let is_calm = |line: &u32| !self.lines[line].is_cut && self.is_calm(self.lines[line].who);
        let lines: Vec<u32> = self.lines.keys().copied().filter(is_calm).collect();
        if lines.is_empty() {
            return;
        }
        let number = self.dice.pick(&lines);
        let line = self.lines.remove(&number).unwrap();
        let Some(index) = line.page else { return };
        let before = self.hub.returns.away.len();
        self.away.remove(&self.hub.state.name_of(line.session));
        // It may be being closed for another reason, or people who leave come back.
        let is_checked = self.mode != Mode::Chaos && !self.hub.state.has_decided_end(line.client);
        let close = End::ClosedByPeer { code: Some(self.dice.pick(&[1000, 1001])), socketio: false, pinged: false };
        self.hub.state.note_unconfirmed(line.client, Some(0));
        self.hub.end(line.client, close, true);
        self.hub.remove(line.client, true);
        assert!(!is_checked || self.hub.returns.away.len() <= before, "it has left for good");
        let page = &mut self.pages[index];
        (page.line, page.comes_back, page.established) = (None, false, false);
        page.owed.clear();
    }

    /// Whether a new tab waits for a moment.
    fn is_new_waiting(&self, who: usize) -> bool {
        let mut others = self.lines.values().filter(|other| other.who == who && other.is_new);
        others.any(|other| self.hub.returns.asking.waits(other.session))
    }

    /// Whether a page is alone, or all that cannot be told apart from it are there.
    fn is_calm(&self, who: usize) -> bool {
        let is_here = |line: &Line| !line.is_cut && !line.closing && !self.hub.returns.asking.waits(line.session);
        let lines = self.lines.values().filter(|line| line.who == who);
        let mut pages = self.pages.iter().filter(|page| page.who == who);
        self.pages.iter().filter(|page| page.who == who).count() == 1
            || lines.into_iter().all(is_here)
                && !self.away.values().any(|(of, _)| *of == who)
                && pages.all(|page| page.line.is_some() || !page.comes_back)
    }

    /// Sessions that are not away any more have come back, or were given up: only after the window, or for want of memory.
    fn note_gone(&mut self, reloaded: bool) {
        let now = self.now.time;
        let window = self.hub.config().recovery.window;
        let gone: Vec<_> = self
            .away
            .iter()
            .filter(|(name, _)| self.hub.returns.away.is_taken(**name))
            .map(|(name, who)| (*name, *who))
            .collect();
        let stats = &self.hub.state.stats;
        let given_up = stats.away_dropped + stats.away_expired;
        let resumed = self.returned();
        for (name, (who, lost)) in &gone {
            self.away.remove(name);
            if self.lines.values().any(|line| self.hub.state.name_of(line.session) == *name) {
                // It was only silent for a while.
                continue;
            }
            let is_back = resumed > self.resumed;
            if !is_back && self.mode != Mode::Chaos {
                assert!(
                    given_up > 0 && (lost.after(window) <= now || stats.away_dropped > 0) || reloaded,
                    "{name:?} was given up"
                );
            }
            if !is_back {
                self.pages.iter_mut().filter(|page| page.who == *who).for_each(Page::forget);
                self.unsure.insert(*who);
                self.low.insert(*who, 0);
            }
        }
        self.resumed = resumed;
    }

    /// Ends a turn as the server does.
    fn turn(&mut self) {
        let step = match self.dice.roll(40) {
            0 => 2_500_000,
            1..6 => self.dice.roll(700_000) as u64,
            _ => 1000,
        };
        self.now.time = Time::from_micros(self.now.time.micros() + step);
        self.hub.begin_turn(self.now);
        if self.hub.deadline() <= self.now.time {
            events::handle_timeout(&mut self.hub, self.now);
        }
        let clients: Vec<ClientKey> = self.lines.values().map(|line| line.client).collect();
        clients.into_iter().for_each(|client| _ = self.hub.state.expire_engine(client, self.now));
        self.hub.feed();
        self.carry_out();
        self.flush();
        self.carry_out();
        for line in self.lines.keys().copied().collect::<Vec<_>>() {
            self.note_established(line);
        }
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.hub.poll_effect() {
            let (client, close) = match effect {
                Effect::Close { client, close } => (client, Some(close)),
                Effect::Lose { client } => (client, None),
                Effect::NoteStall { client } => {
                    self.note_unconfirmed(client);
                    self.hub.state.note_stall(client);
                    continue;
                }
                Effect::SetAside { client } => {
                    self.set_aside(client);
                    continue;
                }
                _ => continue,
            };
            let Some(number) = self.lines.iter().find(|(_, line)| line.client == client).map(|(line, _)| *line) else {
                continue;
            };
            match close {
                None => self.lose(number),
                Some(close) => {
                    let line = &self.lines[&number];
                    let (name, who) = (self.hub.state.name_of(line.session), line.who);
                    self.hub.end(client, End::Closed(close), true);
                    if !self.hub.returns.away.is_taken(name) {
                        self.away.insert(name, (who, self.now.time));
                        self.low.insert(who, 0);
                    }
                    self.lines.get_mut(&number).unwrap().closing = true;
                    self.give_up(number);
                    self.lose(number);
                }
            }
        }
    }

    fn note_unconfirmed(&mut self, client: ClientKey) {
        let Some(line) = self.lines.values().find(|line| line.client == client) else { return };
        self.late.insert(line.who);
        if !line.is_polling {
            let unconfirmed = if line.proxied { 0 } else { line.bytes.len() - line.confirmed };
            self.hub.state.note_unconfirmed(client, Some(unconfirmed as u32));
        }
    }

    /// It was silent when another login asked. Others may go on from its position.
    fn set_aside(&mut self, client: ClientKey) {
        self.note_unconfirmed(client);
        let found = self.lines.values().find(|line| line.client == client);
        if let Some(who) = found.map(|line| line.who)
            && self.is_new_waiting(who)
        {
            self.unsure.insert(who);
        }
        let known = found.map(|line| (self.hub.state.name_of(line.session), line.who));
        self.hub.set_aside(client);
        if let Some((name, who)) = known.filter(|(name, _)| !self.hub.returns.away.is_taken(*name)) {
            self.away.insert(name, (who, self.now.time));
        }
        self.note_gone(false);
    }

    fn flush(&mut self) {
        let mut dirty = Vec::new();
        self.hub.state.poll_dirty(usize::MAX, &mut dirty);
        self.hub.state.ask_written(&dirty);
        for key in dirty.iter().copied() {
            let Some(line) = self.lines.values_mut().find(|line| line.client == key) else { continue };
            let mut socket =
                Socket { room: (line.received + SLACK).saturating_sub(line.bytes.len()), ..Socket::default() };
            match self.hub.state.carrier(key) {
                Carrier::Socket(_) => {
                    self.hub.state.flush(key, |_, outbox, turn, scratch| {
                        _ = outbox.write_to(&mut socket, turn, scratch).unwrap() == Flushed::Blocked;
                    });
                    line.bytes.extend_from_slice(&socket.got);
                }
                Carrier::Poll(_) => {
                    self.hub.state.flush(key, |_, _, _, _| panic!("it polls"));
                    if let Some((body, binary)) = self.hub.state.compose(key) {
                        line.polled = false;
                        let revision = self.hub.state.engine_mut(key).unwrap().revision;
                        payload::decode(&body, revision, binary, &mut |packet| {
                            let text = match packet {
                                Packet::Text(text) => format!("4{text}"),
                                Packet::Open(_) => "0".into(),
                                Packet::Ping(_) => "2".into(),
                                _ => "6".into(),
                            };
                            let length = text.len() as u16;
                            line.bytes.extend_from_slice(&[0x81, 126]);
                            line.bytes.extend_from_slice(&length.to_be_bytes());
                            line.bytes.extend_from_slice(text.as_bytes());
                            core::ops::ControlFlow::Continue(())
                        })
                        .unwrap();
                    }
                    self.hub.state.keep(key);
                }
                Carrier::Nothing => {
                    self.hub.state.flush(key, |_, _, _, _| panic!("it polls"));
                    self.hub.state.keep(key);
                }
            }
            while let Some((end, payload, _)) = frame(&line.bytes, line.parsed) {
                line.parsed = end;
                if let Some((stamp, _, true)) =
                    marker(&String::from_utf8_lossy(&payload)).map(|marker| self.stamps[marker])
                {
                    line.ends.push((end, stamp));
                }
            }
        }
        self.hub.flushed(&dirty);
        self.hub.state.end_flush();
    }

    fn check(&self) {
        invariants::check(&self.hub);
        let sessions: usize = self.lines.values().map(|line| invariants::sessions(&self.hub, line.client).len()).sum();
        assert_eq!(self.hub.state.session_count(), sessions, "a session that is away is in no table");
    }
}

/// The first frame from `begin`: its end, its payload and its first byte.
fn frame(bytes: &[u8], begin: usize) -> Option<(usize, Vec<u8>, u8)> {
    let rest = &bytes[begin..];
    let (length, head) = match *rest.get(1)? {
        126 => (usize::from(u16::from_be_bytes(rest.get(2..4)?.try_into().unwrap())), 4),
        length => (usize::from(length), 2),
    };
    let payload = rest.get(head..head + length)?;
    Some((begin + head + length, payload.to_vec(), rest[0]))
}

/// The number in the data of a message.
fn marker(text: &str) -> Option<usize> {
    let (_, rest) = text.split_once('#')?;
    rest.split_once('#')?.0.parse().ok()
}

fn config(dice: &mut Dice, mode: Mode) -> Config {
    let text = format!(
        "[sources.one]\nsign_key = \"{KEY}\"\n[history]\ncount = 100000\nage = 100000\nbytes = 1000000\n\
         rooms = [{{ room = \"u\", count = 0 }}, {{ room = \"few\", count = {} }}]\n",
        if mode == Mode::Strict { 100_000 } else { 4 }
    );
    let mut config = relay::config::parse(&text, &mut |_| unreachable!("no file is named")).unwrap();
    config.limits.message_rate = 0;
    config.limits.unsent = 4096;
    (config.socketio.ping_interval, config.socketio.ping_timeout) = (Duration::from_secs(4), Duration::from_secs(4));
    config.history.slow = if dice.once_in(4) { SlowConsumers::Close } else { SlowConsumers::Behind };
    config.history.memory = if mode == Mode::Strict { 1 << 26 } else { dice.pick(&[1 << 26, 20_000, 8_000]) };
    config.recovery.offsets = dice.pick(&[Offsets::No, Offsets::Known, Offsets::All]);
    config.recovery.window =
        if mode == Mode::Strict { Duration::from_secs(500) } else { Duration::from_secs(dice.pick(&[3, 500])) };
    if mode == Mode::Chaos {
        use relay::config::{ProofMode, Unknowing};
        config.recovery.unknowing = dice.pick(&[Unknowing::No, Unknowing::Return, Unknowing::User]);
        config.recovery.proof = dice.pick(&[ProofMode::Auto, ProofMode::Tcp, ProofMode::Pong]);
        if dice.once_in(5) {
            config.recovery.window = Duration::ZERO;
        }
    }
    config
}
