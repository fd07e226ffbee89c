//! The environment of the process: signals, descriptors, the admin token, randomness.

use core::sync::atomic::{AtomicBool, Ordering};
use std::{
    env, fs,
    io::{self, Read, Write},
    net::UdpSocket,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
};

use log::{info, warn};
use mio::{Interest, Registry, Token, net::UnixStream};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::logger;
use crate::{config::Config, sign::to_hex};

/// Received signals, as flags and a socket that becomes readable.
pub struct Signals {
    wake: UnixStream,
    terminate: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Signals {
    /// Installs handlers for SIGTERM, SIGINT and SIGHUP.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Signals> {
        let (mut wake, wakes) = UnixStream::pair()?;
        let (terminate, reload) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let wakes = std::os::unix::net::UnixStream::from(std::os::fd::OwnedFd::from(wakes));
        for (signal, flag) in [(SIGTERM, &terminate), (SIGINT, &terminate), (SIGHUP, &reload)] {
            signal_hook::flag::register(signal, flag.clone())?;
            signal_hook::low_level::pipe::register(signal, wakes.try_clone()?)?;
        }
        // A write beyond RLIMIT_FSIZE (the log on standard error, the message log) must fail and not end the process.
        signal_hook::flag::register(libc::SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
        registry.register(&mut wake, token, Interest::READABLE)?;
        Ok(Signals { wake, terminate, reload })
    }

    /// Whether a signal since the last call asks to terminate, and whether one asks to reload.
    pub fn poll(&mut self) -> (bool, bool) {
        while self.wake.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
        (self.terminate.swap(false, Ordering::Relaxed), self.reload.swap(false, Ordering::Relaxed))
    }
}

/// Raises the soft limit of open descriptors to the hard limit. Returns the limit in force afterwards.
#[allow(unsafe_code)]
pub fn raise_descriptors() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only read or write the structure they are given, which is on this stack.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return 1024;
        }
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) == 0 {
            limit.rlim_cur = limit.rlim_max;
        }
    }
    // 32 bits wide in the glibc of 32-bit processors.
    #[allow(clippy::useless_conversion)]
    u64::from(limit.rlim_cur)
}

/// The CPU time that the process has used, in microseconds (`clock_gettime(2)`).
#[allow(unsafe_code)]
pub fn cpu_micros() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call only writes the structure it is given, which is on this stack.
    if unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) } != 0 {
        return 0;
    }
    // Their widths differ between processors.
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

/// The admin token: the configured one, or a random one. A random token is written to `admin.token` in the runtime
/// directory if a service manager provides one, and to the log otherwise.
pub fn admin_token(config: &Config) -> String {
    if let Some(token) = &config.admin_token {
        return token.expose().to_owned();
    }
    let token = to_hex(&random::<16>());
    // The first of several directories (`systemd.exec(5)`, `RuntimeDirectory=`).
    let folders = env::var_os("RUNTIME_DIRECTORY").filter(|_| env::var_os("NOTIFY_SOCKET").is_some());
    let folder = folders.as_ref().and_then(|folders| env::split_paths(folders).next());
    if let Some(path) = folder.map(|folder| folder.join(TOKEN_FILE)) {
        match write_token(&path, &token) {
            Ok(()) => {
                info!("the admin token is in {}", path.display());
                return token;
            }
            Err(error) => warn!("cannot write the admin token to {}: {error}", path.display()),
        }
    }
    let line = format!("the admin token is {token} (set [admin] token to choose it)");
    // Printed at every log level: the log is the only place where this token can be read.
    if log::max_level() < log::LevelFilter::Info {
        logger::print(&line);
    } else {
        info!(target: logger::SECRETS, "{line}");
    }
    token
}

/// The name of the file with a random token in the runtime directory.
pub const TOKEN_FILE: &str = "admin.token";

fn write_token(path: &Path, token: &str) -> io::Result<()> {
    // A new file, so that it does not keep the mode of an old one.
    let _ = fs::remove_file(path);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{token}")
}

/// The address of the interface with the default route, or the loopback address without a route. Sends nothing:
/// connecting a UDP socket only chooses its local address.
pub fn server_ip() -> String {
    let route = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    };
    route().map_or_else(|_: io::Error| "127.0.0.1".into(), |address| address.ip().to_string())
}

/// Random bytes from the kernel.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel provides random numbers");
    bytes
}
