//! The cost of idle clients, and of rooms in which nothing is published.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use super::{ACCOUNTING, Dialect, Member, SETTLE, Usage};
use crate::{error::Error, process::Process};

/// Clients that do nothing.
#[derive(Clone, Copy, Debug)]
pub struct Idle<'a> {
    /// Where the clients connect.
    pub addr: SocketAddr,
    /// How they talk to the server.
    pub dialect: &'a Dialect,
    /// The processes whose CPU time and memory count.
    pub processes: &'a [Process],
    /// The number of clients.
    pub members: usize,
    /// The number of rooms of each client, which no other client has. 0: each client is in one of 100 rooms.
    pub rooms_each: usize,
    /// How long their CPU time is measured.
    pub watch: Duration,
    /// The number of clients before them that are not counted: they make tables and allocators grow.
    pub warm_up: usize,
}

/// The cost of idle clients.
#[derive(Clone, Copy, Debug)]
pub struct IdleCost {
    /// How long the connects took.
    pub seconds: f64,
    /// Resident memory before the first client, in bytes.
    pub resident_at_start: u64,
    /// Resident memory with all clients, in bytes.
    pub resident: u64,
    /// CPU time of a connect in nanoseconds.
    pub cpu_per_connect: f64,
    /// Resident memory of a client in bytes.
    pub bytes_per_client: f64,
    /// CPU time while nothing happened, in nanoseconds.
    pub cpu_idle: u64,
}

impl Idle<'_> {
    /// Connects the clients. Calls `step` with `ready` before and `done` after the measured connects.
    pub fn run(&self, step: &mut dyn FnMut(&str)) -> Result<IdleCost, Error> {
        let start = Usage::of(self.processes)?;
        let connect = |number| Member::connect(self.addr, self.dialect, &self.rooms(number), number);
        let _warm_up = (self.members..self.members + self.warm_up).map(connect).collect::<Result<Vec<_>, Error>>()?;
        thread::sleep(SETTLE);
        step("ready");
        let (before, begin) = (Usage::of(self.processes)?, Instant::now());
        let mut members = (0..self.members).map(connect).collect::<Result<Vec<_>, Error>>()?;
        answer_pings(&mut members)?;
        let seconds = begin.elapsed().as_secs_f64();
        thread::sleep(ACCOUNTING);
        let connected = Usage::of(self.processes)?;
        step("done");
        // Time for a garbage collector to run and for buffers to be freed.
        thread::sleep(Duration::from_secs(1));
        let settled = Usage::of(self.processes)?;
        thread::sleep(self.watch);
        let after = Usage::of(self.processes)?;
        answer_pings(&mut members)?;
        let count = self.members.max(1) as f64;
        Ok(IdleCost {
            seconds,
            resident_at_start: start.resident,
            resident: after.resident,
            cpu_per_connect: (connected.cpu - before.cpu) as f64 / count,
            bytes_per_client: (after.resident as f64 - before.resident as f64) / count,
            cpu_idle: after.cpu - settled.cpu,
        })
    }

    fn rooms(&self, number: usize) -> String {
        if self.rooms_each == 0 {
            return idle_room(number);
        }
        (0..self.rooms_each).map(|room| format!("room-{number}-{room}")).collect::<Vec<_>>().join(",")
    }
}

/// Answers the pings that servers send to clients when they log in. Fails if one is not connected any more.
fn answer_pings(members: &mut [Member]) -> Result<(), Error> {
    let mut buffer = [0; 1024];
    for (number, member) in members.iter_mut().enumerate() {
        let failed = |error| Error::Failed(format!("client {number}: {error}"));
        member.receive(&mut buffer, &[], 1, &mut 0).map_err(failed)?;
    }
    Ok(())
}

/// The room of an idle client: one of 100.
pub fn idle_room(number: usize) -> String {
    format!("room-{}", number % 100)
}
