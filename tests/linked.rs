//! A seeded simulation of relays and a Redis in one process, at virtual time: connections break anywhere, bytes arrive
//! in pieces of any size, Redis stalls, is emptied, or cannot be reached. At the end all faults stop, and the test
//! checks that each relay got each message of the others at most once and in order, and all of them if its subscription
//! lasted; that what is missing was counted; that Redis has the records of exactly the sessions there are; and that each
//! relay knows the users of all.
#![allow(missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::ErrorKind,
    rc::Rc,
};

use relay::{
    clock::{Now, Time},
    config::{Config, RedisUrl},
    events,
    frame::Opcode,
    hub::{Hub, login::Login},
    key::{ClientKey, ConnKey, Handle, Key},
    message::{Data, Form, MessageId},
    names::Rooms,
    redis::{Reader, Reply, Role, resp},
    sign::{Signature, Subject, to_hex},
    state::End,
};

const KEY: &str = "key";
const PREFIX: &str = "node.xin.com:";
const ROLES: [Role; 2] = [Role::Subscriber, Role::Publisher];

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }
}

/// A connection as Redis sees it.
struct Peer {
    owner: (usize, Role),
    reader: Reader,
    input: VecDeque<u8>,
    output: VecDeque<u8>,
    channels: BTreeSet<String>,
    /// The relay has closed it. Redis still reads what it had sent.
    closed: bool,
}

/// The part of Redis that relays use.
#[derive(Default)]
struct Redis {
    peers: BTreeMap<u64, Peer>,
    last: u64,
    strings: BTreeMap<String, (String, u64)>,
    hashes: BTreeMap<String, BTreeMap<String, String>>,
    now: u64,
    /// It refuses writes, and publishes only to its own subscribers.
    replica: bool,
    /// What was published and is to be replicated.
    published: Vec<(String, String)>,
}

impl Redis {
    fn connect(&mut self, owner: (usize, Role)) -> u64 {
        self.last += 1;
        let (input, output) = (VecDeque::new(), VecDeque::new());
        let peer =
            Peer { owner, reader: Reader::new(1 << 20), input, output, channels: BTreeSet::new(), closed: false };
        self.peers.insert(self.last, peer);
        self.last
    }

