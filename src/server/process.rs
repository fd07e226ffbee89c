//! The process around the loop: configuration files, the log, signals, descriptors, the service manager.

use core::sync::atomic::{AtomicBool, Ordering};
use std::{
    env, fs, io,
    io::Write,
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

/// A configuration that cannot be used: lines to show, each `FILE:LINE:COLUMN: …` where there is a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadConfig(pub Vec<String>);

impl Origin {
    /// `--config`, else `RELAY_CONFIG`, else the system's file if it is there, else the demo setting.
    pub fn find(option: Option<PathBuf>) -> Origin {
        let variable = || env::var_os("RELAY_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        let system = || Some(PathBuf::from("/etc/relay/relay.toml")).filter(|path| path.exists());
        option.or_else(variable).or_else(system).map_or(Origin::Demo, Origin::File)
    }

    /// Reads and checks it, with the files it names.
    pub fn load(&self) -> Result<Config, BadConfig> {
        let Origin::File(path) = self else { return Ok(Config::demo()) };
        let shown = path.display();
        let text = fs::read_to_string(path).map_err(|error| BadConfig(vec![format!("{shown}: {error}")]))?;
        let beside = path.parent().unwrap_or(Path::new("."));
        let mut read = |file: &Path| fs::read_to_string(secret_path(file, beside)).map_err(|error| error.to_string());
        config::parse(&text, &mut read)
            .map_err(|problems| BadConfig(problems.iter().map(|problem| format!("{shown}:{problem}")).collect()))
    }
}

/// A relative name is a credential of the service (`systemd.exec(5)`, `LoadCredential=`) if there is one of that name,
/// else it stands beside the configuration.
fn secret_path(file: &Path, beside: &Path) -> PathBuf {
    if file.is_absolute() {
        return file.into();
    }
    let credential = env::var_os("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join(file));
    credential.filter(|path| path.exists()).unwrap_or_else(|| beside.join(file))
}

/// Signals, as flags and a socket that becomes readable.
pub struct Signals {
    wake: UnixStream,
    terminate: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGHUP.
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

    /// What came since the last time: whether to terminate, and whether to reload.
    pub fn poll(&mut self) -> (bool, bool) {
        while io::Read::read(&mut self.wake, &mut [0; 64]).is_ok_and(|read| read > 0) {}
        (self.terminate.swap(false, Ordering::Relaxed), self.reload.swap(false, Ordering::Relaxed))
    }
}

/// The service manager, if there is one (`sd_notify(3)`).
pub struct Manager {
    /// How often it wants to hear something; none without a manager.
    pub interval: Option<Duration>,
}

impl Manager {
    /// Looks for a manager and its watchdog.
    pub fn find() -> Manager {
        let there = env::var_os("NOTIFY_SOCKET").is_some();
        let watchdog = sd_notify::watchdog_enabled().map(|limit| limit / 3);
        let interval = watchdog.map_or(STATUS_INTERVAL, |limit| limit.min(STATUS_INTERVAL));
        Manager { interval: there.then_some(interval.max(Duration::from_millis(10))) }
    }

    /// Tells it something.
    pub fn tell(&self, state: &[NotifyState<'_>]) {
        if self.interval.is_some()
            && let Err(error) = sd_notify::notify(state)
        {
            warn!("the service manager was not told: {error}");
        }
    }
}

/// Raises the soft limit of descriptors to the hard one, and says how many there may be.
#[allow(unsafe_code)]
pub fn raise_descriptors() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only read or write the structure they are given, which lives here.
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

/// The admin token: the configured one, or one made now and said in the log or, under a service manager, written where
/// only the operator can read it.
pub fn admin_token(config: &Config) -> String {
    if let Some(token) = &config.admin_token {
        return token.expose().to_owned();
    }
    let token = to_hex(&random::<16>());
    // Of several directories the first (`systemd.exec(5)`, `RuntimeDirectory=`).
    let folders = env::var_os("RUNTIME_DIRECTORY").filter(|_| env::var_os("NOTIFY_SOCKET").is_some());
    let folder = folders.as_ref().and_then(|folders| env::split_paths(folders).next());
    if let Some(path) = folder.map(|folder| folder.join("admin.token")) {
        match write_token(&path, &token) {
            Ok(()) => {
                info!("the admin token is in {}", path.display());
                return token;
            }
            Err(error) => warn!("the admin token could not be written to {}: {error}", path.display()),
        }
    }
    let said = format!("the admin token is {token} (set [admin] token to choose it)");
    // Whatever the level: who does not see it cannot use it.
    if log::max_level() < log::LevelFilter::Info {
        eprintln!("{said}");
    } else {
        info!("{said}");
    }
    token
}

fn write_token(path: &Path, token: &str) -> io::Result<()> {
    // Anew each time, so that an old file's looser mode does not stay.
    let _ = fs::remove_file(path);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{token}")
}

/// This machine's address as others see it: the one from which it would reach the internet. Nothing is sent; without a
/// way out it is the loopback address.
pub fn server_ip() -> String {
    let route = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    };
    route().map_or_else(|_: io::Error| "127.0.0.1".into(), |address| address.ip().to_string())
}

/// Bytes nobody can guess.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel has random numbers");
    bytes
}

/// How often the status line is renewed.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);
