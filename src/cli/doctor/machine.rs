//! The machine: descriptors, clock, disk, memory.

use std::{
    ffi::CString,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{finding::Finding, process::Process};
use crate::{
    config::Config,
    server::{clock::unix_micros, pressure::Pressure},
};

/// The lowest limit of descriptors of these processes, or else of this one.
pub fn descriptors(processes: &[Process], wanted: u64) -> Finding {
    let read = |id: &str| fs::read_to_string(format!("/proc/{id}/limits")).ok().and_then(|text| open_files(&text));
    let limits = processes.iter().filter_map(|process| Some((read(&process.id.to_string())?, process)));
    match limits.min_by_key(|(limit, _)| *limit) {
        Some((limit, process)) => judge_descriptors(&process.to_string(), limit, wanted),
        None => match read("self") {
            Some(limit) => judge_descriptors("a relay that is started like this command", limit, wanted),
            None => Finding::skipped("descriptors", "there is no /proc"),
        },
    }
}

/// The hard limit of open files in `/proc/PID/limits`.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn judge_descriptors(who: &str, limit: u64, wanted: u64) -> Finding {
    const CHECK: &str = "descriptors";
    let clients = limit.saturating_sub(64);
    if clients < wanted {
        return Finding::failure(
            CHECK,
            format!(
                "{who} may open {limit} files, too few for limits.connections = {wanted}: set LimitNOFILE={}",
                wanted + 64
            ),
        );
    }
    if limit < FEW_FILES {
        return Finding::warning(
            CHECK,
            format!(
                "{who} may open {limit} files, so {clients} connections at most: set LimitNOFILE= in relay.service"
            ),
        );
    }
    Finding::ok(CHECK, format!("{who} may open {limit} files"))
}

/// What the wall clock is ahead of the time since the machine started; a jump of the wall clock changes it.
pub fn offset() -> Option<i128> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call only writes the structure, which is on this stack.
    #[allow(unsafe_code)]
    let result = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    #[allow(clippy::useless_conversion)]
    let booted = i128::from(time.tv_sec) * 1_000_000 + i128::from(time.tv_nsec) / 1000;
    (result == 0).then(|| i128::from(unix_micros()) - booted)
}

/// The clock: whether the kernel knows that it is kept, and whether it has jumped since `before`.
pub fn clock(before: Option<i128>) -> Finding {
    let jump = before.zip(offset()).map_or(0, |(before, after)| after - before);
    judge_clock(unix_micros() / 1_000_000, is_synchronised(), jump)
}

/// Whether something keeps the clock, as the kernel knows it; `None` if it does not say.
fn is_synchronised() -> Option<bool> {
    // SAFETY: without modes the call only writes the structure, which is on this stack and may be all zeros.
    #[allow(unsafe_code)]
    let (state, status) = unsafe {
        let mut time: libc::timex = core::mem::zeroed();
        (libc::adjtimex(&raw mut time), time.status)
    };
    (state >= 0).then_some(status & libc::STA_UNSYNC == 0)
}

fn judge_clock(unix: u64, synchronised: Option<bool>, jump: i128) -> Finding {
    const CHECK: &str = "clock";
    if unix < OLDEST {
        return Finding::failure(CHECK, "the clock is years behind: hmac signatures and certificates are refused");
    }
    if jump.abs() > MOST_JUMP {
        let seconds = jump as f64 / 1e6;
        return Finding::warning(
            CHECK,
            format!("the clock has jumped by {seconds:.1} s during the checks: something sets it"),
        );
    }
    match synchronised {
        Some(false) => Finding::warning(
            CHECK,
            "nothing keeps the clock (the kernel says: not synchronised): signatures with hmac-sha256 are refused once it is \
             wrong by sign_window. Install chrony or systemd-timesyncd",
        ),
        Some(true) => Finding::ok(CHECK, "the clock is kept by NTP"),
        None => Finding::ok(CHECK, "the clock does not jump; the kernel does not say whether NTP keeps it"),
    }
}

/// Free space of the message log.
pub fn disk(dir: &str) -> Finding {
    const CHECK: &str = "disk";
    if dir.is_empty() {
        return Finding::ok(CHECK, "not used: there is no message log");
    }
    // relay makes the folder.
    let there = Path::new(dir).ancestors().find(|path| path.exists()).map_or(PathBuf::from("."), Path::to_path_buf);
    match free(&there) {
        Ok(space) => judge_disk(dir, space),
        Err(error) => Finding::failure(CHECK, format!("the file system of {dir} does not answer: {error}")),
    }
}

/// The free space of a file system.
#[derive(Clone, Copy, Debug)]
struct Space {
    bytes: u64,
    total: u64,
    /// Files that can be made; `None`: there is no limit.
    files: Option<u64>,
}

fn free(path: &Path) -> io::Result<Space> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path ends with NUL and outlives the call, which writes the structure only, which may be all zeros.
    #[allow(unsafe_code)]
    let (result, space) = unsafe {
        let mut space: libc::statvfs = core::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &raw mut space), space)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    #[allow(clippy::useless_conversion)]
    let (unit, bytes, total) = (u64::from(space.f_frsize), u64::from(space.f_bavail), u64::from(space.f_blocks));
    #[allow(clippy::useless_conversion)]
    let files = (space.f_files > 0).then(|| u64::from(space.f_favail));
    Ok(Space { bytes: bytes.saturating_mul(unit), total: total.saturating_mul(unit), files })
}

