//! Keeping `limits.memory`: what the machine has, and what is given up at the limit.
//!
//! Above the limit relay drops its caches, then closes the clients with the most unsent bytes, then refuses the largest
//! incomplete requests and messages, until it is an eighth below the limit. While it is above, new connections and
//! handshakes get a 503. The default leaves the other half of the memory for what a turn allocates at once.

use core::time::Duration;
use std::{fs, path::Path};

use log::{info, warn};

use super::{
    conn::{Phase, State},
    event_loop::Server,
};
use crate::{
    clock::Time,
    http,
    key::{ClientKey, ConnKey},
    memory,
    websocket::Close,
};

/// What was given up since the memory ran short.
#[derive(Default)]
pub struct Pressure {
    /// Half of the memory that the process can have.
    default: u64,
    /// When to look for something to give up again, after nothing was found.
    next: Time,
    /// When the shortage is over, unless the limit is exceeded again.
    over: Time,
    caches: bool,
    slow: bool,
    input: bool,
    /// Whether the refusal of connections was logged.
    pub refusing: bool,
}

impl Pressure {
    /// Reads how much memory the process can have.
    pub fn new() -> Pressure {
        Pressure { default: available() / 2, over: Time::NEVER, ..Pressure::default() }
    }
}

/// The smallest of the machine's memory, the limits of the cgroup and its parents, and `RLIMIT_AS`.
fn available() -> u64 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let cgroup = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let read = |path: &Path| fs::read_to_string(path).ok();
    let all = [total_memory(), address_space(&limits), cgroup_limit(&cgroup, &read)];
    all.into_iter().flatten().min().unwrap_or(1 << 30)
}

/// Bytes of RAM.
fn total_memory() -> Option<u64> {
    // Not /proc/meminfo, which `ProcSubset=pid` hides.
    // SAFETY: the call only writes the structure, which is on this stack and may be all zeros.
    #[allow(unsafe_code)]
    let (result, info) = unsafe {
        let mut info: libc::sysinfo = core::mem::zeroed();
        (libc::sysinfo(&raw mut info), info)
    };
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
    (result == 0).then_some(u64::from(info.totalram) * u64::from(info.mem_unit))
}

/// `RLIMIT_AS` in `/proc/self/limits` (proc(5)); `None` if there is no limit.
fn address_space(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The smallest limit of the process's cgroup and its parents (cgroups(7); version 2, or the `memory` controller of version
/// 1). `cgroup` is `/proc/self/cgroup`.
fn cgroup_limit(cgroup: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let mut limits = Vec::new();
    for line in cgroup.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        for folder in Path::new(path.trim_start_matches('/')).ancestors() {
            let text = read(&Path::new(root).join(folder).join(file));
            limits.extend(text.and_then(|text| text.trim().parse::<u64>().ok()));
        }
    }
    limits.into_iter().min()
}

impl Server {
    /// Applies `limits.memory`.
    pub(super) fn configure_memory(&mut self) {
        let limit = match self.hub.config().limits.memory {
            0 => self.pressure.default,
            configured => configured,
        };
        self.hub.state.memory_limit = usize::try_from(limit).unwrap_or(usize::MAX);
    }

    /// Gives up memory if the limit is exceeded. Cheap if it is not.
    pub(super) fn keep_memory_limit(&mut self) {
        if self.hub.state.is_short_of_memory() {
            self.pressure.over = self.now.time.after(CALM);
            if self.pressure.next <= self.now.time {
                self.give_up_memory();
            }
        } else if self.pressure.over <= self.now.time {
            info!("memory: {} bytes are allocated, the shortage is over", memory::allocated());
            self.pressure = Pressure { default: self.pressure.default, over: Time::NEVER, ..Pressure::default() };
        }
    }

    fn give_up_memory(&mut self) {
        let limit = self.hub.state.memory_limit;
        let target = limit - limit / 8;
        let excess = || memory::allocated().saturating_sub(target);
        let before = memory::allocated();
        if !core::mem::replace(&mut self.pressure.caches, true) {
            warn!(
                "memory: {before} bytes are allocated, limits.memory is {limit}: dropping caches, then slow clients and \
                 incomplete input"
            );
            self.hub.state.stats.memory_caches_dropped += 1;
            self.hub.state.drop_caches();
        }
        let closed = if excess() > 0 { self.close_slowest(excess()) } else { 0 };
        let refused = if excess() > closed { self.refuse_largest_input(excess() - closed) } else { 0 };
        if closed + refused == 0 && excess() > 0 {
            self.pressure.next = self.now.time.after(PAUSE);
        }
        self.carry_out_effects();
    }

