//! All connections of a run and the loop that serves them: one thread, one poll.

use core::sync::atomic::{AtomicBool, Ordering};
use std::{
    io::ErrorKind,
    os::fd::AsRawFd,
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Events, Poll, Token};

use super::{
    Failure,
    ledger::Ledger,
    member::{Heard, Kind, Member, TEXT},
    publisher::{Asked, Publisher},
    script::Script,
    target::Target,
};

/// The connections of a run.
pub struct Crowd {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    target: Target,
    /// What is said.
    pub script: Script,
    kind: Kind,
    members: Vec<Option<Member>>,
    /// The backends; the last one posts for members that poll. A relay closes those that have been silent for long.
    publishers: Vec<Option<Publisher>>,
    /// What came of it.
    pub ledger: Ledger,
    /// Who came into its room since somebody looked, and in how many nanoseconds.
    pub joined: Vec<(usize, u64)>,
    /// How many were told that what they said was accepted.
    pub accepted: usize,
    /// When something came last: nanoseconds of the run's clock.
    pub heard: u64,
    opened: usize,
    /// Tokens of those of whom there may be more to read, which no event tells of.
    unread: Vec<usize>,
    begin: Instant,
    deadline: u64,
    pinged: u64,
    stop: Arc<AtomicBool>,
}

