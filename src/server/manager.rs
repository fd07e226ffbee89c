//! The service manager, which receives messages as datagrams (`sd_notify(3)`).
//!
//! A message never blocks the event loop: a manager that does not read must not stop relay. A message that the socket does
//! not accept at once is dropped and counted. `READY`, `RELOADING` and `STOPPING` are kept and sent again, because the
//! manager waits for them. The watchdog is reset again after `RETRY`, so that it is fed as soon as the manager reads.

use core::{mem, time::Duration};
use std::{
    env,
    ffi::{OsStr, OsString},
    io::{self, ErrorKind},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

use log::{info, warn};
use sd_notify::NotifyState;

/// The service manager, if there is one.
pub struct Manager {
    /// The interval of status messages: a third of the watchdog's timeout, at most 5 s. `None` without a manager.
    pub interval: Option<Duration>,
    /// `NOTIFY_SOCKET`.
    name: OsString,
    /// Opened when the first message is sent.
    socket: Option<UnixDatagram>,
    /// Messages that the manager waits for and has not received, in their order: at most [`NotifyState::Reloading`] and
    /// the one after it. An earlier state does not matter once there is a later one.
    unsent: Vec<String>,
    /// Messages that were dropped since the last one that was sent.
    dropped: u64,
}

impl Manager {
    /// Reads `NOTIFY_SOCKET` and the watchdog's timeout from the environment.
    pub fn find() -> Manager {
        let name = env::var_os("NOTIFY_SOCKET");
        let watchdog = sd_notify::watchdog_enabled().map(|limit| limit / 3);
        let interval = watchdog.map_or(STATUS_INTERVAL, |limit| limit.min(STATUS_INTERVAL));
        let interval = name.as_ref().map(|_| interval.max(Duration::from_millis(10)));
        Manager { interval, ..Manager::new(name.unwrap_or_default()) }
    }

    fn new(name: OsString) -> Manager {
        Manager { interval: None, name, socket: None, unsent: Vec::new(), dropped: 0 }
    }

    /// Sends that relay is ready, reloading or stopping. If the manager does not accept it, this returns when to call
    /// [`Manager::send_status`], which sends it again.
    pub fn send_state(&mut self, state: &[NotifyState<'_>]) -> Option<Duration> {
        let interval = self.interval?;
        // What comes after RELOADING must not replace it: the manager takes the two as a pair.
        let reloading = |message: &String| message.starts_with("RELOADING=1");
        if !(self.unsent.len() == 1
            && reloading(&self.unsent[0])
            && !matches!(state.first(), Some(NotifyState::Reloading)))
        {
            self.unsent.clear();
        }
        self.unsent.push(text(state));
        (!self.send_unsent()).then(|| interval.min(RETRY))
    }

    /// Sends a status message and resets the watchdog, after messages that the manager has not received yet. Returns when
    /// the next one is due.
    pub fn send_status(&mut self, status: &str) -> Option<Duration> {
        let interval = self.interval?;
        let state = text(&[NotifyState::Watchdog, NotifyState::Status(status)]);
        let sent = self.send_unsent() && self.send(&state);
        Some(if sent { interval } else { interval.min(RETRY) })
    }

    /// Whether all messages are sent that the manager waits for.
    fn send_unsent(&mut self) -> bool {
        let mut unsent = mem::take(&mut self.unsent);
        let sent = unsent.iter().take_while(|message| self.send(message)).count();
        unsent.drain(..sent);
        self.unsent = unsent;
        self.unsent.is_empty()
    }

    /// Whether the manager accepts a message. The first of several failures is logged.
    fn send(&mut self, message: &str) -> bool {
        match self.try_send(message) {
            Ok(()) => {
                let dropped = mem::take(&mut self.dropped);
                if dropped > 0 {
                    info!("the service manager accepts messages again: {dropped} were not accepted before");
                }
                true
            }
            Err(error) => {
                let why = match error.kind() {
                    ErrorKind::WouldBlock => String::from("it does not read its socket"),
                    _ => error.to_string(),
                };
                if self.dropped == 0 {
                    warn!(
                        "cannot notify the service manager ({}): {why}; relay goes on and tries again",
                        self.name.display()
                    );
                }
                self.dropped += 1;
                false
            }
        }
    }

    fn try_send(&mut self, message: &str) -> io::Result<()> {
        if self.socket.is_none() {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            self.socket = Some(socket);
        }
        let socket = self.socket.as_ref().ok_or(ErrorKind::NotFound)?;
        // By its address each time: a manager that starts again binds a new socket there.
        socket.send_to_addr(message.as_bytes(), &address(&self.name)?).map(drop)
    }
}

/// The address in `NOTIFY_SOCKET`: a path, or `@` and the name of an abstract socket (`unix(7)`).
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(name),
    }
}

fn text(state: &[NotifyState<'_>]) -> String {
    state.iter().fold(String::new(), |all, state| all + &state.to_string() + "\n")
}

/// The longest interval between two status messages.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);
/// How long after a dropped message the next one is sent.
const RETRY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(name: &str) -> Manager {
        Manager { interval: Some(STATUS_INTERVAL), ..Manager::new(name.into()) }
    }

    /// A manager that does not read: its queue is full after a few messages.
    #[test]
    fn a_full_queue_drops_messages_and_keeps_states() {
        let name = format!("relay-manager-{}", std::process::id());
        let reader = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let mut manager = manager(&format!("@{name}"));
        manager.send_state(&[NotifyState::Ready]);
        let begun = (0..100_000).take_while(|_| manager.send_status("fine") == Some(STATUS_INTERVAL)).count();
        assert!(begun < 100_000, "the queue has a limit");
        assert_eq!(manager.send_status("fine"), Some(RETRY), "the watchdog is reset soon");
        for _ in 0..3 {
            manager.send_state(&[NotifyState::Reloading, NotifyState::MonotonicUsec(1)]);
            manager.send_state(&[NotifyState::Ready]);
        }
        assert_eq!(manager.dropped, 2 + 3 * 2);
        assert_eq!(manager.unsent, ["RELOADING=1\nMONOTONIC_USEC=1\n", "READY=1\n"]);
        reader.set_nonblocking(true).unwrap();
        let read = || -> Vec<String> {
            let mut buffer = [0; 100];
            let next = || reader.recv(&mut buffer).ok().map(|length| String::from_utf8_lossy(&buffer[..length]).into());
            std::iter::from_fn(next).collect()
        };
        let first = read();
        assert_eq!((first.len(), &*first[0]), (begun + 1, "READY=1\n"));
        assert_eq!(manager.send_status("fine"), Some(STATUS_INTERVAL));
        assert_eq!(read(), ["RELOADING=1\nMONOTONIC_USEC=1\n", "READY=1\n", "WATCHDOG=1\nSTATUS=fine\n"]);
        assert_eq!((manager.dropped, manager.unsent.len()), (0, 0));
    }

    #[test]
    fn the_last_state_counts() {
        let mut manager = manager("/nowhere/at/all");
        manager.send_state(&[NotifyState::Ready]);
        manager.send_state(&[NotifyState::Reloading]);
        manager.send_state(&[NotifyState::Stopping]);
        assert_eq!(manager.unsent, ["RELOADING=1\n", "STOPPING=1\n"]);
        manager.send_state(&[NotifyState::Stopping]);
        assert_eq!(manager.unsent, ["STOPPING=1\n"]);
        assert!(address(OsStr::new(&"x".repeat(200))).is_err(), "too long for an address");
    }
}