    /// Closes the clients and HTTP connections with the most unsent bytes, until they have `wanted` bytes together. Returns
    /// how many bytes they have.
    fn close_slowest(&mut self, wanted: usize) -> usize {
        let clients = self.hub.state.unsent().map(|(client, bytes)| (bytes, Slow::Client(client)));
        let conns = self.conns.iter().filter_map(|(key, conn)| match &conn.state {
            State::Http(exchange) if conn.blocked && !conn.dropped => Some((exchange.output_memory(), Slow::Http(key))),
            _ => None,
        });
        let mut slow: Vec<_> = clients.chain(conns).filter(|(bytes, _)| *bytes > 0).collect();
        slow.sort_unstable_by_key(|(bytes, _)| core::cmp::Reverse(*bytes));
        let mut closed = 0;
        for (bytes, who) in slow {
            if closed >= wanted {
                break;
            }
            closed += bytes;
            self.hub.state.stats.memory_slow_closed += 1;
            match who {
                Slow::Client(client) => self.hub.state.close_slow(client),
                Slow::Http(key) => self.drop_conn(key),
            }
        }
        if closed > 0 && !core::mem::replace(&mut self.pressure.slow, true) {
            warn!("memory: limits.memory is reached: closing the clients with the most unsent bytes");
        }
        closed
    }

    /// Refuses the largest incomplete requests and messages, until they have `wanted` bytes together. Returns how many bytes
    /// they have.
    fn refuse_largest_input(&mut self, wanted: usize) -> usize {
        let mut input: Vec<(usize, ConnKey)> = self
            .conns
            .iter()
            .filter(|(_, conn)| !conn.dropped)
            .map(|(key, conn)| (conn.input_memory(), key))
            .filter(|(bytes, _)| *bytes > 0)
            .collect();
        input.sort_unstable_by_key(|(bytes, _)| core::cmp::Reverse(*bytes));
        let mut freed = 0;
        for (bytes, key) in input {
            if freed >= wanted {
                break;
            }
            freed += bytes;
            self.hub.state.stats.memory_input_refused += 1;
            self.refuse_input(key, http::Error::Memory, Close::SHORT);
        }
        if freed > 0 && !core::mem::replace(&mut self.pressure.input, true) {
            warn!("memory: limits.memory is reached: refusing the largest incomplete requests and messages");
        }
        freed
    }

    /// Refuses the incomplete input of a connection, with 503 or a close.
    fn refuse_input(&mut self, key: ConnKey, error: http::Error, close: Close) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        match &mut conn.state {
            State::Http(exchange) if exchange.parked().is_none() => {
                exchange.refuse(error, self.now);
                self.timers.arm(key, conn);
                self.replied.push(key);
            }
            State::WebSocket(websocket) => {
                websocket.peer = Default::default();
                websocket.phase = Phase::Broken;
                let client = websocket.client;
                self.hub.state.close(client, close);
            }
            State::Http(_) | State::Probe(_) => self.drop_conn(key),
        }
    }
}

/// Somebody who does not read.
enum Slow {
    Client(ClientKey),
    Http(ConnKey),
}

/// How long to wait after nothing was found that could be given up.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the limit must be kept before a shortage is over, and the next one is logged again.
const CALM: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_the_process() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
             Max address space         67108864             unlimited            bytes\n";
        assert_eq!(address_space(limits), Some(67_108_864));
        assert_eq!(address_space(&limits.replace("67108864", "unlimited")), None);
        assert_eq!(address_space(""), None);
    }

    #[test]
    fn limits_of_cgroups() {
        let read = |path: &Path| match path.to_str().unwrap() {
            "/sys/fs/cgroup/system.slice/relay.service/memory.max" => Some("max\n".into()),
            "/sys/fs/cgroup/system.slice/memory.max" => Some("1000\n".into()),
            "/sys/fs/cgroup/memory.max" => Some("5000\n".into()),
            "/sys/fs/cgroup/memory/x/memory.limit_in_bytes" => Some("700\n".into()),
            _ => None,
        };
        assert_eq!(cgroup_limit("0::/system.slice/relay.service\n", &read), Some(1000));
        assert_eq!(cgroup_limit("3:cpu,cpuacct:/x\n2:memory:/x\n0::/\n", &read), Some(700));
        assert_eq!(cgroup_limit("0::/other\n", &|_| None), None);
    }

    #[test]
    fn the_machine_has_memory() {
        assert!(total_memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