    /// Reads up to that many bytes of a connection, and executes the commands in them.
    fn read(&mut self, id: u64, most: usize) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let count = peer.input.len().min(most);
        let bytes: Vec<u8> = peer.input.drain(..count).collect();
        let mut input = bytes.as_slice();
        let mut commands = Vec::new();
        while let Some(reply) = peer.reader.poll(&mut input).unwrap() {
            let parts = reply.array().unwrap();
            commands.push(parts.iter().map(|part| part.text().unwrap().to_owned()).collect::<Vec<_>>());
        }
        for command in commands {
            let reply = self.obey(id, &command);
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.output.extend(reply);
            }
        }
        if self.peers.get(&id).is_some_and(|peer| peer.closed && peer.input.is_empty()) {
            self.peers.remove(&id);
        }
    }

    /// Delivers a message to the subscribers of this server.
    fn deliver(&mut self, channel: &str, message: &str) -> usize {
        let mut count = 0;
        for peer in self.peers.values_mut().filter(|peer| !peer.closed && peer.channels.contains(channel)) {
            let mut out = Vec::new();
            resp::command(&mut out, &[b"message", channel.as_bytes(), message.as_bytes()]);
            peer.output.extend(out);
            count += 1;
        }
        count
    }

    fn obey(&mut self, id: u64, command: &[String]) -> Vec<u8> {
        let word: Vec<&str> = command.iter().map(String::as_str).collect();
        let ok = || b"+OK\r\n".to_vec();
        let integer = |number: usize| format!(":{number}\r\n").into_bytes();
        let now = self.now;
        self.strings.retain(|_, (_, until)| *until > now);
        match word.as_slice() {
            ["CLIENT", "SETNAME", _] | ["SELECT", _] => ok(),
            ["HELLO", "2"] => {
                let mut out = Vec::new();
                resp::command(&mut out, &[b"role", if self.replica { b"replica" } else { b"master" }]);
                out
            }
            ["PING"] if self.peers[&id].owner.1 == Role::Subscriber => b"*2\r\n$4\r\npong\r\n$0\r\n\r\n".to_vec(),
            ["PING"] => b"+PONG\r\n".to_vec(),
            ["SUBSCRIBE", channels @ ..] => {
                let mut out = Vec::new();
                for (index, channel) in channels.iter().enumerate() {
                    self.peers.get_mut(&id).unwrap().channels.insert((*channel).to_owned());
                    resp::begin(&mut out, 3);
                    resp::part(&mut out, b"subscribe");
                    resp::part(&mut out, channel.as_bytes());
                    out.extend(integer(index + 1));
                }
                out
            }
            ["PUBLISH", channel, message] => {
                self.published.push(((*channel).to_owned(), (*message).to_owned()));
                integer(self.deliver(channel, message))
            }
            ["SET" | "DEL" | "EXPIRE" | "HSET" | "HDEL" | "HINCRBY", ..] if self.replica => {
                b"-READONLY You can't write against a read only replica.\r\n".to_vec()
            }
            ["SET", key, value, options @ ..] => {
                let there = self.strings.contains_key(*key);
                if (options.contains(&"XX") && !there) || (options.contains(&"NX") && there) {
                    return b"$-1\r\n".to_vec();
                }
                let px = options.iter().position(|option| *option == "PX");
                let until = px.map_or(u64::MAX, |at| self.now + options[at + 1].parse::<u64>().unwrap() * 1000);
                self.strings.insert((*key).to_owned(), ((*value).to_owned(), until));
                ok()
            }
            ["PUBSUB", "NUMSUB", channel] => {
                let listens = |peer: &&Peer| !peer.closed && peer.channels.contains(*channel);
                let mut out = b"*2\r\n".to_vec();
                resp::part(&mut out, channel.as_bytes());
                out.extend(integer(self.peers.values().filter(listens).count()));
                out
            }
            ["GET", key] => bulk(self.strings.get(*key).map(|(value, _)| value.as_str())),
            ["EXISTS", key] => integer(usize::from(self.strings.contains_key(*key))),
            ["EXPIRE", ..] => integer(1),
            ["DEL", key] => {
                integer(usize::from(self.strings.remove(*key).is_some() | self.hashes.remove(*key).is_some()))
            }
            ["HSET", key, pairs @ ..] => {
                let hash = self.hashes.entry((*key).to_owned()).or_default();
                pairs.chunks(2).for_each(|pair| drop(hash.insert(pair[0].to_owned(), pair[1].to_owned())));
                integer(pairs.len() / 2)
            }
            ["HDEL", key, fields @ ..] => {
                let Some(hash) = self.hashes.get_mut(*key) else { return integer(0) };
                integer(fields.iter().filter(|field| hash.remove(**field).is_some()).count())
            }
            ["HINCRBY", key, field, count] => {
                let hash = self.hashes.entry((*key).to_owned()).or_default();
                let value = hash.entry((*field).to_owned()).or_insert_with(|| "0".into());
                *value = (value.parse::<i64>().unwrap() + count.parse::<i64>().unwrap()).to_string();
                integer(value.parse().unwrap())
            }
            ["HEXISTS", key, field] => {
                integer(usize::from(self.hashes.get(*key).is_some_and(|hash| hash.contains_key(*field))))
            }
            ["HGETALL", key] => pairs(self.hashes.get(*key)),
            ["HSCAN", key, _, "COUNT", _] => {
                let mut out = b"*2\r\n$1\r\n0\r\n".to_vec();
                out.extend(pairs(self.hashes.get(*key)));
                out
            }
            other => panic!("a command that relays do not use: {other:?}"),
        }
    }
}

fn bulk(value: Option<&str>) -> Vec<u8> {
    let Some(value) = value else { return b"$-1\r\n".to_vec() };
    let mut out = Vec::new();
    resp::part(&mut out, value.as_bytes());
    out
}

fn pairs(hash: Option<&BTreeMap<String, String>>) -> Vec<u8> {
    let mut out = Vec::new();
    let hash = hash.cloned().unwrap_or_default();
    resp::begin(&mut out, hash.len() * 2);
    for (field, value) in hash {
        resp::part(&mut out, field.as_bytes());
        resp::part(&mut out, value.as_bytes());
    }
    out
}

