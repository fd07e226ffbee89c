//! Runs the cases of a protocol, and checks the relay meanwhile and afterwards.

use std::{
    env, fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    journal::Journal,
    probe::{Probe, SOURCE},
    random::Random,
    support::{KEY, PATIENCE, Relay},
    wire::{Case, Open},
};

/// A protocol that clients speak.
pub struct Protocol {
    pub name: &'static str,
    /// More of the relay's configuration.
    pub config: &'static str,
    /// Counters that show how far the cases get: none may be 0.
    pub reaches: &'static [&'static str],
    /// One conversation; it ends early with `None`.
    pub case: fn(&mut Case) -> Option<()>,
}

/// Runs the conversations of a protocol.
pub fn clients(protocol: &Protocol) {
    clients_at(protocol, protocol.config, |relay| relay.addr, None);
}

/// Runs them with another configuration, at another address of the relay, through a layer if there is one. The probe stays
/// at the first address.
pub fn clients_at(protocol: &Protocol, config: &str, address: fn(&Relay) -> SocketAddr, layer: Option<Open>) {
    let fuzz = Fuzz::start(protocol.name, config, protocol.reaches);
    let (case, addr) = (protocol.case, address(&fuzz.relay));
    let workers = (0..fuzz.plan.workers()).map(|_| {
        let (plan, cases, journal) = (fuzz.plan.clone(), fuzz.cases.clone(), fuzz.journal.clone());
        thread::spawn(move || work(case, &plan, &cases, &journal, addr, layer))
    });
    let workers: Vec<_> = workers.collect();
    fuzz.finish(workers);
}

/// Runs case after case, and leaves some connections open between them.
fn work(
    case: fn(&mut Case) -> Option<()>,
    plan: &Plan,
    cases: &AtomicU64,
    journal: &Journal,
    addr: SocketAddr,
    layer: Option<Open>,
) {
    let mut left = Vec::new();
    while let Some(number) = plan.next(cases) {
        let mut random = Random::new(plan.seed, number);
        // Some conversations go on for long, with few mutations.
        let rarity = *random.pick(&[&1, &4, &16]);
        case(&mut Case { number, random, rarity, addr, journal, left: &mut left, layer });
    }
}

/// Which cases to run, and until when.
#[derive(Clone)]
pub struct Plan {
    pub seed: u64,
    only: Option<u64>,
    duration: Duration,
    over: Arc<AtomicBool>,
}

impl Plan {
    fn from_environment() -> Plan {
        let number = |name: &str| env::var(name).ok().map(|text| text.parse().expect("a number"));
        let (seconds, seed) = (number("FUZZ_SECONDS"), number("FUZZ_SEED"));
        let now = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        Plan {
            // A short run has the same cases each time.
            seed: seed.or(seconds.map(|_| now())).unwrap_or(1),
            only: number("FUZZ_CASE"),
            duration: Duration::from_secs(seconds.unwrap_or(SHORT)),
            over: Arc::default(),
        }
    }

