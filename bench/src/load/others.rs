//! Clients of another room that get live messages at a fixed rate while something else happens, and how late these are.

use std::{
    io::Write,
    net::SocketAddr,
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};

use super::{Dialect, Member, TIMEOUT, member::Publisher};
use crate::{driver::wait_precisely, error::Error, process::Process};

/// The clients, with a backend and a thread of their own.
pub struct Others {
    thread: JoinHandle<Result<Vec<Delivery>, Error>>,
    stop: Arc<AtomicBool>,
}

/// A delivery.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// When the message was due to be sent.
    pub due: Instant,
    /// From then to its arrival.
    pub latency: Duration,
    /// CPU time of the server from sending to its arrival, in nanoseconds: how long the server took, whatever else the machine
    /// did.
    pub cpu: u64,
}

/// The clients.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// How many.
    pub count: usize,
    /// The number of messages that they get in a second.
    pub rate: usize,
}

impl Others {
    /// Connects clients of `server`, and sends them messages.
    pub fn start(addr: SocketAddr, dialect: &Dialect, server: &Process, crowd: Crowd) -> Result<Others, Error> {
        let connect = |number| Member::connect(addr, dialect, ROOM, FIRST + number);
        let members = (0..crowd.count).map(connect).collect::<Result<Vec<_>, Error>>()?;
        let publisher = Publisher::connect(addr).map_err(Error::io("the publisher"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (dialect, server, stopped) = (dialect.clone(), server.clone(), stop.clone());
        let period = Duration::from_secs(1) / crowd.rate.max(1) as u32;
        let thread = thread::spawn(move || run(members, publisher, &dialect, &server, period, &stopped));
        Ok(Others { thread, stop })
    }

    /// Ends the clients and returns all deliveries. Each client must have got each message.
    pub fn stop(self) -> Result<Vec<Delivery>, Error> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| Error::Failed("the thread of the other clients panicked".into()))?
    }
}

fn run(
    mut members: Vec<Member>,
    mut publisher: Publisher,
    dialect: &Dialect,
    server: &Process,
    period: Duration,
    stop: &AtomicBool,
) -> Result<Vec<Delivery>, Error> {
    // Only root may. Then the latency depends less on what else the machine does.
    set_niceness(-15);
    let failed = |error| Error::Failed(format!("the other clients: {error}"));
    let mut poll = Poll::new().map_err(Error::io("poll"))?;
    let mut events = Events::with_capacity(1024);
    let streams = members.iter().map(|member| member.stream.socket()).chain([&publisher.stream]).enumerate();
    for (token, stream) in streams {
        let source = &mut SourceFd(&stream.as_raw_fd());
        poll.registry().register(source, Token(token), Interest::READABLE).map_err(Error::io("poll"))?;
    }
    let begin = Instant::now();
    let (mut last, mut buffer, mut place) = (begin, vec![0; 1 << 16], 0);
    let (mut all, mut deliveries) = (Vec::<Vec<u8>>::new(), Vec::new());
    // The server's CPU time when each message was sent.
    let mut sent = Vec::new();
    let due = |number: usize| begin + period * number as u32;
    let cpu = || server.cpu_clock().ok_or_else(|| Error::Failed("the CPU time of the server cannot be read".into()));
    loop {
        let is_over = stop.load(Ordering::Relaxed);
        if is_over && publisher.responses == all.len() && deliveries.len() == all.len() * members.len() {
            return Ok(deliveries);
        }
        if last.elapsed() > TIMEOUT {
            let (got, owed) = (deliveries.len(), all.len() * members.len());
            return Err(Error::Failed(format!("the other clients: {got} of {owed} deliveries arrived")));
        }
        while !is_over && due(all.len()) <= Instant::now() {
            let data = format!("seq={:0100}", all.len());
            sent.push(cpu()?);
            publisher.stream.write_all(&dialect.notification(ROOM, &data)).map_err(Error::io("the publisher"))?;
            all.push(data.into_bytes());
        }
        let wait = if is_over { period } else { due(all.len()).saturating_duration_since(Instant::now()) };
        let rest = wait_precisely(&poll, wait).map_err(Error::io("poll"))?;
        poll.poll(&mut events, Some(rest)).map_err(Error::io("poll"))?;
        for event in &events {
            let Some(member) = members.get_mut(event.token().0) else {
                publisher.receive(&mut buffer).map_err(failed)?;
                continue;
            };
            let first = member.next;
            member.receive(&mut buffer, &all, 1, &mut place).map_err(failed)?;
            let cpu = cpu()?;
            last = Instant::now();
            deliveries.extend((first..member.next).map(|number| Delivery {
                due: due(number),
                latency: last.saturating_duration_since(due(number)),
                cpu: cpu.saturating_sub(sent[number]),
            }));
        }
    }
}

/// Changes the priority of this thread, if that is permitted.
#[allow(unsafe_code)]
pub fn set_niceness(niceness: i32) {
    // SAFETY: the call has no pointers. On Linux, 0 is the calling thread.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness) };
}

const ROOM: &str = "bench-others";
/// The number of the first client: those before it are other users.
const FIRST: usize = 1_000_000;