impl Crowd {
    /// Nobody yet, and room for so many `publishers`; the run must be over within `timeout`.
    pub fn new(
        target: Target,
        script: Script,
        kind: Kind,
        publishers: usize,
        timeout: Duration,
    ) -> Result<Crowd, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            signal_hook::flag::register(signal, stop.clone()).map_err(Failure::of("signals"))?;
        }
        Ok(Crowd {
            poll: Poll::new().map_err(Failure::of("poll"))?,
            events: Events::with_capacity(1024),
            buffer: vec![0; READ],
            ledger: Ledger::new(script.rooms(), publishers),
            target,
            script,
            kind,
            members: Vec::new(),
            publishers: (0..=publishers).map(|_| None).collect(),
            joined: Vec::new(),
            accepted: 0,
            heard: 0,
            opened: 0,
            unread: Vec::new(),
            begin: Instant::now(),
            deadline: timeout.as_nanos() as u64,
            pinged: 0,
            stop,
        })
    }

    /// The run's clock: nanoseconds since it began.
    pub fn now(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    /// How many answers the backend of that number waits for.
    pub fn in_flight_of(&self, publisher: usize) -> usize {
        self.publishers[publisher].as_ref().map_or(0, Publisher::in_flight)
    }

    /// Connects the backends, so that the first messages do not have to wait for it.
    pub fn enlist(&mut self) -> Result<(), Failure> {
        (0..self.publishers.len()).try_for_each(|index| self.publisher(index).map(|_| ()))
    }

    /// The backend of that number, connected if it is not.
    fn publisher(&mut self, index: usize) -> Result<&mut Publisher, Failure> {
        let place = &mut self.publishers[index];
        if place.is_none() {
            let stream = self.target.open(0).map_err(Failure::of("a publisher"))?;
            *place = Some(Publisher::new(stream, self.poll.registry(), Token(PUBLISHERS + index)).map_err(publisher)?);
        }
        place.as_mut().ok_or_else(|| publisher("not connected".into()))
    }

    /// Begins to connect a member, in the place of the one with that number if there is one; `once`: only to come in.
    pub fn open(&mut self, number: usize, once: bool) -> Result<(), Failure> {
        let room = number % self.script.rooms();
        let failed = |why: String| Failure::Failed(format!("member {number}: {why}"));
        // On the loopback network all of a connection's beginning is done within the call that asks for it.
        let began = self.now();
        let stream = self.target.open(self.opened).map_err(|error| failed(error.to_string()))?;
        self.opened += 1;
        let login = self.script.login(room, number);
        let place = (self.poll.registry(), Token(number));
        let member = Member::new(stream, place, self.kind, (&self.script, &login), once, began).map_err(failed)?;
        match self.members.get_mut(number) {
            Some(place) => {
                *place = Some(member);
                self.ledger.reseat(number);
            }
            None => {
                self.members.push(Some(member));
                self.ledger.seat(room);
            }
        }
        Ok(())
    }

    /// Brings so many more members into their rooms, at most `concurrency` at a time; `watch` is told how many are in.
    pub fn admit(
        &mut self,
        count: usize,
        concurrency: usize,
        stall: Duration,
        watch: &mut dyn FnMut(usize),
    ) -> Result<(), Failure> {
        let first = self.members.len();
        let (mut begun, mut joined) = (0, 0);
        self.heard = self.now();
        while joined < count {
            while begun < count && begun - joined < concurrency {
                self.open(first + begun, false)?;
                begun += 1;
            }
            self.turn(self.heard + stall.as_nanos() as u64)?;
            joined += self.joined.drain(..).count();
            if self.has_stalled(stall) {
                return Err(Failure::Failed(format!("{joined} of {count} came in, then nothing happened")));
            }
            watch(joined);
        }
        Ok(())
    }

    /// Whether nothing has come for so long.
    pub fn has_stalled(&self, stall: Duration) -> bool {
        self.now().saturating_sub(self.heard) > stall.as_nanos() as u64
    }

    /// Queues the next message with its publisher; its time counts from `at`.
    pub fn publish(&mut self, at: u64) -> Result<(), Failure> {
        let number = self.ledger.next();
        let mut request = Vec::new();
        self.script.notify(number, &mut request);
        let publisher = self.publisher(self.ledger.publisher(number))?;
        publisher.push(&request, Asked::Notification(number));
        if publisher.backlog() > MOST_BACKLOG {
            return Err(Failure::Failed("the relay does not take messages at this rate".into()));
        }
        self.ledger.send(at);
        Ok(())
    }

    /// Sends what is queued.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.publishers.iter_mut().flatten().try_for_each(Publisher::flush).map_err(publisher)
    }

    /// Every member from the `first` on says something; how many they are.
    pub fn say(&mut self, first: usize) -> Result<usize, Failure> {
        let mut said = 0;
        for number in first..self.members.len() {
            let Some(member) = &mut self.members[number] else { continue };
            if let Some(packet) = member.say(&self.script).map_err(Failure::Failed)? {
                self.post(number, &packet)?;
            }
            said += 1;
        }
        self.flush().map(|()| said)
    }

    /// Ends a member's connection, and its session.
    pub fn close(&mut self, number: usize) -> Result<(), Failure> {
        if let Some(packet) = self.members[number].as_ref().and_then(Member::leave) {
            self.post(number, &packet)?;
            self.flush()?;
        }
        self.members[number] = None;
        Ok(())
    }

    /// Serves everybody until `enough` says so; whether it did before nothing came for `stall`.
    pub fn wait(&mut self, stall: Duration, enough: &dyn Fn(&Crowd) -> bool) -> Result<bool, Failure> {
        self.heard = self.now();
        while !enough(self) {
            if self.has_stalled(stall) {
                return Ok(false);
            }
            self.turn(self.heard + stall.as_nanos() as u64)?;
        }
        Ok(true)
    }

    /// Serves everybody for a while.
    pub fn rest(&mut self, span: Duration, watch: &mut dyn FnMut()) -> Result<(), Failure> {
        let end = self.now() + span.as_nanos() as u64;
        while self.now() < end {
            self.turn(end)?;
            watch();
        }
        Ok(())
    }

    /// Packets of members that poll that have not been answered.
    pub fn posts(&self) -> usize {
        self.in_flight_of(self.publishers.len() - 1)
    }

    /// Waits for events, until `until` at the longest (nanoseconds of the run's clock), and handles them.
    pub fn turn(&mut self, until: u64) -> Result<(), Failure> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failure::Failed("interrupted".into()));
        }
        if self.now() > self.deadline {
            return Err(Failure::Failed("it took longer than --timeout".into()));
        }
        self.ping()?;
        let mut wait = Duration::from_nanos(until.saturating_sub(self.now())).min(LONGEST_WAIT);
        if !self.unread.is_empty() {
            wait = Duration::ZERO;
        }
        match pause(&self.poll, wait).and_then(|rest| self.poll.poll(&mut self.events, Some(rest))) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(Failure::of("poll")(error)),
            _ => {}
        }
        let mut events: Vec<_> = self.events.iter().map(|event| (event.token().0, event.is_writable())).collect();
        events.extend(self.unread.drain(..).map(|token| (token, false)));
        // Where the end came together with the last bytes, a short read does not tell of it, nor does another event.
        self.unread.extend(self.events.iter().filter(|event| event.is_read_closed()).map(|event| event.token().0));
        for (token, writable) in events {
            match token.checked_sub(PUBLISHERS) {
                Some(index) => self.serve_publisher(index, writable)?,
                None => self.serve_member(token, writable)?,
            }
        }
        Ok(())
    }

    fn serve_publisher(&mut self, index: usize, writable: bool) -> Result<(), Failure> {
        let Crowd { publishers, ledger, buffer, begin, heard, unread, .. } = self;
        let Some(backend) = &mut publishers[index] else { return Ok(()) };
        let mut wrong = None;
        let flushed = if writable { backend.flush() } else { Ok(()) };
        let served = flushed.and_then(|()| {
            backend.handle_readable(buffer, &mut |asked, why| {
                let now = begin.elapsed().as_nanos() as u64;
                *heard = now;
                match asked {
                    Asked::Notification(number) => ledger.answer(number, why, now),
                    Asked::Packet => wrong = wrong.take().or(why.map(|why| format!("a packet was refused: {why}"))),
                    Asked::Nothing => wrong = wrong.take().or(why.map(|why| format!("an answer to nothing: {why}"))),
                }
            })
        });
        if let Some(why) = wrong {
            return Err(publisher(why));
        }
        match served {
            Ok(true) => unread.push(PUBLISHERS + index),
            Ok(false) => {}
            Err(why) if backend.in_flight() > 0 => return Err(publisher(why)),
            // Whoever has been silent for long may be closed.
            Err(_) => publishers[index] = None,
        }
        Ok(())
    }

    fn serve_member(&mut self, number: usize, writable: bool) -> Result<(), Failure> {
        let Crowd { members, ledger, script, kind, buffer, joined, accepted, begin, heard, unread, .. } = self;
        let Some(member) = &mut members[number] else { return Ok(()) };
        let (room, form, began) = (ledger.room(number), kind.form(), member.began);
        let mut now = 0;
        let mut hear = |what: Heard<'_>| {
            // One look at the clock for all that came with one read.
            if now == 0 {
                now = begin.elapsed().as_nanos() as u64;
                *heard = now;
            }
            match what {
                Heard::Message(text) => match script.read(text, form, room) {
                    Ok(message) => ledger.deliver(number, message, now),
                    Err(why) => ledger.damage(number, &why),
                },
                Heard::Joined => joined.push((number, now - began)),
                Heard::Accepted => *accepted += 1,
            }
        };
        let flushed = if writable { member.handle_writable() } else { Ok(()) };
        match flushed.and_then(|()| member.handle_readable(buffer, script, &mut hear)) {
            Ok(true) => unread.push(number),
            Ok(false) => {}
            Err(why) if !member.has_joined() => return Err(Failure::Failed(format!("member {number}: {why}"))),
            Err(why) => {
                ledger.close(number, &why);
                members[number] = None;
            }
        }
        Ok(())
    }

    /// With revision 3 the clients ping: a few times a second it is seen whose time it is.
    fn ping(&mut self) -> Result<(), Failure> {
        let now = self.now();
        if !self.kind.pings() || now - self.pinged < PING_CHECK {
            return Ok(());
        }
        self.pinged = now;
        for number in 0..self.members.len() {
            // Whoever cannot be written to is found out when it is read from.
            let packet = self.members[number].as_mut().and_then(|member| member.ping(now).ok().flatten());
            if let Some(packet) = packet {
                self.post(number, &packet)?;
            }
        }
        self.flush()
    }

    /// Queues a packet of a member that polls with the backend that posts for all of them.
    fn post(&mut self, number: usize, packet: &str) -> Result<(), Failure> {
        if let Some((target, body)) = self.members[number].as_ref().and_then(|member| member.post(packet)) {
            let mut request = Vec::new();
            self.script.post(&target, TEXT, &body, &mut request);
            self.publisher(self.publishers.len() - 1)?.push(&request, Asked::Packet);
        }
        Ok(())
    }
}

fn publisher(why: String) -> Failure {
    Failure::Failed(format!("a publisher: {why}"))
}

/// A poll waits in whole milliseconds; this waits for an event more finely, so that messages are sent when they are due.
/// What is left of longer waits is for the poll.
#[allow(unsafe_code)]
fn pause(poll: &Poll, wait: Duration) -> std::io::Result<Duration> {
    if wait.is_zero() || wait > Duration::from_millis(20) {
        return Ok(wait);
    }
    let mut entry = libc::pollfd { fd: poll.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let time = libc::timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos() as libc::c_long };
    // SAFETY: the entry and the time live here, and there is one entry; no signal mask is given.
    let result = unsafe { libc::ppoll(&raw mut entry, 1, &raw const time, core::ptr::null()) };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(Duration::ZERO) }
}

/// Where the tokens of publishers begin.
const PUBLISHERS: usize = usize::MAX / 2;
/// Bytes of a read.
const READ: usize = 256 * 1024;
/// Bytes that may wait for a relay that does not read.
const MOST_BACKLOG: usize = 64 << 20;
const LONGEST_WAIT: Duration = Duration::from_millis(250);
/// Nanoseconds.
const PING_CHECK: u64 = 200_000_000;
