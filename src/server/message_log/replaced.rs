//! Message logs that a reload has replaced. Each keeps its thread until it has written its last lines.
//!
//! The lines until the reload go to the old folder, later ones to the new. Both may be the same folder with other limits, so the
//! new thread begins only when the old one has written its lines, or after a while if the old disk does not answer.

use core::{mem, time::Duration};
use std::io;

use log::error;

use super::writer::{Done, WRITE_TIMEOUT, Writer};
use crate::{
    config::MessageLog as Settings,
    server::{event_loop::Server, waker::waker},
};

impl Server {
    /// Continues the message log with other settings. Fails if the thread cannot be started, or if too many old ones still
    /// wait for their disks; then the old settings stay in force.
    pub(in crate::server) fn replace_log(&mut self, settings: &Settings) -> io::Result<()> {
        if self.replaced_logs.len() >= MOST_REPLACED {
            return Err(io::Error::other(format!(
                "the disks of {MOST_REPLACED} earlier directories have not taken their last lines yet"
            )));
        }
        let mut new = Writer::start(settings, || waker(&mut self.waker, &self.poll))?;
        self.hub.log.system("reload", |_| {});
        if let Some(mut old) = self.message_log.take() {
            if self.hub.log.has_lines() {
                old.append(self.hub.log.take(), self.now.time);
            }
            if let Some(new) = &mut new {
                new.retention = old.retention.anew();
            }
            if !old.is_idle() {
                self.replaced_logs.push(old);
            }
        }
        self.hub.log.set_on(new.is_some());
        if let Some(new) = &mut new {
            new.lost = self.hub.log.lost();
        }
        self.message_log = new;
        Ok(())
    }

    /// Handles the results of replaced logs, and frees those that have no more.
    pub(super) fn handle_replaced_results(&mut self) {
        for mut log in mem::take(&mut self.replaced_logs) {
            while let Some(done) = log.poll_done() {
                self.handle_replaced_result(done, &log.dir);
            }
            if !log.is_idle() {
                self.replaced_logs.push(log);
            }
        }
    }

    /// Waits for a result of a replaced log, at the end of the process. Returns `None` if there is none in time.
    pub(super) fn wait_replaced(&mut self, timeout: Duration) -> Option<()> {
        let mut log = self.replaced_logs.pop()?;
        let done = log.wait_done(timeout);
        let waited = done.map(|done| self.handle_replaced_result(done, &log.dir));
        if !log.is_idle() {
            self.replaced_logs.push(log);
        }
        waited
    }

    fn handle_replaced_result(&mut self, done: Done, dir: &str) {
        match done {
            Done::Appended(Ok(())) => {}
            Done::Appended(Err(error)) => {
                error!("message log: {dir}: {error}; its last {} lines are lost", error.lost);
                self.hub.log.lose(error.lost);
                // It says nothing about the disk of the new directory.
                if let Some(new) = &mut self.message_log {
                    new.lost += error.lost;
                }
            }
            Done::Read(..) => self.handle_log_result(done),
        }
    }

    /// Whether new lines must wait until a replaced log has written its last ones. Reports a disk that takes too long; the new
    /// directory does not wait for it any longer, unless it is the same one.
    pub(super) fn waits_for_replaced(&mut self) -> bool {
        let dir = self.message_log.as_ref().map_or("", |log| &log.dir);
        let mut waits = false;
        for old in &mut self.replaced_logs {
            if old.late_at() <= self.now.time {
                old.late = true;
                let (dir, seconds) = (&old.dir, WRITE_TIMEOUT.as_secs());
                error!("message log: {dir} has not taken its last lines within {seconds} s: its disk does not answer");
            }
            waits |= old.is_writing() && (!old.late || old.dir == dir);
        }
        waits
    }
}

/// Replaced logs that may wait for their disks. Each has a thread, and up to 16 MiB of lines.
const MOST_REPLACED: usize = 4;
