//! The cost of clients that come back together and get what they missed.

use std::{
    io::Write,
    net::SocketAddr,
    os::fd::AsRawFd,
    thread,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};

use super::{
    ACCOUNTING, Dialect, Member, SETTLE, TIMEOUT, Usage,
    member::Publisher,
    others::{Crowd, Delivery, Others, set_niceness},
};
use crate::{error::Error, process::Process};

/// Clients of one room that are cut off, miss messages and come back together. The room must keep them.
#[derive(Clone, Copy, Debug)]
pub struct Replay<'a> {
    /// The address of the server.
    pub addr: SocketAddr,
    /// How they talk to the server.
    pub dialect: &'a Dialect,
    /// The processes whose CPU time counts.
    pub processes: &'a [Process],
    /// The number of clients.
    pub members: usize,
    /// The number of messages that each of them misses.
    pub messages: usize,
    /// The size of a message's data in bytes.
    pub size: usize,
    /// How often they come back, with the same position each time.
    pub times: usize,
    /// The clients in another room that get live messages meanwhile.
    pub others: Option<Crowd>,
    /// What `step` is called for.
    pub measured: Measured,
}

/// How clients come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// With an empty position: they get the event `recovery`, but no message. The cost of the logins alone.
    Logins,
    /// With the id of the last message that each of them received.
    Replays,
}

/// The cost of replays.
#[derive(Clone, Debug, Default)]
pub struct ReplayCost {
    /// CPU time of the logins alone, and of the logins with replays, in nanoseconds, of all bursts together.
    pub cpu: [u64; 2],
    /// How long these took, in seconds.
    pub seconds: [f64; 2],
    /// The deliveries to other clients, in order: before, during the logins alone, and during the logins with replays.
    pub others: [Vec<Delivery>; 3],
}

impl ReplayCost {
    /// Nanoseconds of CPU time for each message of a replay, without those of the login.
    pub fn cpu_per_message(&self, replay: &Replay<'_>) -> f64 {
        let messages = replay.members * replay.messages * replay.times;
        (self.cpu[1] as f64 - self.cpu[0] as f64) / messages.max(1) as f64
    }
}

