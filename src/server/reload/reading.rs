//! The thread that reads a new configuration.

use core::{mem, time::Duration};
use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, Receiver, TryRecvError},
    },
    thread,
};

use mio::Waker;

use crate::{
    clock::Time,
    config::{Changes, changes::Source},
    key::ConnKey,
    server::config_file::{BadConfig, Loaded},
};

/// The result of a reading: the configuration, and how it differs from the one in force.
pub type Read = Result<Box<(Loaded, Changes)>, BadConfig>;

/// The reading of a new configuration.
#[derive(Default)]
pub struct Reload {
    reading: Option<Reading>,
    /// Whether a SIGHUP arrived while a configuration was being read.
    again: bool,
    /// The configuration in force.
    pub in_force: Arc<Source>,
    /// Requests that are answered with the result of the reading.
    waiting: Vec<ConnKey>,
    /// Requests for the reading after it.
    next: Vec<ConnKey>,
}

struct Reading {
    result: Receiver<Read>,
    /// `None` once it has passed: the result is dropped when it arrives.
    until: Option<Time>,
}

/// The progress of a reading.
pub enum Progress {
    /// It has a result in time.
    Done(Read),
    /// It takes too long. The thread cannot be stopped.
    Late,
    /// The thread ended after its time.
    TooLate,
}

impl Reload {
    /// No reading yet; `in_force` is the configuration of the start.
    pub fn new(in_force: Source) -> Reload {
        Reload { in_force: Arc::new(in_force), ..Reload::default() }
    }

    /// Starts a thread that calls `load`, unless one is still running: then [`Reload::poll`] asks for another one after it.
    pub fn begin(
        &mut self,
        load: impl FnOnce() -> Read + Send + 'static,
        now: Time,
        waker: impl FnOnce() -> io::Result<Arc<Waker>>,
    ) -> io::Result<()> {
        if self.reading.is_some() {
            self.again = true;
            return Ok(());
        }
        let (sender, result) = mpsc::sync_channel(1);
        let waker = waker()?;
        thread::Builder::new().name("config".into()).spawn(move || {
            // An error means that relay has stopped.
            let _ = sender.send(load());
            let _ = waker.wake();
        })?;
        self.reading = Some(Reading { result, until: Some(now.after(PATIENCE)) });
        self.waiting.append(&mut self.next);
        Ok(())
    }

    /// Remembers a request that waits for the next reading. Returns `false` if too many wait.
    pub fn add_waiting(&mut self, conn: ConnKey) -> bool {
        let fits = self.waiting.len() + self.next.len() < MAX_WAITING;
        if fits {
            self.next.push(conn);
        }
        fits
    }

    /// The requests to answer with the result of the reading; if none is in progress, all.
    pub fn take_waiting(&mut self) -> Vec<ConnKey> {
        let mut waiting = mem::take(&mut self.waiting);
        if self.reading.is_none() && !self.again {
            waiting.append(&mut self.next);
        }
        waiting
    }

    /// The progress since the last call, if there is any.
    pub fn poll(&mut self, now: Time) -> Option<Progress> {
        let reading = self.reading.as_mut()?;
        match (reading.result.try_recv(), reading.until) {
            (Ok(read), Some(_)) => {
                self.reading = None;
                Some(Progress::Done(read))
            }
            (Ok(_) | Err(TryRecvError::Disconnected), _) => {
                self.reading = None;
                Some(Progress::TooLate)
            }
            (Err(TryRecvError::Empty), Some(until)) if until <= now => {
                reading.until = None;
                Some(Progress::Late)
            }
            (Err(TryRecvError::Empty), _) => None,
        }
    }

    /// Whether a reading has ended and another one was asked for meanwhile; that is then forgotten.
    pub fn take_again(&mut self) -> bool {
        self.reading.is_none() && mem::take(&mut self.again)
    }

    /// When [`Reload::poll`] must be called, even if no thread has ended.
    pub fn deadline(&self) -> Time {
        self.reading.as_ref().and_then(|reading| reading.until).unwrap_or(Time::NEVER)
    }
}

/// How long the configuration may take to be read.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Requests that may wait for readings.
const MAX_WAITING: usize = 16;

#[cfg(test)]
mod tests {
    use mio::{Poll, Token};

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    /// A file system that does not answer: nobody waits, one thread at most is stuck, and what it brings later is dropped.
    #[test]
    fn a_slow_disk() {
        let poll = Poll::new().unwrap();
        let wake = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let (disk, answer) = mpsc::channel();
        let answer = Arc::new(std::sync::Mutex::new(answer));
        let mut reload = Reload::default();
        let begin = |reload: &mut Reload, now| {
            let (answer, wake) = (answer.clone(), wake.clone());
            let load = move || answer.lock().unwrap().recv().unwrap_or_else(|_| Err(BadConfig(Vec::new())));
            reload.begin(load, now, || Ok(wake)).unwrap();
        };
        begin(&mut reload, at(1));
        assert!(reload.poll(at(10)).is_none());
        assert_eq!(reload.deadline(), at(11));
        assert!(matches!(reload.poll(at(11)), Some(Progress::Late)));
        assert!(reload.poll(at(60)).is_none());
        assert_eq!(reload.deadline(), Time::NEVER);
        begin(&mut reload, at(61));
        assert!(reload.again, "it waits for the first thread");
        disk.send(Err(BadConfig(vec!["late".into()]))).unwrap();
        let wait = |reload: &mut Reload, now| loop {
            match reload.poll(now) {
                Some(progress) => return progress,
                None => thread::yield_now(),
            }
        };
        assert!(matches!(wait(&mut reload, at(62)), Progress::TooLate));
        begin(&mut reload, at(62));
        disk.send(Err(BadConfig(vec!["in time".into()]))).unwrap();
        let Progress::Done(Err(BadConfig(lines))) = wait(&mut reload, at(63)) else { panic!("it is in time") };
        assert_eq!(lines, ["in time"]);
        assert!(reload.poll(at(64)).is_none());
    }
}
