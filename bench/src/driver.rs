//! The event loop: it owns all connections of a run and serves them from one thread with one poll.

use core::sync::atomic::{AtomicBool, Ordering};
use std::{
    io::{self, ErrorKind},
    os::fd::AsRawFd,
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Events, Poll, Token};

use crate::{
    error::{ConnectionError, Error},
    ledger::Ledger,
    member::{Event, Kind, Member, TEXT},
    publisher::{Publisher, Request},
    target::Target,
    workload::Workload,
};

/// The connections of a run.
pub struct Driver {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    target: Target,
    workload: Workload,
    kind: Kind,
    members: Vec<Option<Member>>,
    /// The backends. The last one is extra: it sends the POSTs of polling members. relay closes idle connections, which are then
    /// opened again when needed.
    publishers: Vec<Option<Publisher>>,
    /// The account of all deliveries.
    pub ledger: Ledger,
    /// Members that joined since the last look, and how many nanoseconds each took. The caller empties it.
    pub joined: Vec<(usize, u64)>,
    /// The number of members whose own message was acknowledged.
    pub acknowledged: usize,
    /// When anything was last received: nanoseconds of the run's clock.
    pub last_received: u64,
    /// The number of member connections so far.
    opened: usize,
    /// Tokens of connections that may have more to read, although no event will say so.
    unread: Vec<usize>,
    begin: Instant,
    deadline: u64,
    last_ping_check: u64,
    stop: Arc<AtomicBool>,
}