/// A relay with one member, which gets every message.
struct Node {
    hub: Hub,
    /// The server and the connection there, by role.
    pipes: [Option<(usize, u64)>; 2],
    member: ClientKey,
    clients: Vec<(ClientKey, &'static str)>,
    conns: u32,
    /// The numbers of the messages that the member got, by publisher.
    heard: BTreeMap<usize, Vec<usize>>,
    said: usize,
}

impl Node {
    fn new(number: usize) -> Node {
        let mut config = Config::default();
        let text = format!("[sources.demo]\nsign_key = \"{KEY}\"\n");
        config.sources = relay::config::parse(&text, &mut |_| Err(ErrorKind::NotFound.into())).unwrap().sources;
        config.redis.url = Some(RedisUrl::parse("redis://h").unwrap());
        config.redis.heartbeat = std::time::Duration::from_secs(1);
        config.limits.unsent = 1 << 30;
        config.presence.events = true;
        config.presence.grace = std::time::Duration::from_secs(2);
        let redis = config.redis.clone();
        let first = MessageId::first(1000, number as u32 + 1);
        let mut hub = Hub::new(Rc::new(config), first, [number as u8; 32]);
        hub.cluster.introduce(first.node(), "192.0.2.7");
        events::cluster::configure(&mut hub, &redis, 1 << 20);
        let mut node = Node {
            hub,
            pipes: [None, None],
            member: ClientKey::wrap(Key::from_bits(1 << 32).unwrap()),
            clients: Vec::new(),
            conns: 0,
            heard: BTreeMap::new(),
            said: 0,
        };
        node.member = node.login("room", "", Now::default());
        node
    }

    fn login(&mut self, rooms: &str, userid: &str, now: Now) -> ClientKey {
        let subject = Subject::Connect { source: "demo", userid, room_ids: rooms };
        let sign = to_hex(&subject.md5(KEY.as_bytes()));
        let login = Login {
            source: "demo",
            room_ids: rooms,
            signature: Signature::new(&sign, "", ""),
            jwt: "",
            userid,
            username: "name",
            ext_info: "",
            watch_quit: false,
            presence: false,
            form: Form::Text,
            since: None,
            pid: "",
            offset: "",
            proxied: false,
            ip: None,
            referer: "",
            user_agent: "",
        };
        self.conns += 1;
        let conn = ConnKey::wrap(Key::from_bits(1 << 32 | u64::from(self.conns)).unwrap());
        self.hub.admit("/", &login, "", conn, now).unwrap().client
    }

    /// Flushes the members, and records what the one got.
    fn flush(&mut self) {
        let mut dirty = Vec::new();
        self.hub.state.poll_dirty(usize::MAX, &mut dirty);
        for client in dirty {
            let mut got = Vec::new();
            self.hub.state.flush(client, |_, outbox, turn, scratch| {
                outbox.write_to(&mut got, turn, scratch).unwrap();
            });
            if client != self.member {
                continue;
            }
            let mut at = 0;
            while at < got.len() {
                assert_eq!(got[at], 0x80 | Opcode::Text as u8);
                let length = usize::from(got[at + 1]);
                let text = std::str::from_utf8(&got[at + 2..at + 2 + length]).unwrap();
                let (who, number) = text.split_once(' ').unwrap();
                self.heard.entry(who.parse().unwrap()).or_default().push(number.parse().unwrap());
                at += 2 + length;
            }
        }
        self.hub.state.end_flush();
    }
}

struct World {
    dice: Dice,
    servers: [Redis; 2],
    /// The server to which the name of Redis leads. The other one is its replica.
    master: usize,
    nodes: Vec<Node>,
    now: Now,
    /// Redis does not respond.
    still: bool,
    /// Whether a master became a replica, which ends connections.
    failed_over: bool,
    /// No connection to Redis succeeds.
    away: bool,
}

impl World {
    fn new(seed: u64) -> World {
        let dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let nodes = (0..3).map(Node::new).collect();
        let replica = Redis { replica: true, ..Redis::default() };
        World {
            dice,
            servers: [Redis::default(), replica],
            master: 0,
            nodes,
            now: Now::default(),
            still: false,
            failed_over: false,
            away: false,
        }
    }

    fn pass(&mut self, micros: u64) {
        self.now.time = Time::from_micros(self.now.time.micros() + micros);
        self.now.unix = self.now.time.micros() / 1_000_000;
        self.servers.iter_mut().for_each(|server| server.now = self.now.time.micros());
    }

