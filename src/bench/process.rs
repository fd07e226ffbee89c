//! A process on this machine: the processor time it has used, and its resident memory.

use std::{fs, path::PathBuf};

/// A process, by its folder in `/proc`.
#[derive(Clone, Debug)]
pub struct Process(PathBuf);

impl Process {
    /// The process of that number, if it can be looked at; the error says why not.
    pub fn find(pid: u32) -> Result<Process, String> {
        let process = Process(format!("/proc/{pid}").into());
        process.cpu().map(|_| process).ok_or_else(|| format!("process {pid} is not there, or not to be looked at"))
    }

    /// This process.
    pub fn own() -> Process {
        Process("/proc/self".into())
    }

    /// Processor time so far, user and system, in nanoseconds. It comes from the scheduler's account of each thread; a
    /// kernel without one only has ticks of ten milliseconds.
    pub fn cpu(&self) -> Option<u64> {
        let threads = fs::read_dir(self.0.join("task")).ok()?.flatten();
        // A thread may end while we look.
        let nanos =
            threads.filter_map(|thread| first_number(&fs::read_to_string(thread.path().join("schedstat")).ok()?));
        let exact = Some(nanos.sum());
        exact.filter(|nanos| *nanos > 0).or_else(|| ticks(&fs::read_to_string(self.0.join("stat")).ok()?))
    }

    /// Resident memory in bytes. The kernel's exact sum if it may be read, else its quick estimate.
    pub fn memory(&self) -> Option<u64> {
        let field = |file: &str, name: &str| {
            let text = fs::read_to_string(self.0.join(file)).ok()?;
            first_number(text.lines().find_map(|line| line.strip_prefix(name))?)
        };
        field("smaps_rollup", "Rss:").or_else(|| field("status", "VmRSS:")).map(|kib| kib * 1024)
    }
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// User and system time of `/proc/PID/stat` in nanoseconds. The name in it may hold anything, also parentheses.
fn ticks(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some((number(11)? + number(12)?) * NANOS_OF_A_TICK)
}

/// `USER_HZ` is 100 wherever Linux and this run.
const NANOS_OF_A_TICK: u64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_one() {
        let own = Process::find(std::process::id()).unwrap();
        assert!(own.cpu().unwrap() > 0 && own.memory().unwrap() > 100_000);
        assert!(Process::find(u32::MAX).is_err());
    }

    #[test]
    fn a_name_with_parentheses() {
        let stat = "7 (a) (b) S 1 7 7 0 -1 4194560 100 0 0 0 12 34 0 0 20 0 1 0 100 1000 50";
        assert_eq!(ticks(stat), Some(460_000_000));
        assert_eq!(ticks("7 (x"), None);
    }
}