impl Driver {
    /// A driver for `publishers` backends, without members. Every run must end within `timeout`.
    pub fn new(
        target: Target,
        workload: Workload,
        kind: Kind,
        publishers: usize,
        timeout: Duration,
    ) -> Result<Driver, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            signal_hook::flag::register(signal, stop.clone()).map_err(Error::io("signal handlers"))?;
        }
        Ok(Driver {
            poll: Poll::new().map_err(Error::io("poll"))?,
            events: Events::with_capacity(1024),
            buffer: vec![0; READ],
            ledger: Ledger::new(workload.rooms(), publishers),
            target,
            workload,
            kind,
            members: Vec::new(),
            publishers: (0..=publishers).map(|_| None).collect(),
            joined: Vec::new(),
            acknowledged: 0,
            last_received: 0,
            opened: 0,
            unread: Vec::new(),
            begin: Instant::now(),
            deadline: timeout.as_nanos() as u64,
            last_ping_check: 0,
            stop,
        })
    }

    /// The run's clock: nanoseconds since the driver was created.
    pub fn now(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    /// The number of requests of a backend without a response.
    pub fn in_flight_of(&self, publisher: usize) -> usize {
        self.publishers[publisher].as_ref().map_or(0, Publisher::in_flight)
    }

    /// Connects all backends, so that the first messages do not wait for a connection.
    pub fn connect_publishers(&mut self) -> Result<(), Error> {
        (0..self.publishers.len()).try_for_each(|index| self.publisher(index).map(|_| ()))
    }

    /// A backend, connected if it is not.
    fn publisher(&mut self, index: usize) -> Result<&mut Publisher, Error> {
        let slot = &mut self.publishers[index];
        match slot {
            Some(publisher) => Ok(publisher),
            None => {
                let stream = self.target.open(0).map_err(Error::io("a publisher"))?;
                let publisher = Publisher::new(stream, self.poll.registry(), Token(PUBLISHERS + index));
                Ok(slot.insert(publisher.map_err(publisher_failed)?))
            }
        }
    }

    /// Starts to connect member `number`, which replaces the member with that number if there is one. With `once` it only joins.
    pub fn connect_member(&mut self, number: usize, once: bool) -> Result<(), Error> {
        let room = number % self.workload.rooms();
        // On the loopback network connect(2) does most of the work of a connection, so the clock starts before it.
        let started = self.now();
        let stream = self.target.open(self.opened).map_err(Error::io(format!("member {number}")))?;
        self.opened += 1;
        let login = self.workload.login(room, number);
        let registration = (self.poll.registry(), Token(number));
        let member = Member::new(stream, registration, self.kind, (&self.workload, &login), once, started)
            .map_err(|error| Error::Failed(format!("member {number}: {error}")))?;
        match self.members.get_mut(number) {
            Some(slot) => {
                *slot = Some(member);
                self.ledger.replace_member(number);
            }
            None => {
                self.members.push(Some(member));
                self.ledger.add_member(room);
            }
        }
        Ok(())
    }

    /// Connects `count` more members, at most `concurrency` at a time, and waits until they have joined. Calls `progress` with
    /// the number of those that have.
    pub fn join_members(
        &mut self,
        count: usize,
        concurrency: usize,
        stall: Duration,
        progress: &mut dyn FnMut(usize),
    ) -> Result<(), Error> {
        let first = self.members.len();
        let (mut started, mut joined) = (0, 0);
        self.last_received = self.now();
        while joined < count {
            while started < count && started - joined < concurrency {
                self.connect_member(first + started, false)?;
                started += 1;
            }
            self.poll_once(self.last_received + stall.as_nanos() as u64)?;
            joined += self.joined.drain(..).count();
            if self.has_stalled(stall) {
                let seconds = stall.as_secs_f64();
                let why = format!("{joined} of {count} members joined, then nothing arrived for {seconds} s (--stall)");
                return Err(Error::Failed(why));
            }
            progress(joined);
        }
        Ok(())
    }

    /// Whether nothing was received for this long.
    pub fn has_stalled(&self, stall: Duration) -> bool {
        self.now().saturating_sub(self.last_received) > stall.as_nanos() as u64
    }

    /// Queues the next message with its publisher. Its latency counts from `at`.
    pub fn publish(&mut self, at: u64) -> Result<(), Error> {
        let number = self.ledger.next();
        let mut request = Vec::new();
        self.workload.notify(number, &mut request);
        let publisher = self.publisher(self.ledger.publisher(number))?;
        publisher.push(&request, Request::Notification(number));
        if publisher.backlog() > MAX_BACKLOG {
            let mib = MAX_BACKLOG >> 20;
            return Err(Error::Failed(format!(
                "relay does not read messages at this rate: {mib} MiB wait to be sent; lower --rate or --size"
            )));
        }
        self.ledger.record_sent(at);
        Ok(())
    }

    /// Sends what is queued with the backends.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.publishers.iter_mut().flatten().try_for_each(Publisher::flush).map_err(publisher_failed)
    }

    /// Every member from number `first` on sends a message, if it can. Returns how many they are.
    pub fn send_messages(&mut self, first: usize) -> Result<usize, Error> {
        let mut sent = 0;
        if !self.kind.can_send() {
            return Ok(sent);
        }
        for number in first..self.members.len() {
            let Some(member) = &mut self.members[number] else { continue };
            let packet = member.send_message(&self.workload);
            if let Some(packet) = packet.map_err(|error| Error::Failed(format!("member {number}: {error}")))? {
                self.post(number, &packet)?;
            }
            sent += 1;
        }
        self.flush().map(|()| sent)
    }

    /// Closes the connection and the session of a member.
    pub fn disconnect_member(&mut self, number: usize) -> Result<(), Error> {
        if let Some(packet) = self.members[number].as_ref().and_then(Member::close_packet) {
            self.post(number, &packet)?;
            self.flush()?;
        }
        self.members[number] = None;
        Ok(())
    }

    /// Serves the connections until `done` returns `true`. Returns `false` if nothing arrived for `stall` before that.
    pub fn run_until(&mut self, stall: Duration, done: &dyn Fn(&Driver) -> bool) -> Result<bool, Error> {
        self.last_received = self.now();
        while !done(self) {
            if self.has_stalled(stall) {
                return Ok(false);
            }
            self.poll_once(self.last_received + stall.as_nanos() as u64)?;
        }
        Ok(true)
    }

    /// Serves the connections for this long. Calls `progress` after each round of events.
    pub fn run_for(&mut self, duration: Duration, progress: &mut dyn FnMut()) -> Result<(), Error> {
        let end = self.now() + duration.as_nanos() as u64;
        while self.now() < end {
            self.poll_once(end)?;
            progress();
        }
        Ok(())
    }

    /// The number of POSTs of polling members without a response.
    pub fn pending_posts(&self) -> usize {
        self.in_flight_of(self.publishers.len() - 1)
    }

    /// Waits for events, at most until `until` (nanoseconds of the run's clock), and handles them.
    pub fn poll_once(&mut self, until: u64) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Failed("interrupted by a signal".into()));
        }
        if self.now() > self.deadline {
            let seconds = Duration::from_nanos(self.deadline).as_secs_f64();
            return Err(Error::Failed(format!("the run took longer than {seconds} s (--timeout)")));
        }
        self.send_pings()?;
        let mut wait = Duration::from_nanos(until.saturating_sub(self.now())).min(MAX_WAIT);
        if !self.unread.is_empty() {
            wait = Duration::ZERO;
        }
        match wait_precisely(&self.poll, wait).and_then(|rest| self.poll.poll(&mut self.events, Some(rest))) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(Error::io("poll")(error)),
            _ => {}
        }
        let mut events: Vec<_> = self.events.iter().map(|event| (event.token().0, event.is_writable())).collect();
        events.extend(self.unread.drain(..).map(|token| (token, false)));
        // If a connection ends together with its last bytes, a short read does not reveal the end, and no event follows.
        self.unread.extend(self.events.iter().filter(|event| event.is_read_closed()).map(|event| event.token().0));
        for (token, writable) in events {
            match token.checked_sub(PUBLISHERS) {
                Some(index) => self.serve_publisher(index, writable)?,
                None => self.serve_member(token, writable)?,
            }
        }
        Ok(())
    }

    fn serve_publisher(&mut self, index: usize, writable: bool) -> Result<(), Error> {
        let Driver { publishers, ledger, buffer, begin, last_received, unread, .. } = self;
        let Some(publisher) = &mut publishers[index] else { return Ok(()) };
        let mut failure = None;
        let flushed = if writable { publisher.flush() } else { Ok(()) };
        let served = flushed.and_then(|()| {
            publisher.handle_readable(buffer, &mut |request, refusal| {
                let now = begin.elapsed().as_nanos() as u64;
                *last_received = now;
                let what = match request {
                    Request::Notification(number) => return ledger.record_response(number, refusal, now),
                    Request::Packet => "a POST of a polling client was refused",
                    Request::None => "a response without a request",
                };
                failure = failure.take().or(refusal.map(|refusal| format!("{what}: {refusal}")));
            })
        });
        if let Some(failure) = failure {
            return Err(publisher_failed(ConnectionError::Malformed(failure)));
        }
        match served {
            Ok(true) => unread.push(PUBLISHERS + index),
            Ok(false) => {}
            Err(error) if publisher.in_flight() > 0 => return Err(publisher_failed(error)),
            // The server may close an idle connection.
            Err(_) => publishers[index] = None,
        }
        Ok(())
    }

    fn serve_member(&mut self, number: usize, writable: bool) -> Result<(), Error> {
        let Driver {
            members, ledger, workload, kind, buffer, joined, acknowledged, begin, last_received, unread, ..
        } = self;
        let Some(member) = &mut members[number] else { return Ok(()) };
        let (room, form, started) = (ledger.room(number), kind.form(), member.started);
        let mut now = 0;
        let mut handle = |event: Event<'_>| {
            // One clock reading for everything that one read brings.
            if now == 0 {
                now = begin.elapsed().as_nanos() as u64;
                *last_received = now;
            }
            match event {
                Event::Message(text) => match workload.recognize(text, form, room) {
                    Ok(message) => ledger.record_delivery(number, message, now),
                    Err(damage) => ledger.record_damage(number, &damage.to_string()),
                },
                Event::Joined => joined.push((number, now - started)),
                Event::Acknowledged => *acknowledged += 1,
            }
        };
        let flushed = if writable { member.handle_writable() } else { Ok(()) };
        match flushed.and_then(|()| member.handle_readable(buffer, workload, &mut handle)) {
            Ok(true) => unread.push(number),
            Ok(false) => {}
            Err(error) if !member.has_joined() => return Err(Error::Failed(format!("member {number}: {error}"))),
            Err(error) => {
                ledger.record_disconnect(number, &error.to_string());
                members[number] = None;
            }
        }
        Ok(())
    }

    /// Sends the pings that are due, if the clients send them (revision 3). Checks five times a second.
    fn send_pings(&mut self) -> Result<(), Error> {
        let now = self.now();
        if !self.kind.sends_pings() || now - self.last_ping_check < PING_CHECK {
            return Ok(());
        }
        self.last_ping_check = now;
        for number in 0..self.members.len() {
            // A write error is ignored here: the next read from this connection reports it.
            let packet = self.members[number].as_mut().and_then(|member| member.ping(now).ok().flatten());
            if let Some(packet) = packet {
                self.post(number, &packet)?;
            }
        }
        self.flush()
    }

    /// Queues a packet of a polling member with the publisher that POSTs for all of them.
    fn post(&mut self, number: usize, packet: &str) -> Result<(), Error> {
        if let Some((target, body)) = self.members[number].as_ref().and_then(|member| member.post(packet)) {
            let mut request = Vec::new();
            self.workload.post(&target, TEXT, &body, &mut request);
            self.publisher(self.publishers.len() - 1)?.push(&request, Request::Packet);
        }
        Ok(())
    }
}