fn judge_disk(dir: &str, space: Space) -> Finding {
    const CHECK: &str = "disk";
    let free = size(space.bytes);
    if space.bytes < 16 << 20 || space.files == Some(0) {
        let what = if space.files == Some(0) { "no file can be made".to_owned() } else { format!("{free} are free") };
        return Finding::failure(
            CHECK,
            format!("the disk of {dir} is full ({what}): lines of the message log are lost"),
        );
    }
    if space.bytes < 1 << 30 && space.bytes < space.total / 10 {
        let text = format!("the disk of {dir} has {free} left: lower message_log.total or message_log.retention_days");
        return Finding::warning(CHECK, text);
    }
    Finding::ok(CHECK, format!("{free} are free for the message log in {dir}"))
}

/// The memory that relay may take, against what the machine has, and against what it takes: the numbers of `/metrics`, if
/// relay has answered with them.
pub fn memory(config: &Config, metrics: Option<&str>) -> Finding {
    // Half of what the process can have.
    let default = Pressure::new().default;
    let limit = if config.limits.memory == 0 { default } else { config.limits.memory };
    let value = |name: &str| metrics?.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    judge_memory(
        value("relay_memory_limit_bytes ").unwrap_or(limit),
        default.saturating_mul(2),
        value("relay_memory_bytes "),
    )
}

fn judge_memory(limit: u64, available: u64, used: Option<u64>) -> Finding {
    const CHECK: &str = "memory";
    let (most, machine) = (size(limit), size(available));
    if limit > available {
        return Finding::failure(
            CHECK,
            format!(
                "limits.memory is {most}, but this machine or cgroup has {machine}: the kernel would end relay first"
            ),
        );
    }
    match used {
        Some(used) if used > limit / 5 * 4 => Finding::warning(
            CHECK,
            format!(
                "relay takes {} of {most} that limits.memory allows: at the limit it drops slow clients",
                size(used)
            ),
        ),
        Some(used) => Finding::ok(CHECK, format!("relay takes {} of {most} that it may take", size(used))),
        None => Finding::ok(CHECK, format!("relay may take {most} of {machine}")),
    }
}

/// A number of bytes in words.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..10_737_418_240 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

/// How long to look whether the clock jumps.
pub const WATCHED: Duration = Duration::from_millis(200);
const FEW_FILES: u64 = 4096;
/// 2026-01-01.
const OLDEST: u64 = 1_767_225_600;
/// Microseconds that reading two clocks, or slewing one of them, may bring.
const MOST_JUMP: i128 = 200_000;

#[cfg(test)]
mod tests {
    use super::{super::finding::Level, *};

    #[test]
    fn limits_of_descriptors() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(open_files(text), Some(524_288));
        assert_eq!(judge_descriptors("relay", 524_288, 0).level, Level::Ok);
        assert_eq!(judge_descriptors("relay", 1024, 0).level, Level::Warning);
        assert_eq!(judge_descriptors("relay", 10_000, 10_000).level, Level::Failure);
        assert_eq!(judge_descriptors("relay", 10_064, 10_000).level, Level::Ok);
        assert!(open_files(&fs::read_to_string("/proc/self/limits").unwrap()).is_some());
    }

    #[test]
    fn clocks() {
        assert_eq!(judge_clock(OLDEST, Some(true), 0).level, Level::Ok);
        assert_eq!(judge_clock(OLDEST, None, 1000).level, Level::Ok);
        assert_eq!(judge_clock(OLDEST, Some(false), 0).level, Level::Warning);
        assert!(judge_clock(OLDEST, Some(true), -3_000_000).text.contains("jumped by -3.0 s"));
        assert_eq!(judge_clock(1000, Some(true), 0).level, Level::Failure);
        assert!(clock(offset()).level != Level::Failure);
    }

    #[test]
    fn disks() {
        let level =
            |bytes: u64, total: u64, files: Option<u64>| judge_disk("/log", Space { bytes, total, files }).level;
        assert_eq!(level(2 << 30, 100 << 30, None), Level::Ok);
        assert_eq!(level(200 << 20, 100 << 30, Some(5)), Level::Warning);
        assert_eq!(level(200 << 20, 1 << 30, Some(5)), Level::Ok);
        assert_eq!(level(1 << 20, 1 << 30, Some(5)), Level::Failure);
        assert_eq!(level(2 << 30, 100 << 30, Some(0)), Level::Failure);
        assert!(free(Path::new("/")).unwrap().total > 0);
    }

    #[test]
    fn memory_of_relay() {
        assert_eq!(judge_memory(1 << 30, 2 << 30, None).level, Level::Ok);
        assert_eq!(judge_memory(1 << 30, 2 << 30, Some(1 << 20)).level, Level::Ok);
        assert_eq!(judge_memory(1 << 30, 2 << 30, Some(900 << 20)).level, Level::Warning);
        assert_eq!(judge_memory(4 << 30, 2 << 30, None).level, Level::Failure);
        let metrics = "# HELP x\nrelay_memory_bytes 900\nrelay_memory_limit_bytes 1000\n";
        assert_eq!(memory(&Config::default(), Some(metrics)).level, Level::Warning);
    }
}