impl Replay<'_> {
    /// Lets the clients come back, first with an empty position and then with their own. Calls `step` with `ready` before and
    /// `done` after the first burst that is [measured](Replay::measured).
    pub fn run(&self, step: &mut dyn FnMut(&str)) -> Result<ReplayCost, Error> {
        let data = |number: usize| {
            let mut data = format!("seq={number};").into_bytes();
            data.resize(self.size, b'x');
            data
        };
        let all: Vec<Vec<u8>> = (0..=self.messages).map(data).collect();
        let connect = |number| Member::connect(self.addr, self.dialect, ROOM, number);
        let mut members = (0..self.members).map(connect).collect::<Result<Vec<_>, Error>>()?;
        self.publish(&all[..1])?;
        self.receive(&mut members, &all[..1], &|member| member.next == 1)?;
        let ids: Vec<String> = members.into_iter().map(|member| member.id).collect();
        thread::sleep(SETTLE);
        self.publish(&all[1..])?;
        let others = match (self.others, self.processes.first()) {
            (Some(crowd), Some(server)) => Some(Others::start(self.addr, self.dialect, server, crowd)?),
            _ => None,
        };
        let mut cost = ReplayCost::default();
        let mut spans: [Vec<[Instant; 2]>; 3] = Default::default();
        let begin = Instant::now();
        if others.is_some() {
            // A burst must not take the processor from the clients whose latency counts.
            set_niceness(19);
            thread::sleep(BEFORE);
            spans[0].push([begin, Instant::now()]);
        }
        for number in 0..self.times {
            for (index, kind) in [Measured::Logins, Measured::Replays].into_iter().enumerate() {
                let is_measured = number == 0 && kind == self.measured;
                let (cpu, span) = self.burst(kind, &ids, &all, &mut |word| {
                    if is_measured {
                        step(word)
                    }
                })?;
                cost.cpu[index] += cpu;
                cost.seconds[index] += (span[1] - span[0]).as_secs_f64();
                spans[index + 1].push(span);
            }
        }
        if let Some(others) = others {
            let deliveries = others.stop()?;
            let during = |delivery: &Delivery, [begin, end]: &[Instant; 2]| (begin..=end).contains(&&delivery.due);
            for (others, spans) in cost.others.iter_mut().zip(&spans) {
                others.extend(deliveries.iter().filter(|delivery| spans.iter().any(|span| during(delivery, span))));
            }
        }
        Ok(cost)
    }

    /// All clients come back at once, and are cut off again when they have everything. Returns the CPU time, and from when to
    /// when it took.
    fn burst(
        &self,
        kind: Measured,
        ids: &[String],
        all: &[Vec<u8>],
        step: &mut dyn FnMut(&str),
    ) -> Result<(u64, [Instant; 2]), Error> {
        step("ready");
        let (before, begin) = (Usage::of(self.processes)?, Instant::now());
        let connect = |(number, id): (usize, &String)| {
            let since = if kind == Measured::Replays { id } else { "" };
            let mut member = Member::begin(self.addr, self.dialect, ROOM, number, Some(since))?;
            member.next = 1;
            Ok(member)
        };
        let mut members = ids.iter().enumerate().map(connect).collect::<Result<Vec<_>, Error>>()?;
        for (number, member) in members.iter_mut().enumerate() {
            member.join(self.dialect, number)?;
        }
        let missed = if kind == Measured::Replays { self.messages } else { 0 };
        self.receive(&mut members, all, &|member| member.missed == Some(missed) && member.next == 1 + missed)?;
        let end = Instant::now();
        // Duplicates may arrive late.
        thread::sleep(ACCOUNTING);
        let after = Usage::of(self.processes)?;
        step("done");
        self.receive(&mut members, all, &|member| member.next == 1 + missed)?;
        drop(members);
        thread::sleep(SETTLE);
        Ok((after.cpu - before.cpu, [begin, end]))
    }

    /// Publishes messages to the room.
    fn publish(&self, all: &[Vec<u8>]) -> Result<(), Error> {
        let failed = Error::io("the publisher");
        let mut publisher = Publisher::connect(self.addr).map_err(&failed)?;
        publisher.stream.set_nonblocking(false).map_err(&failed)?;
        for (number, data) in all.iter().enumerate() {
            let request = self.dialect.notification(ROOM, &String::from_utf8_lossy(data));
            publisher.stream.write_all(&request).map_err(&failed)?;
            publisher.wait(number + 1).map_err(|error| Error::Failed(format!("the publisher: {error}")))?;
        }
        Ok(())
    }

    /// Reads until every client is `done`. Each message must be the next one.
    fn receive(&self, members: &mut [Member], all: &[Vec<u8>], done: &dyn Fn(&Member) -> bool) -> Result<(), Error> {
        let (mut buffer, mut place, begin) = (vec![0; 1 << 16], 0, Instant::now());
        let mut poll = Poll::new().map_err(Error::io("poll"))?;
        let mut events = Events::with_capacity(1024);
        for (token, member) in members.iter().enumerate() {
            let source = &mut SourceFd(&member.stream.socket().as_raw_fd());
            poll.registry().register(source, Token(token), Interest::READABLE).map_err(Error::io("poll"))?;
        }
        // What came together with the answer to the login causes no event.
        let mut readable: Vec<usize> = (0..members.len()).collect();
        let mut waiting = members.len();
        let mut ready = vec![false; members.len()];
        loop {
            for number in readable {
                let failed = |error| Error::Failed(format!("client {number}: {error}"));
                members[number].receive(&mut buffer, all, 1, &mut place).map_err(failed)?;
                let is_done = done(&members[number]);
                if ready[number] && !is_done {
                    return Err(Error::Failed(format!("client {number} got a message twice")));
                }
                waiting -= usize::from(is_done && !ready[number]);
                ready[number] = is_done;
            }
            if waiting == 0 {
                return Ok(());
            }
            if begin.elapsed() > TIMEOUT {
                let seconds = TIMEOUT.as_secs();
                return Err(Error::Failed(format!("{waiting} clients did not get everything within {seconds} s")));
            }
            poll.poll(&mut events, Some(TIMEOUT)).map_err(Error::io("poll"))?;
            readable = events.iter().map(|event| event.token().0).collect();
        }
    }
}

const ROOM: &str = "bench-0";
/// How long the other clients are watched before the first burst.
const BEFORE: Duration = Duration::from_secs(2);
