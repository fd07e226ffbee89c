//! The message log.

pub mod thread;

use self::thread::*;
use super::event_loop::Server;
use crate::{clock::Time, health::Health};
use log::{error, info};

impl Server {
    /// The first line.
    pub(super) fn record_start(&mut self) {
        let listening: Vec<String> = self.listeners.iter().map(ToString::to_string).collect();
        self.hub.begin_turn(self.now);
        self.hub.log.system("start", |line| {
            line.text("version", env!("CARGO_PKG_VERSION"));
            line.text("listen", &listening.join(" "));
        });
    }

    /// What the thread has done.
    pub(super) fn read_log_thread(&mut self) {
        while let Some(done) = self.log_thread.as_mut().and_then(LogThread::poll_done) {
            self.handle_log_done(done);
        }
    }

    fn handle_log_done(&mut self, done: Done) {
        match done {
            Done::Appended(result) => {
                let failure = result.err().map(|(lost, why)| {
                    self.hub.log.lose(lost);
                    why
                });
                self.judge_disk(failure);
            }
            Done::Read(conn, reply) => self.answer(conn, reply),
        }
    }

    /// How the disk does, said once for each change.
    fn judge_disk(&mut self, failure: Option<String>) {
        let Some(state) = &mut self.log_thread else { return };
        let log = &mut self.hub.log;
        let more = log.lost() > core::mem::replace(&mut state.lost, log.lost());
        let failure = failure.or_else(|| more.then(|| "the disk does not keep up".into()));
        state.retry = if failure.is_some() { self.now.time.after(RETRY) } else { Time::NEVER };
        match (&log.health, failure) {
            (Health::Fine | Health::Off, Some(why)) => {
                error!("message log: {why}; lines are lost, {} so far", log.lost());
                log.health = Health::Failing(why);
            }
            (Health::Failing(_), Some(why)) => log.health = Health::Failing(why),
            (Health::Failing(_), None) => {
                info!("message log: lines are written again, {} were lost since the start", log.lost());
                log.health = Health::Fine;
            }
            (Health::Fine | Health::Off, None) => {}
        }
    }

    /// Hands over this turn's lines, unless the last ones are still being written; once a day has old folders removed.
    pub(super) fn write_log(&mut self) {
        let Some(journal) = &mut self.log_thread else { return };
        journal.sweep(self.now.day(), self.now.time);
        if journal.retry <= self.now.time {
            journal.retry = Time::NEVER;
            self.hub.log.system("retry", |_| {});
        }
        if !journal.is_writing() {
            if self.hub.log.has_lines() {
                journal.append(self.hub.log.take(), self.now.time);
            }
        } else if !journal.late && journal.writing.is_some_and(|since| since.after(PATIENCE) <= self.now.time) {
            journal.late = true;
            self.judge_disk(Some(format!("the disk has not taken lines for {} s", PATIENCE.as_secs())));
        } else if self.hub.log.lost() > journal.lost && self.hub.log.health.reason().is_none() {
            self.judge_disk(None);
        }
    }

    /// The last line, and all that waits: relay ends only when it is written, or when its time is over.
    pub(super) fn finish_log(&mut self) {
        let Some(sessions) = self.log_thread.as_ref().map(|_| self.conns.len()) else { return };
        self.hub.log.system("stop", |line| line.shown("connections_left", sessions));
        let over = self.stopping.unwrap_or(self.now.time).max(self.now.time.after(LAST_WORDS));
        loop {
            self.now = self.clock.now();
            self.write_log();
            let Some(journal) = self.log_thread.as_mut().filter(|journal| journal.is_writing()) else { return };
            let Some(done) = journal.wait_done(over.since(self.now.time)) else {
                return error!("message log: the disk did not take the last lines in time");
            };
            self.handle_log_done(done);
        }
    }
}
