//! Finding a server by its name, on a thread of its own: the system's resolver may take seconds.

use core::time::Duration;
use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::{Arc, OnceLock},
    thread,
};

use mio::Waker;

use crate::clock::Time;

/// What a search ends with.
type Found = io::Result<Vec<SocketAddr>>;

/// Where a server is, as far as it is known.
#[derive(Default)]
pub struct Resolver {
    /// Its addresses, which of these is tried next, and until when they are believed.
    found: Vec<SocketAddr>,
    next: usize,
    fresh_until: Time,
    /// A search for it, and how long anybody waits for that; nobody does any more if it took too long.
    finding: Option<(Arc<OnceLock<Found>>, Option<Time>)>,
    /// Why it was not found, and until when nobody looks again.
    lost: Option<(String, Time)>,
}

impl Resolver {
    /// Where to connect; nothing while the name is being found, at the end of which `waker` is called.
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
            return Some(Err(io::Error::other(why.clone())));
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
                    return Some(Err(io::Error::other(why)));
                }
                // It may still be found; until then nobody waits longer.
                None if until.is_none_or(|until| now >= until) => {
                    *until = None;
                    return Some(Err(io::Error::new(ErrorKind::TimedOut, format!("{host} is not found"))));
                }
                None => return None,
            }
            self.finding = None;
        }
        if now < self.fresh_until && !self.found.is_empty() {
            return Some(Ok(self.found[self.next % self.found.len()]));
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

    /// Until when somebody waits for a search, if there is one.
    pub fn finding_until(&self) -> Option<Time> {
        self.finding.as_ref().and_then(|(_, until)| *until)
    }

    /// Nobody is at the address that was found: perhaps another of its addresses answers, or it has moved.
    pub fn try_next(&mut self) {
        self.next += 1;
        if self.next >= self.found.len() {
            self.fresh_until = Time::START;
        }
    }
}

/// How long a name's addresses are believed.
const FRESH: Duration = Duration::from_secs(60);
/// How long nobody looks for a name that was not found.
const LOST: Duration = Duration::from_secs(1);
const STACK: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    /// A search that takes longer than anybody waits is no deadline any more, and may still find something.
    #[test]
    fn a_search_that_takes_long() {
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
}