fn publisher_failed(error: ConnectionError) -> Error {
    Error::Failed(format!("a publisher: {error}"))
}

/// Waits for an event, for durations up to 20 ms with ppoll(2): epoll waits in whole milliseconds, too coarse to send messages
/// at their scheduled time. Returns the rest of a longer wait, for the poll.
#[allow(unsafe_code)]
pub fn wait_precisely(poll: &Poll, wait: Duration) -> io::Result<Duration> {
    if wait.is_zero() || wait > Duration::from_millis(20) {
        return Ok(wait);
    }
    // Not a literal: 32-bit musl has private padding beside the fields.
    let mut time = libc::timespec::default();
    let mut entry = libc::pollfd { fd: poll.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    time.tv_nsec = wait.subsec_nanos() as libc::c_long;
    // SAFETY: the one entry and the time outlive the call, and no signal mask is passed.
    let result = unsafe { libc::ppoll(&raw mut entry, 1, &raw const time, core::ptr::null()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(Duration::ZERO) }
}

/// The first token of the publishers.
const PUBLISHERS: usize = usize::MAX / 2;
/// The size of a read, in bytes.
const READ: usize = 256 * 1024;
/// The maximum number of bytes that wait to be sent on one connection.
const MAX_BACKLOG: usize = 64 << 20;
const MAX_WAIT: Duration = Duration::from_millis(250);
/// The interval of the check for due pings, in nanoseconds.
const PING_CHECK: u64 = 200_000_000;