    /// A turn of Redis and of every relay, in which pieces of any size move.
    fn turn(&mut self) {
        for index in 0..self.nodes.len() {
            self.turn_node(index);
        }
        if !self.still {
            self.serve();
        }
    }

    /// A turn of both servers.
    fn serve(&mut self) {
        for server in 0..2 {
            for id in self.servers[server].peers.keys().copied().collect::<Vec<_>>() {
                let most = [7, 100, 100_000][self.dice.roll(3)];
                self.servers[server].read(id, most);
                for (channel, message) in std::mem::take(&mut self.servers[server].published) {
                    if server == self.master {
                        self.servers[1 - server].deliver(&channel, &message);
                    }
                }
            }
        }
    }

    fn turn_node(&mut self, index: usize) {
        let (node, now) = (&mut self.nodes[index], self.now);
        node.hub.begin_turn(now);
        if node.hub.cluster.deadline(true) <= now.time {
            node.hub.cluster.handle_timeout(&mut node.hub.state, &mut node.hub.log);
        }
        for role in ROLES {
            if !node.hub.cluster.has_link(role)
                && let Some((server, id)) = node.pipes[role as usize].take()
                && let Some(peer) = self.servers[server].peers.get_mut(&id)
            {
                peer.closed = true;
            }
            let Some((server, id)) = node.pipes[role as usize] else {
                if node.hub.cluster.should_connect(role, now.time) {
                    node.hub.cluster.begin_connection(role, now.time);
                    match self.away {
                        true => node.hub.cluster.handle_end(role, "refused", &mut node.hub.state, &mut node.hub.log),
                        false => {
                            let id = self.servers[self.master].connect((index, role));
                            node.pipes[role as usize] = Some((self.master, id));
                        }
                    }
                }
                continue;
            };
            let Some(peer) = self.servers[server].peers.get_mut(&id) else {
                node.pipes[role as usize] = None;
                node.hub.cluster.handle_end(role, "closed", &mut node.hub.state, &mut node.hub.log);
                continue;
            };
            let most = [1, 50, 100_000][self.dice.roll(3)].min(peer.output.len());
            let bytes: Vec<u8> = peer.output.drain(..most).collect();
            let mut input = bytes.as_slice();
            while !input.is_empty() {
                let usable = events::cluster::handle_input(&mut node.hub, role, &mut input, now);
                assert!(usable || self.failed_over, "Redis said nothing wrong");
                if !usable {
                    break;
                }
            }
        }
        node.hub.feed();
        events::handle_timeout(&mut node.hub, now);
        node.flush();
        node.hub.cluster.pump(&mut node.hub.state, &mut node.hub.log);
        for role in ROLES {
            if let Some(peer) =
                node.pipes[role as usize].and_then(|(server, id)| self.servers[server].peers.get_mut(&id))
            {
                let output = node.hub.cluster.output(role);
                let most = output.len().min([10, 1000, 100_000][self.dice.roll(3)]);
                peer.input.extend(&output[..most]);
                node.hub.cluster.advance_output(role, most);
            }
        }
    }

    fn happen(&mut self) {
        let index = self.dice.roll(self.nodes.len());
        match self.dice.roll(100) {
            0..50 => self.speak(),
            50..70 => {
                let userid = ["", "1", "2", "3", "4", "5"][self.dice.roll(6)];
                let client = self.nodes[index].login("elsewhere", userid, self.now);
                self.nodes[index].clients.push((client, userid));
            }
            70..85 => {
                let node = &mut self.nodes[index];
                if !node.clients.is_empty() {
                    let (client, _) = node.clients.swap_remove(self.dice.roll(node.clients.len()));
                    match self.dice.roll(2) {
                        0 => node.hub.end(client, End::Left, true),
                        _ => node.hub.remove(client, true),
                    }
                }
            }
            85..90 => {
                // Redis closes it; what was on its way to the relay is lost.
                let server = &mut self.servers[self.master];
                let ids: Vec<u64> = server.peers.keys().copied().collect();
                if let Some(id) = ids.get(self.dice.roll(ids.len() * 3)) {
                    server.peers.remove(id);
                }
            }
            90..92 => {
                let role = ROLES[self.dice.roll(2)];
                self.cut(index, role);
            }
            92..94 => self.still = !self.still,
            94..96 => self.away = !self.away,
            96 => {
                self.servers[self.master].strings.clear();
                self.servers[self.master].hashes.clear();
            }
            97 => self.pass(3_000_000),
            _ => {}
        }
    }

