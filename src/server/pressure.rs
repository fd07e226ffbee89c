//! How much memory the process can have, and the steps that were taken when it ran short.

use std::{fs, path::Path};

use crate::clock::Time;

/// The steps that were taken since the memory ran short.
#[derive(Default)]
pub struct Pressure {
    /// Half of the memory that the process can have.
    pub default: u64,
    /// When to look for something to give up again, after nothing was found.
    pub next: Time,
    /// When the shortage is over, unless the limit is exceeded again.
    pub over: Time,
    /// Whether caches were dropped.
    pub caches: bool,
    /// Whether the end of slow clients was logged.
    pub slow: bool,
    /// Whether the refusal of incomplete input was logged.
    pub input: bool,
    /// Whether the loss of kept messages was logged.
    pub history: bool,
    /// Whether the refusal of connections was logged.
    pub refusing: bool,
}

impl Pressure {
    /// Reads how much memory the process can have.
    pub fn new() -> Pressure {
        Pressure::calm(available() / 2)
    }

    /// Nothing was given up.
    pub fn calm(default: u64) -> Pressure {
        Pressure { default, over: Time::NEVER, ..Pressure::default() }
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
