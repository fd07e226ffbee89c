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

use super::folder::{AppendError, Folder};
use crate::{
    api::page::Page,
    clock::{Now, Time},
    config::MessageLog as Settings,
    http::Reply,
    key::ConnKey,
    message_log::{Appends, recovery::Recovery, retention},
};

/// The event loop's handle to the thread.
pub struct Writer {
    jobs: Sender<Job>,
    done: Receiver<Done>,
    /// The directory; empty for no log.
    pub dir: String,
    /// When the last of the writes in progress began.
    pub writing: Option<Time>,
    /// The number of writes in progress: one, or two in a log that a reload has replaced.
    writes: usize,
    /// The number of pages that are being read.
    reading: usize,
    /// Whether the write in progress was reported as too slow.
    pub late: bool,
    /// The number of lost lines when the health was last updated.
    pub lost: u64,
    /// When to write a line to test whether the disk has recovered.
    pub retry: Time,
    /// When the disk counts as healthy again.
    pub recovery: Recovery,
    /// When to remove expired folders.
    pub retention: retention::Schedule,
}

enum Job {
    Append(Appends, Time),
    Read(ConnKey, Page),
    RemoveOld(i64),
}

/// The result of a job.
pub enum Done {
    /// Lines were written, or some of them were not.
    Appended(Result<(), AppendError>),
    /// A page was read for a connection.
    Read(ConnKey, Reply),
}

impl Writer {
    /// Starts the thread; returns `None` without `message_log.dir`. `waker` makes the waker, which the thread calls
    /// after each job with a result.
    pub fn start(config: &Settings, waker: impl FnOnce() -> io::Result<Arc<Waker>>) -> io::Result<Option<Writer>> {
        if config.dir.is_empty() {
            return Ok(None);
        }
        let (jobs, inbox) = mpsc::channel();
        let (outbox, done) = mpsc::channel();
        let limit = |value: u64| if value == 0 { u64::MAX } else { value };
        let (rotate, retention_days) = (limit(config.rotate), limit(config.retention_days));
        let mut folder = Folder::new(config.dir.clone().into(), rotate, retention_days, limit(config.total));
        let waker = waker()?;
        let run = move || {
            for job in inbox {
                let done = match job {
                    Job::Append(lines, now) => Done::Appended(folder.append_all(&lines, now)),
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
            dir: config.dir.clone(),
            writing: None,
            writes: 0,
            reading: 0,
            late: false,
            lost: 0,
            retry: Time::NEVER,
            recovery: Recovery::default(),
            retention: retention::Schedule::default(),
        }))
    }

    /// Whether a write is in progress. Further lines wait until it ends.
    pub fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Whether no job is left: then it can be dropped, which ends the thread.
    pub fn is_idle(&self) -> bool {
        self.writes == 0 && self.reading == 0
    }

    /// When the write in progress takes too long.
    pub fn late_at(&self) -> Time {
        self.writing.filter(|_| !self.late).map_or(Time::NEVER, |since| since.after(WRITE_TIMEOUT))
    }

    /// The next deadline: a write takes too long, the disk is tested again, or the day changes.
    pub fn deadline(&self) -> Time {
        self.late_at().min(self.retry).min(self.retention.deadline())
    }

    /// Writes lines. If the thread has panicked, the write never ends, and is reported as too slow.
    pub fn append(&mut self, lines: Appends, now: Time) {
        self.late = false;
        self.writing = Some(now);
        self.writes += 1;
        let _ = self.jobs.send(Job::Append(lines, now));
    }

    /// Reads a page for a connection. Returns `false` if too many pages are being read.
    pub fn read(&mut self, conn: ConnKey, page: Page) -> bool {
        let taken = self.reading < MAX_READS && self.jobs.send(Job::Read(conn, page)).is_ok();
        self.reading += usize::from(taken);
        taken
    }

    /// Removes expired folders, once a day.
    pub fn remove_old(&mut self, now: Now) {
        if self.retention.is_due(now) {
            let _ = self.jobs.send(Job::RemoveOld(now.day()));
        }
    }

    /// The result of the next finished job.
    pub fn poll_done(&mut self) -> Option<Done> {
        let done = self.done.try_recv().ok()?;
        Some(self.note(done))
    }

    /// Waits for the next result. Only for the end of the process, because it blocks the event loop.
    pub fn wait_done(&mut self, timeout: Duration) -> Option<Done> {
        let done = self.done.recv_timeout(timeout).ok()?;
        Some(self.note(done))
    }

    fn note(&mut self, done: Done) -> Done {
        match &done {
            Done::Appended(_) => {
                self.writes -= 1;
                self.writing = self.writing.filter(|_| self.writes > 0);
            }
            Done::Read(..) => self.reading -= 1,
        }
        done
    }
}

/// How long a write may take before it is reported as too slow.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The most pages that may wait for the disk.
const MAX_READS: usize = 16;
/// Bytes of the thread's stack.
const STACK: usize = 256 * 1024;
