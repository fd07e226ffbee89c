//! The thread that writes and reads the files of the message log.

use core::time::Duration;
use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use mio::Waker;

use super::folder::Folder;
use crate::{
    api::page::Page,
    clock::Time,
    config::MessageLog as Settings,
    http::Reply,
    key::ConnKey,
    message_log::{Appends, retention},
};

/// The loop's end of the thread.
pub struct Writer {
    jobs: Sender<Job>,
    done: Receiver<Done>,
    /// Since when lines are being written.
    pub writing: Option<Time>,
    /// Pages that are being read.
    reading: usize,
    /// Whether it was reported that the write takes too long.
    pub late: bool,
    /// Lines that had been lost when the disk's health was last judged.
    pub lost: u64,
    /// When a line is written to see whether the disk has recovered.
    pub retry: Time,
    retention: retention::Schedule,
}

enum Job {
    Append(Appends),
    Read(ConnKey, Page),
    RemoveOld(i64),
}

/// Something that the thread has done.
pub enum Done {
    /// Lines were written, or so many were not, for that reason.
    Appended(Result<(), (u64, String)>),
    /// A page was read for a connection.
    Read(ConnKey, Reply),
}

impl Writer {
    /// Starts the thread, if there is a folder for the log. `waker` ends the loop's wait when a job is done.
    pub fn start(config: &Settings, waker: impl FnOnce() -> io::Result<Arc<Waker>>) -> io::Result<Option<Writer>> {
        if config.dir.is_empty() {
            return Ok(None);
        }
        let (jobs, inbox) = mpsc::channel();
        let (outbox, done) = mpsc::channel();
        let limit = |value: u64| if value == 0 { u64::MAX } else { value };
        let folder = Folder {
            dir: config.dir.clone().into(),
            rotate: limit(config.rotate),
            retention_days: limit(config.retention_days),
        };
        let waker = waker()?;
        let run = move || {
            for job in inbox {
                let done = match job {
                    Job::Append(lines) => Done::Appended(folder.append_all(&lines)),
                    Job::Read(conn, page) => Done::Read(conn, page.reply(folder.tail(&page))),
                    Job::RemoveOld(today) => {
                        folder.remove_old(today);
                        continue;
                    }
                };
                if outbox.send(done).is_err() {
                    break;
                }
                let _ = waker.wake();
            }
        };
        thread::Builder::new().name("message_log".into()).stack_size(STACK).spawn(run)?;
        Ok(Some(Writer {
            jobs,
            done,
            writing: None,
            reading: 0,
            late: false,
            lost: 0,
            retry: Time::NEVER,
            retention: retention::Schedule::default(),
        }))
    }

    /// Whether lines are being written: until then further lines wait.
    pub fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// When there is something to do if nothing happens before: a write has taken too long, the disk may have recovered, or
    /// the day may have changed.
    pub fn deadline(&self) -> Time {
        let late = self.writing.filter(|_| !self.late).map_or(Time::NEVER, |since| since.after(WRITE_TIMEOUT));
        late.min(self.retry).min(self.retention.deadline())
    }

    /// Writes lines. If the thread has died, this never ends, and is reported as a disk that does not take lines.
    pub fn append(&mut self, lines: Appends, now: Time) {
        self.late = false;
        self.writing = Some(now);
        let _ = self.jobs.send(Job::Append(lines));
    }

    /// Reads a page for a connection. Returns false if too many pages are being read.
    pub fn read(&mut self, conn: ConnKey, page: Page) -> bool {
        let taken = self.reading < MAX_READS && self.jobs.send(Job::Read(conn, page)).is_ok();
        self.reading += usize::from(taken);
        taken
    }

    /// Removes old folders once a day.
    pub fn remove_old(&mut self, today: i64, now: Time) {
        if self.retention.is_due(today, now) {
            let _ = self.jobs.send(Job::RemoveOld(today));
        }
    }

    /// The next job that is done.
    pub fn poll_done(&mut self) -> Option<Done> {
        let done = self.done.try_recv().ok()?;
        Some(self.note(done))
    }

    /// Waits for a job to be done. Only for the end of the process: the loop never waits.
    pub fn wait_done(&mut self, timeout: Duration) -> Option<Done> {
        let done = self.done.recv_timeout(timeout).ok()?;
        Some(self.note(done))
    }

    fn note(&mut self, done: Done) -> Done {
        match &done {
            Done::Appended(_) => self.writing = None,
            Done::Read(..) => self.reading -= 1,
        }
        done
    }
}

/// How long a write may take before it is reported.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pages that may wait for the disk.
const MAX_READS: usize = 16;
/// Bytes of the thread's stack.
const STACK: usize = 256 * 1024;