    /// The number of the next case.
    pub fn next(&self, cases: &AtomicU64) -> Option<u64> {
        let number = cases.fetch_add(1, Ordering::Relaxed);
        match self.only {
            Some(only) => (number == 0).then_some(only),
            None => (!self.is_over()).then_some(number),
        }
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn workers(&self) -> usize {
        if self.only.is_some() { 1 } else { WORKERS }
    }
}

/// What the process uses.
#[derive(Clone, Copy, Debug)]
struct Usage {
    memory: u64,
    descriptors: usize,
}

impl Usage {
    fn of(relay: &Relay) -> Option<Usage> {
        let status = fs::read_to_string(format!("/proc/{}/status", relay.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        let memory = line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024;
        let descriptors = fs::read_dir(format!("/proc/{}/fd", relay.pid())).ok()?.count();
        Some(Usage { memory, descriptors })
    }
}

/// A relay under fuzzing, and its probe.
pub struct Fuzz {
    name: &'static str,
    reaches: &'static [&'static str],
    pub relay: Relay,
    pub plan: Plan,
    pub cases: Arc<AtomicU64>,
    pub journal: Journal,
    probe: Probe,
    before: Usage,
    /// Bytes that the relay had allocated at the start.
    allocated: u64,
}

impl Fuzz {
    pub fn start(name: &'static str, config: &str, reaches: &'static [&'static str]) -> Fuzz {
        let relay = Relay::start(&format!("{config}\n[sources.{SOURCE}]\nsign_key = \"{KEY}\"\n"));
        let probe = Probe::start(&relay);
        let before = Usage::of(&relay).expect("a running relay");
        // Afterwards, because its connection is a descriptor for a moment.
        let allocated = relay.metric("relay_memory_bytes");
        let plan = Plan::from_environment();
        eprintln!("{name}: FUZZ_SEED={}", plan.seed);
        Fuzz {
            name,
            reaches,
            relay,
            plan,
            cases: Arc::default(),
            journal: Journal::default(),
            probe,
            before,
            allocated,
        }
    }

    /// Watches the relay until the plan is over and the peers have left, then until it is as before.
    pub fn finish(mut self, peers: Vec<thread::JoinHandle<()>>) {
        let (mut peak, mut result) = (self.before, Ok(()));
        let (begin, mut reported) = (Instant::now(), Instant::now());
        while result.is_ok() && peers.iter().any(|peer| !peer.is_finished()) {
            result = self.watch(&mut peak);
            let elapsed = begin.elapsed();
            if elapsed > self.plan.duration + PATIENCE || elapsed > self.plan.duration && self.missed().is_empty() {
                self.plan.over.store(true, Ordering::Relaxed);
            }
            if reported.elapsed() > REPORT {
                reported = Instant::now();
                let (cases, now) = (self.cases.load(Ordering::Relaxed), Usage::of(&self.relay));
                eprintln!("{}: {cases} cases, {now:?}, at most {} bytes", self.name, peak.memory);
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.plan.over.store(true, Ordering::Relaxed);
        peers.into_iter().for_each(|peer| peer.join().expect("the fuzzer itself does not fail"));
        let result = result.and_then(|()| self.settle(&mut peak)).and_then(|after| match &*self.missed() {
            [] => Ok(after),
            missed => Err(format!("the cases do not get far: {missed:?} are 0")),
        });
        let probe = self.probe.finish();
        let cases = self.cases.load(Ordering::Relaxed);
        let (name, seed) = (self.name, self.plan.seed);
        match (result, probe) {
            (Ok(after), Ok(messages)) => eprintln!(
                "{name}: {cases} cases, {messages} messages for the probe; memory {} KiB, at most {}, then {}",
                self.before.memory / 1024,
                peak.memory / 1024,
                after.memory / 1024
            ),
            (result, probe) => {
                let why = [result.err(), probe.err()].into_iter().flatten().collect::<Vec<_>>().join("; ");
                panic!("{name}: {why}\nthe last cases of FUZZ_SEED={seed}; FUZZ_CASE=… repeats one:\n{}", self.journal)
            }
        }
    }

    /// Counters that are 0 although the cases should reach what they count.
    fn missed(&self) -> Vec<&'static str> {
        let counters = if self.plan.only.is_some() { &[] } else { self.reaches };
        counters.iter().copied().filter(|name| self.relay.counter(name) == 0).collect()
    }

    /// Checks what must always hold.
    fn watch(&mut self, peak: &mut Usage) -> Result<(), String> {
        if let Some(status) = self.relay.child.try_wait().unwrap() {
            return Err(format!("the relay ended with {status}"));
        }
        if let Some(line) = self.relay.log().iter().find(|line| line.contains("panic")) {
            return Err(format!("the relay logged {line:?}"));
        }
        if self.probe.has_failed() {
            return Err("the probe failed".into());
        }
        let Some(now) = Usage::of(&self.relay) else { return Ok(()) };
        peak.memory = peak.memory.max(now.memory);
        match peak.memory > self.before.memory + PEAK {
            true => Err(format!("the relay holds {} bytes, {} before", peak.memory, self.before.memory)),
            false => Ok(()),
        }
    }

    /// Waits until memory and descriptors are as before. The probe must get messages still.
    fn settle(&mut self, peak: &mut Usage) -> Result<Usage, String> {
        let begin = Instant::now();
        loop {
            self.watch(peak)?;
            let Some(now) = Usage::of(&self.relay) else { continue };
            // Not resident memory: the allocator keeps some of what was freed.
            let allocated = self.relay.metric("relay_memory_bytes");
            if now.descriptors == self.before.descriptors && allocated <= self.allocated + GROWTH {
                self.probe.wait(20);
                return Ok(now);
            }
            if begin.elapsed() > PATIENCE {
                return Err(format!(
                    "the relay has {now:?} and {allocated} bytes after the peers have left, {:?} and {} before",
                    self.before, self.allocated
                ));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Seconds for each protocol, unless the environment says otherwise.
const SHORT: u64 = 3;
/// A long run says this often how far it is.
const REPORT: Duration = Duration::from_secs(30);
/// Hostile clients at a time.
const WORKERS: usize = 6;
/// Bytes of memory that the hostile peers may cost while they are connected. A signed notification that names its room
/// 65,000 times costs most.
pub const PEAK: u64 = 256 << 20;
/// Bytes that may still be allocated once they have left: caches, and what is remembered of used signatures.
pub const GROWTH: u64 = 16 << 20;
