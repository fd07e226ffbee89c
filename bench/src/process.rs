//! CPU time and resident memory of a process on this machine.

use std::{fs, path::PathBuf};

use crate::error::Error;

/// A process, identified by its directory in `/proc`.
#[derive(Clone, Debug)]
pub struct Process(PathBuf);

impl Process {
    /// The process with this id. Fails if it does not exist or its CPU time cannot be read.
    pub fn find(pid: u32) -> Result<Process, Error> {
        let process = Process(format!("/proc/{pid}").into());
        let usable = process.cpu().is_some();
        usable.then_some(process).ok_or_else(|| {
            Error::Usage(format!("process {pid} does not exist, or /proc/{pid} cannot be read: check --pid"))
        })
    }

    /// This process.
    pub fn own() -> Process {
        Process("/proc/self".into())
    }

    /// CPU time so far, user and system, of all threads, in nanoseconds. The source is the scheduler's accounting
    /// (`schedstat`); a kernel without it only has ticks of 10 ms.
    pub fn cpu(&self) -> Option<u64> {
        let threads = fs::read_dir(self.0.join("task")).ok()?.flatten();
        // A thread can end while this reads.
        let nanos =
            threads.filter_map(|thread| first_number(&fs::read_to_string(thread.path().join("schedstat")).ok()?));
        let exact = Some(nanos.sum());
        exact.filter(|nanos| *nanos > 0).or_else(|| ticks(&fs::read_to_string(self.0.join("stat")).ok()?))
    }

    /// CPU time so far, like [`Process::cpu`] but with one system call. While the process is running, the time since it began to
    /// is counted with the scheduler's ticks. `None` for [`Process::own`].
    #[allow(unsafe_code)]
    pub fn cpu_clock(&self) -> Option<u64> {
        let pid: libc::pid_t = self.0.file_name()?.to_str()?.parse().ok()?;
        let (mut clock, mut time) = (0, libc::timespec::default());
        // SAFETY: the clock and the time outlive the calls.
        let failed = unsafe {
            libc::clock_getcpuclockid(pid, &raw mut clock) != 0 || libc::clock_gettime(clock, &raw mut time) != 0
        };
        (!failed).then_some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    /// Resident memory in bytes: the exact sum (`smaps_rollup`) if it is readable, otherwise the kernel's estimate (`VmRSS`).
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

/// User and system time from `/proc/PID/stat` in nanoseconds. The process name in it can contain parentheses.
fn ticks(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some((number(11)? + number(12)?) * NANOS_PER_TICK)
}

/// `USER_HZ` is 100 on every architecture that this runs on.
const NANOS_PER_TICK: u64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process() {
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
