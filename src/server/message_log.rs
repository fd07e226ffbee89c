//! The files of the message log (docs/protocol.md, Message log format). A disk can be slow, full or missing, so only a
//! separate thread accesses it. The event loop sends it lines to write and pages to read, and never blocks. Without
//! `message_log.dir` there is no thread.
//!
//! The thread opens a file for each write and closes it afterwards: files may be moved or deleted at any time, and the
//! day may change. That costs about 10 µs per write. At most one write is in progress, for all files together; further
//! lines wait in [`MessageLog`](crate::message_log::MessageLog), which is bounded.

pub mod folder;
mod replaced;
pub mod space;
pub mod writer;

use core::time::Duration;

use log::{error, info};

use self::writer::{Done, WRITE_TIMEOUT, Writer};
use super::event_loop::Server;
use crate::{clock::Time, health::Health};

impl Server {
    /// Logs the start, with version and addresses.
    pub(super) fn record_start(&mut self) {
        let listening: Vec<String> = self.listeners.iter().map(ToString::to_string).collect();
        self.hub.log.system("start", |line| {
            line.text("version", env!("CARGO_PKG_VERSION"));
            line.text("listen", &listening.join(" "));
        });
    }

    /// Handles the results of the thread's jobs.
    pub(super) fn handle_log_results(&mut self) {
        while let Some(done) = self.message_log.as_mut().and_then(Writer::poll_done) {
            self.handle_log_result(done);
        }
        self.handle_replaced_results();
    }

    pub(super) fn handle_log_result(&mut self, done: Done) {
        match done {
            Done::Appended(result) => {
                let failure = result.err().map(|error| {
                    self.hub.log.lose(error.lost);
                    error.to_string()
                });
                self.update_log_health(failure);
            }
            Done::Read(conn, reply) => self.answer(conn, reply),
        }
    }

    /// Updates the health of the message log, and logs each change once. After a failure it stays bad until writes have
    /// succeeded for a while: otherwise it would change with every line on a nearly full disk.
    fn update_log_health(&mut self, failure: Option<String>) {
        let Some(writer) = &mut self.message_log else { return };
        let log = &mut self.hub.log;
        let more = log.lost() > core::mem::replace(&mut writer.lost, log.lost());
        let failure = failure.or_else(|| more.then(|| "the disk does not keep up".into()));
        let now = self.now.time;
        writer.retry = Time::NEVER;
        if failure.is_some() {
            writer.recovery.record_failure(log.health == Health::Fine, now);
            writer.retry = now.after(RETRY_INTERVAL).max(writer.recovery.healthy_at());
        }
        match (&log.health, failure) {
            (Health::Failing(_), None) if !writer.recovery.record_success(now) => {
                writer.retry = writer.recovery.healthy_at();
            }
            (Health::Failing(_), None) => {
                info!("message log: lines are written again; {} were lost since the start", log.lost());
                log.health = Health::Fine;
            }
            (Health::Failing(_), Some(reason)) => log.health = Health::Failing(reason),
            (Health::Off | Health::Fine, Some(reason)) => {
                error!("message log: {reason}; lines are lost, {} so far", log.lost());
                log.health = Health::Failing(reason);
            }
            (Health::Off | Health::Fine, None) => {}
        }
    }

    /// Sends the lines that wait to the thread, unless a write is still in progress. Also removes old days, and reports
    /// a write that takes too long.
    pub(super) fn write_log(&mut self) {
        let held = self.waits_for_replaced();
        let Some(writer) = &mut self.message_log else { return };
        writer.remove_old(self.now);
        if writer.retry <= self.now.time {
            writer.retry = Time::NEVER;
            self.hub.log.system("retry", |_| {});
        }
        if !writer.is_writing() {
            if self.hub.log.has_lines() && !held {
                writer.append(self.hub.log.take(), self.now.time);
            }
        } else if writer.late_at() <= self.now.time {
            writer.late = true;
            self.update_log_health(Some(format!("a write has not finished within {} s", WRITE_TIMEOUT.as_secs())));
        } else if self.hub.log.lost() > writer.lost && self.hub.log.health == Health::Fine {
            self.update_log_health(None);
        }
    }

    /// Writes the last lines before the process ends. Waits for the disk up to the shutdown's deadline.
    pub(super) fn finish_log(&mut self) {
        let connections = self.conns.len();
        self.hub.log.system("stop", |line| line.display("connections_left", connections));
        let end = self.stopping.unwrap_or(self.now.time).max(self.now.time.after(MIN_FINAL_WRITE));
        loop {
            self.now = self.clock.now();
            self.write_log();
            let left = end.since(self.now.time);
            let done = match self.message_log.as_mut().filter(|writer| writer.is_writing()) {
                Some(writer) => writer.wait_done(left).map(|done| self.handle_log_result(done)),
                None if !self.replaced_logs.is_empty() => self.wait_replaced(left),
                None => return,
            };
            if done.is_none() {
                return error!("message log: the last lines were lost: the disk did not write them in time");
            }
        }
    }
}

/// The time between a failure and the line that is written to test whether the disk has recovered.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// The minimum time for writing the last lines before the process ends.
const MIN_FINAL_WRITE: Duration = Duration::from_millis(500);
