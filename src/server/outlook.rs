//! What relay would do at start with a configuration, on this machine and for this user: `relay check` says it beforehand.

use core::net::SocketAddr;
use std::{
    ffi::CString,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::FileTypeExt},
    path::Path,
};

use socket2::{Domain, Socket, Type};

use super::{
    listener::{Listener, is_local, resolve},
    options::Options,
    startup,
};
use crate::config::{Address, Config, ListenAddress, Place};

/// What would happen.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Why relay would refuse the configuration.
    pub refused: Vec<String>,
    /// Why relay would fail to listen.
    pub failing: Vec<String>,
    /// What relay starts with, although it is probably a mistake.
    pub warnings: Vec<String>,
}

impl Outlook {
    /// Predicts a start. Names of addresses to listen on are resolved; no port is bound, because a running relay may have it.
    pub fn new(config: &Config, options: &Options) -> Outlook {
        let mut outlook = Outlook::default();
        let addresses = if options.listen.is_empty() { &config.listen } else { &options.listen };
        let risky = startup::forbids_reach(config, options);
        let (mut sockets, mut metrics_sockets) = (0, 0);
        // The TCP sockets so far, with the elements that they come from.
        let mut taken: Vec<(SocketAddr, &ListenAddress)> = Vec::new();
        let all: Vec<&ListenAddress> = addresses.iter().chain(&config.admin_listen).collect();
        for (index, listen) in all.iter().copied().enumerate() {
            let (key, sockets) = match listen.metrics_only {
                true => ("admin.listen", &mut metrics_sockets),
                false => ("listen", &mut sockets),
            };
            match &listen.address {
                Address::Unix(path) => {
                    *sockets += 1;
                    if all[..index].iter().any(|other| other.address == listen.address) {
                        outlook.failing.push(format!("{key}: {listen}: an element before it has this path: keep one"));
                    }
                    outlook.unix(&listen.address, path);
                }
                Address::Tcp(text) => {
                    let found = outlook.tcp(text);
                    *sockets += found.len();
                    if risky && !listen.metrics_only && found.iter().any(|address| !is_local(address.ip())) {
                        outlook.refused.push(startup::exposed(config, text));
                    }
                    let shared = |(known, other): &&(SocketAddr, &ListenAddress)| {
                        (other.proxied, other.tls, other.metrics_only)
                            != (listen.proxied, listen.tls, listen.metrics_only)
                            && found.iter().any(|address| overlap(*known, *address))
                    };
                    if let Some((_, other)) = taken.iter().find(shared) {
                        let why = match () {
                            () if other.metrics_only != listen.metrics_only => {
                                "but it is for clients: use another port"
                            }
                            () if other.tls != listen.tls => "but only one of them expects TLS: use another port",
                            () => "but only one of them expects the PROXY protocol: use another port",
                        };
                        outlook.failing.push(format!("{key}: {listen}: {other} has this port too, {why}"));
                    }
                    taken.extend(found.into_iter().map(|address| (address, listen)));
                }
            }
        }
        let tls = addresses.iter().find(|listen| listen.tls);
        if let Some(listen) = tls.filter(|_| !config.tls.is_used()) {
            outlook.refused.push(startup::no_certificate(listen));
        }
        if config.tls.is_used() && tls.is_none() {
            outlook.warnings.push(startup::UNUSED_CERTIFICATES.into());
        }
        outlook
            .failing
            .extend(Listener::problems(addresses).into_iter().chain(Listener::problems(&config.admin_listen)));
        // A name without an address is reported already.
        if outlook.failing.is_empty() {
            outlook.refused.extend(startup::wrong_count(sockets, metrics_sockets));
        }
        outlook.message_log(&config.message_log.dir);
        if let Some(Place::Unix(path)) = config.hooks.url.as_ref().map(|url| &url.place)
            && config.uses_hooks()
            && !fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
        {
            outlook.warnings.push(format!(
                "hooks.url: there is no socket {} now: calls fail until the backend listens there",
                path.display()
            ));
        }
        outlook
    }

    /// Checks a TCP address. Returns the addresses that it stands for.
    fn tcp(&mut self, text: &str) -> Vec<SocketAddr> {
        if text.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|digit| digit == b'0')) {
            self.warnings.push(format!(
                "listen: {text}: port 0 means a different port at each start, but clients and proxies need a fixed one"
            ));
        }
        let addresses = match resolve(text) {
            Ok(addresses) => addresses,
            Err(error) => {
                self.failing.push(format!("listen: {text}: the name cannot be resolved: {error}"));
                return Vec::new();
            }
        };
        for address in &addresses {
            let mut free = *address;
            free.set_port(0);
            let probe = Socket::new(Domain::for_address(free), Type::STREAM, None);
            match probe.and_then(|probe| probe.bind(&free.into())) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => self.failing.push(format!(
                    "listen: {text}: this machine does not have the address {}; use *:{} to listen on all its addresses",
                    address.ip(),
                    address.port()
                )),
                Err(error) => self.failing.push(format!("listen: {text}: {error}")),
            }
        }
        addresses
    }

    /// Checks the place of a Unix socket.
    fn unix(&mut self, address: &Address, path: &Path) {
        if path.is_relative() {
            self.warnings.push(format!(
                "listen: {address} is relative to the directory in which relay starts: write a path that begins with /"
            ));
        }
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                let why = "a file that is not a socket is there: remove it, or choose another path";
                return self.failing.push(format!("listen: {address}: {why}"));
            }
            // A relay that runs, or one that was killed.
            Ok(_) => return,
            Err(_) => {}
        }
        let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            self.failing
                .push(format!("listen: {address}: the directory {} does not exist: create it", folder.display()));
        } else if let Err(error) = may_write(folder) {
            self.failing.push(format!("listen: {address}: {} {}: {error}", NO_WRITING, folder.display()));
        }
    }

    /// Checks that the message log can be written. relay creates the directory.
    fn message_log(&mut self, dir: &str) {
        self.warnings.extend(log_problem(dir).map(|why| format!("{why}: relay could not write the log")));
    }
}

/// Why the message log cannot be written to a directory, which relay creates. `None` if it can, or if `dir` is empty.
pub fn log_problem(dir: &str) -> Option<String> {
    if dir.is_empty() {
        return None;
    }
    let there = Path::new(dir).ancestors().find(|path| path.exists() || *path == Path::new(""))?;
    let there = if there == Path::new("") { Path::new(".") } else { there };
    if !there.is_dir() {
        return Some(format!("message_log.dir: {} is not a directory", there.display()));
    }
    let error = may_write(there).err()?;
    Some(format!("message_log.dir: {NO_WRITING} {}: {error}", there.display()))
}

/// Whether two sockets on these addresses could get the same connections. `[::]` also stands for IPv4.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |all: SocketAddr, part: SocketAddr| all.ip().is_unspecified() && (all.is_ipv6() || part.is_ipv4());
    let same = one.ip() == other.ip() || covers(one, other) || covers(other, one);
    one.port() == other.port() && one.port() != 0 && same
}

/// Whether this user may create files in a directory.
#[allow(unsafe_code)]
fn may_write(folder: &Path) -> io::Result<()> {
    let path = CString::new(folder.as_os_str().as_bytes())?;
    // SAFETY: the path is a string that ends with NUL and outlives the call, which only reads it.
    let result = unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::W_OK | libc::X_OK, libc::AT_EACCESS) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

const NO_WRITING: &str = "this user cannot create files in";