    /// The network breaks a connection. Redis still reads what the relay had sent.
    fn cut(&mut self, index: usize, role: Role) {
        let node = &mut self.nodes[index];
        if let Some((server, id)) = node.pipes[role as usize].take()
            && let Some(peer) = self.servers[server].peers.get_mut(&id)
        {
            peer.closed = true;
            node.hub.cluster.handle_end(role, "reset", &mut node.hub.state, &mut node.hub.log);
        }
    }

    /// The replica becomes the master, and the master its replica. No connection is cut.
    fn fail_over(&mut self) {
        let (strings, hashes) = {
            let old = &mut self.servers[self.master];
            old.replica = true;
            (old.strings.clone(), old.hashes.clone())
        };
        self.master = 1 - self.master;
        let new = &mut self.servers[self.master];
        (new.strings, new.hashes, new.replica) = (strings, hashes, false);
        self.failed_over = true;
    }

    fn calm(&mut self) {
        (self.still, self.away) = (false, false);
        for _ in 0..3000 {
            self.pass(20_000);
            self.turn();
        }
    }

    /// Every relay knows the sessions of every user and the guests of all relays, whatever was lost on the way.
    fn check_presence(&self, seed: u64) {
        let (mut users, mut guests) = (BTreeMap::<&str, u32>::new(), 0);
        for (_, userid) in self.nodes.iter().flat_map(|node| &node.clients) {
            match *userid {
                "" => guests += 1,
                userid => *users.entry(userid).or_default() += 1,
            }
        }
        for (index, node) in self.nodes.iter().enumerate() {
            let tenant = node.hub.state.tenant("demo").unwrap();
            let room = node.hub.presence.tracker.room(tenant, "elsewhere");
            let known = room.iter().flat_map(|room| room.users().map(|(userid, user)| (userid, user.all_sessions())));
            assert_eq!(known.collect::<BTreeMap<_, _>>(), users, "seed {seed}: users at {index}");
            assert_eq!(room.map_or(0, |room| room.guests()), guests, "seed {seed}: guests at {index}");
        }
    }

    fn check(&mut self, seed: u64) {
        self.check_presence(seed);
        for (index, node) in self.nodes.iter().enumerate() {
            let stats = &node.hub.state.stats;
            assert_eq!(stats.redis_refused, 0, "seed {seed}");
            for (from, other) in self.nodes.iter().enumerate() {
                let heard = node.heard.get(&from).cloned().unwrap_or_default();
                assert!(heard.windows(2).all(|two| two[0] < two[1]), "seed {seed}: {index} heard {heard:?} of {from}");
                if from == index {
                    assert_eq!(heard.len(), other.said, "seed {seed}: members of the publishing relay miss nothing");
                }
            }
            // Redis has one record of each session of this relay, and no others of it.
            let name = node.hub.cluster.node();
            let redis = &self.servers[self.master];
            assert!(node.pipes.iter().all(|pipe| pipe.is_some_and(|(server, _)| server == self.master)), "seed {seed}");
            let records = redis.hashes.get(&format!("{PREFIX}xin_socket_connections_demo"));
            let own = records.iter().flat_map(|hash| hash.values());
            let own = own.filter(|record| record.contains(&format!("\"node\":\"{name}\""))).count();
            assert_eq!(own, node.hub.state.session_count(), "seed {seed}: records of {index}");
            let nodes = redis.hashes.get(&format!("{PREFIX}relay_nodes")).map_or(0, BTreeMap::len);
            assert_eq!((nodes, node.hub.cluster.nodes().len()), (3, 2), "seed {seed}");
        }
    }
}

fn run(seed: u64, mut happen: impl FnMut(&mut World)) -> World {
    let mut world = World::new(seed);
    world.calm();
    for _ in 0..400 {
        let step = world.dice.roll(50_000) as u64;
        world.pass(step);
        happen(&mut world);
        world.turn();
    }
    world.calm();
    world.check(seed);
    world
}

impl World {
    fn speak(&mut self) {
        let index = self.dice.roll(self.nodes.len());
        self.speak_at(index);
    }

