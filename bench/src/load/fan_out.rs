//! The cost of publishing to the members of rooms.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    os::fd::AsRawFd,
    thread,
    time::Instant,
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};

use super::{ACCOUNTING, Dialect, Member, SETTLE, TIMEOUT, Usage, member::Publisher};
use crate::{error::Error, process::Process};

/// Messages to the members of rooms.
#[derive(Clone, Copy, Debug)]
pub struct FanOut<'a> {
    /// Where the members connect.
    pub addr: SocketAddr,
    /// Where the backend connects.
    pub publish_addr: SocketAddr,
    /// How they talk to the server.
    pub dialect: &'a Dialect,
    /// The processes whose CPU time counts.
    pub processes: &'a [Process],
    /// The number of members, a multiple of the number of rooms. May be 0.
    pub members: usize,
    /// The number of rooms.
    pub rooms: usize,
    /// The number of messages; the rooms take turns.
    pub messages: usize,
    /// The maximum number of messages in flight.
    pub window: usize,
    /// Whether the messages in flight are sent at once, and the next ones only when all of them have arrived. How many
    /// messages the server sends together does not depend on how fast the members read then.
    pub bursts: bool,
    /// The size of a message's data in bytes.
    pub size: usize,
}

/// The cost of a fan-out.
#[derive(Clone, Copy, Debug)]
pub struct FanOutCost {
    /// The number of deliveries.
    pub delivered: usize,
    /// How long it took.
    pub seconds: f64,
    /// CPU time of the processes in nanoseconds.
    pub cpu: u64,
}

impl FanOutCost {
    /// Nanoseconds of CPU time per delivery.
    pub fn cpu_per_delivery(&self) -> f64 {
        self.cpu as f64 / self.delivered.max(1) as f64
    }
}

impl FanOut<'_> {
    /// Connects the members, sends the messages and waits for every delivery. Calls `step` with `ready` before and `done` after
    /// the measured part.
    pub fn run(&self, step: &mut dyn FnMut(&str)) -> Result<FanOutCost, Error> {
        let (count, rooms, window) = (self.messages, self.rooms, self.window);
        if window == 0 {
            return Err(Error::Usage("a window of 0 messages sends nothing: it must be at least 1".into()));
        }
        if rooms == 0 || !self.members.is_multiple_of(rooms) {
            return Err(Error::Usage(format!("{} members cannot be spread evenly over {rooms} rooms", self.members)));
        }
        let members_per_room = self.members / rooms;
        let room = |number: usize| format!("bench-{}", number % rooms);
        let data = |number: usize| {
            let mut data = format!("seq={number};").into_bytes();
            data.resize(self.size, b'x');
            data
        };
        let all: Vec<Vec<u8>> = (0..count).map(data).collect();
        let request = |(number, data): (usize, &Vec<u8>)| {
            self.dialect.notification(&room(number), &String::from_utf8_lossy(data))
        };
        let requests: Vec<Vec<u8>> = all.iter().enumerate().map(request).collect();
        let connect = |number| {
            let mut member = Member::connect(self.addr, self.dialect, &room(number), number)?;
            member.next = number % rooms;
            Ok(member)
        };
        let mut members = (0..self.members).map(connect).collect::<Result<Vec<_>, Error>>()?;
        let mut publisher = Publisher::connect(self.publish_addr).map_err(Error::io("the publisher"))?;
        let mut poll = Poll::new().map_err(Error::io("poll"))?;
        let mut events = Events::with_capacity(1024);
        let registry = poll.registry();
        let register = |stream: &TcpStream, token| {
            registry.register(&mut SourceFd(&stream.as_raw_fd()), Token(token), Interest::READABLE)
        };
        let mut streams = members.iter().map(|member| member.stream.socket()).chain([&publisher.stream]).enumerate();
        streams.try_for_each(|(token, stream)| register(stream, token)).map_err(Error::io("poll"))?;
        drop(streams);
        thread::sleep(SETTLE);
        step("ready");
        let member_failed = |number: usize| move |error| Error::Failed(format!("client {number}: {error}"));
        let publisher_failed = |error| Error::Failed(format!("the publisher: {error}"));
        let mut buffer = vec![0; 1 << 16];
        let (mut sent, mut delivered, mut place) = (0, 0, 0);
        let (before, begin) = (Usage::of(self.processes)?, Instant::now());
        while delivered < count * members_per_room || publisher.responses < count {
            if begin.elapsed() > TIMEOUT {
                let (due, seconds) = (count * members_per_room, TIMEOUT.as_secs());
                return Err(Error::Failed(format!("{delivered} of {due} deliveries arrived within {seconds} s")));
            }
            // With a window of 1, every member has the message before the next one is sent.
            let outstanding = |sent: usize| sent * members_per_room - delivered;
            if self.bursts {
                if outstanding(sent) == 0 && publisher.responses == sent {
                    let burst = requests[sent..count.min(sent + window)].concat();
                    publisher.stream.write_all(&burst).map_err(Error::io("the publisher"))?;
                    sent = count.min(sent + window);
                }
            } else {
                while sent < count
                    && sent - publisher.responses < window
                    && outstanding(sent) <= (window - 1) * members_per_room
                {
                    publisher.stream.write_all(&requests[sent]).map_err(Error::io("the publisher"))?;
                    sent += 1;
                }
            }
            poll.poll(&mut events, Some(TIMEOUT)).map_err(Error::io("poll"))?;
            for event in &events {
                let number = event.token().0;
                match members.get_mut(number) {
                    Some(member) => {
                        let received = member.receive(&mut buffer, &all, rooms, &mut place);
                        delivered += received.map_err(member_failed(number))?;
                    }
                    None => publisher.receive(&mut buffer).map_err(publisher_failed)?,
                }
            }
        }
        let seconds = begin.elapsed().as_secs_f64();
        // Duplicates may arrive late, too.
        thread::sleep(ACCOUNTING);
        let after = Usage::of(self.processes)?;
        step("done");
        for (number, member) in members.iter_mut().enumerate() {
            if member.receive(&mut buffer, &all, rooms, &mut place).map_err(member_failed(number))? > 0 {
                return Err(Error::Failed(format!("client {number} got a message twice")));
            }
        }
        Ok(FanOutCost { delivered, seconds, cpu: after.cpu - before.cpu })
    }
}
