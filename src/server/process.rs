//! The environment of the process: configuration files, signals, descriptors, the service manager, randomness.

use core::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};
use std::{
    env, error, fs,
    io::{self, Read, Write},
    net::UdpSocket,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use log::{info, warn};
use mio::{Interest, Registry, Token, net::UnixStream};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::logger;
use crate::{
    config::{self, Config},
    sign::to_hex,
};

/// Where the configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// The built-in demo setting.
    Demo,
}

/// Why a configuration cannot be used: one line for each problem, which begins with `FILE:LINE:COLUMN:` if it has a
/// position in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadConfig(pub Vec<String>);

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl error::Error for BadConfig {}

impl Origin {
    /// The file given by `--config`, otherwise by `RELAY_CONFIG`, otherwise `/etc/relay/relay.toml` if it exists,
    /// otherwise the demo setting.
    pub fn find(option: Option<PathBuf>) -> Origin {
        let variable = || env::var_os("RELAY_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        let system = || Some(PathBuf::from("/etc/relay/relay.toml")).filter(|path| path.exists());
        option.or_else(variable).or_else(system).map_or(Origin::Demo, Origin::File)
    }

    /// Reads and checks the configuration, and the files that it names.
    pub fn load(&self) -> Result<Config, BadConfig> {
        let Origin::File(path) = self else { return Ok(Config::demo()) };
        let shown = path.display();
        let text = fs::read_to_string(path).map_err(|error| BadConfig(vec![format!("{shown}: {error}")]))?;
        let beside = path.parent().unwrap_or(Path::new("."));
        let mut read = |file: &Path| fs::read_to_string(secret_path(file, beside));
        config::parse(&text, &mut read)
            .map_err(|problems| BadConfig(problems.iter().map(|problem| format!("{shown}:{problem}")).collect()))
    }
}

/// The path of a file that the configuration names. A relative path is a credential of the service (`systemd.exec(5)`,
/// `LoadCredential=`) if one has that name, otherwise a file in the directory of the configuration.
fn secret_path(file: &Path, beside: &Path) -> PathBuf {
    if file.is_absolute() {
        return file.into();
    }
    let credential = env::var_os("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join(file));
    credential.filter(|path| path.exists()).unwrap_or_else(|| beside.join(file))
}

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
        registry.register(&mut wake, token, Interest::READABLE)?;
        Ok(Signals { wake, terminate, reload })
    }

    /// Whether a signal since the last call asks to terminate, and whether one asks to reload.
    pub fn poll(&mut self) -> (bool, bool) {
        while self.wake.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
        (self.terminate.swap(false, Ordering::Relaxed), self.reload.swap(false, Ordering::Relaxed))
    }
}

/// The service manager, if there is one (`sd_notify(3)`).
pub struct Manager {
    /// The interval of status messages: a third of the watchdog's timeout, at most 5 s. `None` without a manager.
    pub interval: Option<Duration>,
}

impl Manager {
    /// Reads `NOTIFY_SOCKET` and the watchdog's timeout from the environment.
    pub fn find() -> Manager {
        let there = env::var_os("NOTIFY_SOCKET").is_some();
        let watchdog = sd_notify::watchdog_enabled().map(|limit| limit / 3);
        let interval = watchdog.map_or(STATUS_INTERVAL, |limit| limit.min(STATUS_INTERVAL));
        Manager { interval: there.then_some(interval.max(Duration::from_millis(10))) }
    }

    /// Sends a message to the manager, if there is one.
    pub fn notify(&self, state: &[NotifyState<'_>]) {
        if self.interval.is_some()
            && let Err(error) = sd_notify::notify(state)
        {
            warn!("cannot notify the service manager: {error}");
        }
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
            return limit.rlim_max;
        }
    }
    limit.rlim_cur
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
    if let Some(path) = folder.map(|folder| folder.join("admin.token")) {
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
        info!("{line}");
    }
    token
}

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

/// The longest interval between two status messages.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);
