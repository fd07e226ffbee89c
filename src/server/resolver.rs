//! Name resolution on a separate thread, because the system's resolver may block for seconds.

use core::time::Duration;
use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::{Arc, OnceLock},
    thread,
};

use mio::Waker;

use crate::clock::Time;

/// The result of a look-up.
type Found = io::Result<Vec<SocketAddr>>;

/// The known addresses of one server.
#[derive(Default)]
pub struct Resolver {
    /// Its addresses; below, the index of the one to try next, and when they expire.
    found: Vec<SocketAddr>,
    next: usize,
    fresh_until: Time,
    /// The look-up in progress, and its deadline: `None` once that has passed.
    finding: Option<(Arc<OnceLock<Found>>, Option<Time>)>,
    /// If the last look-up failed: the error, and when the next one may start.
    lost: Option<(String, Time)>,
}

impl Resolver {
    /// The address to connect to. `None` while a look-up is in progress, which may take `patience`; its thread wakes
    /// the event loop through `waker` when it ends.
    pub fn find(
        &mut self,
        host: &str,
        port: u16,
        patience: Duration,
        now: Time,
        waker: &mut dyn FnMut() -> io::Result<Arc<Waker>>,
    ) -> Option<io::Result<SocketAddr>> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Some(Ok(SocketAddr::new(ip, port)));
        }
        if let Some((why, until)) = &self.lost
            && now < *until
        {
            return Some(self.known().ok_or_else(|| io::Error::other(why.clone())));
        }
        self.lost = None;
        if let Some((finding, until)) = &mut self.finding {
            match finding.get() {
                Some(Ok(found)) if !found.is_empty() => {
                    (self.found, self.next) = (found.clone(), 0);
                    self.fresh_until = now.after(FRESH);
                }
                Some(found) => {
                    let why = match found {
                        Ok(_) => format!("{host} has no address"),
                        Err(error) => error.to_string(),
                    };
                    self.finding = None;
                    self.lost = Some((why.clone(), now.after(LOST)));
                    return Some(self.known().ok_or_else(|| io::Error::other(why)));
                }
                // The thread cannot be stopped, and may still find the address for a later call.
                None if until.is_none_or(|until| now >= until) => {
                    *until = None;
                    let late = || io::Error::new(ErrorKind::TimedOut, format!("the look-up of {host} timed out"));
                    return Some(self.known().ok_or_else(late));
                }
                None => return None,
            }
            self.finding = None;
        }
        if let Some(known) = self.known().filter(|_| now < self.fresh_until) {
            return Some(Ok(known));
        }
        let finding = Arc::new(OnceLock::new());
        let (name, found_by_it) = (host.to_owned(), finding.clone());
        let find = waker().and_then(|waker| {
            thread::Builder::new().name("resolver".into()).stack_size(STACK).spawn(move || {
                let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
                let _ = found_by_it.set(found);
                let _ = waker.wake();
            })
        });
        match find {
            Ok(_) => {
                self.finding = Some((finding, Some(now.after(patience))));
                None
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// The deadline of the look-up in progress, if there is one.
    pub fn finding_until(&self) -> Option<Time> {
        self.finding.as_ref().and_then(|(_, until)| *until)
    }

    /// The next of the addresses of the last look-up that succeeded: while the name cannot be resolved, they are better
    /// than none.
    fn known(&self) -> Option<SocketAddr> {
        self.found.get(self.next % self.found.len().max(1)).copied()
    }

    /// Moves on after a connection to `address` failed or ended: to the next address, or to a new look-up after the last
    /// one. Does nothing if another connection has done so already.
    pub fn leave(&mut self, address: SocketAddr) {
        if self.known() == Some(address) {
            self.next += 1;
            if self.next >= self.found.len() {
                self.fresh_until = Time::START;
            }
        }
    }
}

/// How long addresses are used without another look-up.
const FRESH: Duration = Duration::from_secs(60);
/// How long to wait after a failed look-up before the next one.
const LOST: Duration = Duration::from_secs(1);
/// Bytes of stack of the look-up's thread.
const STACK: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    /// A look-up that timed out no longer has a deadline, but its result is used when it arrives.
    #[test]
    fn a_slow_look_up() {
        let finding = Arc::new(OnceLock::new());
        let mut resolver = Resolver { finding: Some((finding.clone(), Some(at(5)))), ..Resolver::default() };
        let find = |resolver: &mut Resolver, now| {
            let mut waker = || Err(ErrorKind::Unsupported.into());
            resolver.find("redis.lan", 6379, Duration::from_secs(5), now, &mut waker)
        };
        assert!(find(&mut resolver, at(4)).is_none());
        assert_eq!(resolver.finding_until(), Some(at(5)));
        for late in [5, 6, 60] {
            let found = find(&mut resolver, at(late)).unwrap();
            assert_eq!(found.unwrap_err().kind(), ErrorKind::TimedOut);
            assert_eq!(resolver.finding_until(), None);
        }
        let address: SocketAddr = "192.0.2.7:6379".parse().unwrap();
        finding.set(Ok(vec![address])).unwrap();
        assert_eq!(find(&mut resolver, at(61)).unwrap().unwrap(), address);
    }

    /// Two connections that leave an address move on once; after the last address, the name is resolved again. If that
    /// fails, the known addresses are tried again.
    #[test]
    fn addresses_in_turn() {
        let address = |last: u8| SocketAddr::from(([192, 0, 2, last], 6379));
        let finding = Arc::new(OnceLock::new());
        let mut resolver = Resolver { finding: Some((finding.clone(), Some(at(5)))), ..Resolver::default() };
        let mut asked = 0;
        let mut find = |resolver: &mut Resolver, now| {
            let mut waker = || {
                asked += 1;
                Err(ErrorKind::Unsupported.into())
            };
            resolver.find("redis.lan", 6379, Duration::from_secs(5), now, &mut waker).unwrap().ok()
        };
        finding.set(Ok(vec![address(1), address(2)])).unwrap();
        assert_eq!(find(&mut resolver, at(1)), Some(address(1)));
        resolver.leave(address(1));
        resolver.leave(address(1));
        assert_eq!(find(&mut resolver, at(1)), Some(address(2)));
        resolver.leave(address(2));
        assert_eq!(find(&mut resolver, at(1)), None, "a new look-up, which cannot start");
        resolver.lost = Some(("no such name".into(), at(9)));
        assert_eq!(find(&mut resolver, at(2)), Some(address(1)));
        assert_eq!(asked, 1);
    }
}