    fn speak_at(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let tenant = node.hub.state.tenant("demo").unwrap();
        let text = format!("{index} {}", node.said);
        node.said += 1;
        node.hub.publish(tenant, &Rooms::parse("room", 10, 0).unwrap(), Data::Text(&text), "");
    }
}

/// Each test runs seeds for some 20 s of a processor, without optimization.
#[test]
fn in_trouble() {
    for seed in 1..100 {
        run(seed, World::happen);
    }
}

fn assert_nothing_missed(world: &World, seed: u64) {
    for node in &world.nodes {
        assert_eq!(node.hub.state.stats.redis_missed, 0, "seed {seed}");
        for (from, other) in world.nodes.iter().enumerate() {
            assert_eq!(node.heard.get(&from).map_or(0, Vec::len), other.said, "seed {seed}");
        }
    }
}

#[test]
fn in_peace_nothing_is_missed() {
    for seed in 1..50 {
        let world = run(seed, World::speak);
        assert_nothing_missed(&world, seed);
        assert!(world.nodes.iter().all(|node| node.hub.state.stats.redis_dropped == 0));
    }
}

/// Publications that were not confirmed are sent again, perhaps while Redis still reads them from the earlier
/// connection. Each message arrives once and in order.
#[test]
fn who_loses_what_it_publishes_with_sends_it_again() {
    for seed in 1..100 {
        let world = run(seed, |world| match world.dice.roll(12) {
            0 => {
                let index = world.dice.roll(3);
                world.cut(index, Role::Publisher);
            }
            1 => {
                let index = world.dice.roll(3);
                if let Some((server, id)) = world.nodes[index].pipes[Role::Publisher as usize] {
                    world.servers[server].peers.remove(&id);
                }
            }
            // For less time than it takes relays to give up, so that subscriptions last.
            2 if !world.still => world.still = true,
            2 | 3 => world.still = false,
            _ => world.speak(),
        });
        assert_nothing_missed(&world, seed);
    }
}

/// The master becomes a replica again and again, and connections are not cut. Relays find the new master with both
/// connections; their messages arrive at most once and in order, and few are missed: only those that others publish
/// while a subscription moves.
#[test]
fn through_failovers() {
    let (mut said, mut heard) = (0, 0);
    for seed in 1..75 {
        let world = run(seed, |world| match world.dice.roll(60) {
            0 => world.fail_over(),
            1 => world.pass(2_000_000),
            2 => world.happen(),
            _ => world.speak(),
        });
        for node in &world.nodes {
            for (from, other) in world.nodes.iter().enumerate() {
                said += other.said;
                heard += node.heard.get(&from).map_or(0, Vec::len);
            }
        }
    }
    assert!(heard * 100 >= said * 95, "{heard} of {said}");
}

/// What a demoted master confirms is sent again to the new one: with subscriptions at both, nothing is missed.
#[test]
fn what_a_replica_confirms_is_sent_again() {
    for seed in 1..100 {
        let mut world = World::new(seed);
        world.calm();
        // Relay 1 has moved before relay 0 notices.
        world.fail_over();
        world.cut(1, Role::Publisher);
        world.cut(1, Role::Subscriber);
        for _ in 0..400 {
            world.pass(1_000);
            for index in 1..3 {
                world.turn_node(index);
            }
            world.serve();
        }
        let spoken = world.nodes[0].said;
        for _ in 0..30 {
            world.speak_at(0);
            let step = world.dice.roll(3_000) as u64;
            world.pass(step);
            world.turn();
        }
        world.calm();
        world.check(seed);
        let heard = world.nodes[1].heard.get(&0).cloned().unwrap_or_default();
        assert_eq!(heard.iter().filter(|number| **number >= spoken).count(), 30, "seed {seed}");
    }
}

#[test]
fn replies_are_read() {
    // The replies are encoded as Redis does.
    let mut redis = Redis::default();
    let id = redis.connect((0, Role::Publisher));
    let words = ["HSET", "k", "f", "v"].map(str::to_owned);
    assert_eq!(redis.obey(id, &words), b":1\r\n");
    let all = redis.obey(id, &["HGETALL", "k"].map(str::to_owned));
    let mut reader = Reader::new(100);
    let reply = reader.poll(&mut all.as_slice()).unwrap().unwrap();
    assert_eq!(reply, Reply::Array(vec![Reply::Bulk(b"f".to_vec()), Reply::Bulk(b"v".to_vec())]));
}
