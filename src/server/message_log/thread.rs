//! The message log's files. Disks may be slow, full or gone, so they are touched on a thread of their own: the loop hands
//! it lines and questions, and goes on. The thread exists only if there is a log.
//!
//! A file is opened for each write and closed after it: it may be moved away or deleted at any time, and the day may
//! change. That costs the thread some 10 µs, and no more than one write for each file waits behind another.

use core::time::Duration;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use log::{debug, error, info, warn};
use mio::Waker;

use crate::server::queue::{End, queue};
use crate::{
    api::message_log::{Page, Tail},
    clock::{Date, Time},
    config::MessageLog,
    http::Reply,
    key::ConnKey,
    message_log::Appends,
};

/// The loop's end of it.
pub struct LogThread {
    jobs: End<Job>,
    done: End<Done>,
    /// Since when lines are being written.
    pub writing: Option<Time>,
    pub reading: usize,
    /// That took too long, and was said.
    pub late: bool,
    /// Lines that were lost when the disk's state was looked at last.
    pub lost: u64,
    /// When a line is written to see whether the disk is well again.
    pub retry: Time,
    /// When the day is looked at again.
    pub look: Time,
    /// The local day, and when it will have held.
    pub day: (i64, Time),
    /// The day for which old folders were looked for.
    pub swept: i64,
}

enum Job {
    Append(Appends),
    Read(ConnKey, Page),
    Sweep(i64),
}

/// What the thread has done.
pub enum Done {
    /// Lines were written, or so many not, and why.
    Appended(Result<(), (u64, String)>),
    /// A page was made for who waits for it.
    Read(ConnKey, Reply),
}

impl LogThread {
    /// Starts the thread, if there is a folder for the log. `waker` ends the loop's wait when something is done.
    pub fn start(config: &MessageLog, waker: impl FnOnce() -> io::Result<Arc<Waker>>) -> io::Result<Option<LogThread>> {
        if config.dir.is_empty() {
            return Ok(None);
        }
        let (jobs, inbox) = queue();
        let (outbox, done) = queue();
        let bound = |value: u64| if value == 0 { u64::MAX } else { value };
        let folder = Folder {
            dir: config.dir.clone().into(),
            rotate: bound(config.rotate),
            retention_days: bound(config.retention_days),
        };
        let waker = waker()?;
        let run = move || {
            while let Some(job) = inbox.wait(None) {
                let done = match job {
                    Job::Append(batch) => Done::Appended(folder.append_all(&batch)),
                    Job::Read(conn, page) => Done::Read(conn, page.reply(folder.tail(&page))),
                    Job::Sweep(today) => {
                        folder.sweep(today);
                        continue;
                    }
                };
                if !outbox.put(done) {
                    break;
                }
                let _ = waker.wake();
            }
        };
        thread::Builder::new().name("journal".into()).stack_size(STACK).spawn(run)?;
        Ok(Some(LogThread {
            jobs,
            done,
            writing: None,
            reading: 0,
            late: false,
            lost: 0,
            retry: Time::NEVER,
            look: Time::START,
            day: (i64::MIN, Time::NEVER),
            swept: i64::MIN,
        }))
    }

    /// Whether lines are being written: more wait in the hub until they are.
    pub fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// When to look at it again, though nothing happens: the disk may have taken too long, may be well again, or the day
    /// may have changed.
    pub fn deadline(&self) -> Time {
        let late = self.writing.filter(|_| !self.late).map_or(Time::NEVER, |since| since.after(PATIENCE));
        late.min(self.retry).min(self.look)
    }

    /// Has lines written.
    pub fn append(&mut self, batch: Appends, now: Time) {
        self.late = false;
        self.writing = Some(now);
        self.jobs.put(Job::Append(batch));
    }

    /// Has a page made for a connection; not if too many wait for theirs.
    pub fn read(&mut self, conn: ConnKey, page: Page) -> bool {
        let taken = self.reading < MOST_READING && self.jobs.put(Job::Read(conn, page));
        self.reading += usize::from(taken);
        taken
    }

    /// Has old folders removed, once a day, when the day has held for a moment: a clock's slip into the future must not
    /// cost the log.
    pub fn sweep(&mut self, today: i64, now: Time) {
        if self.day.0 != today {
            self.day = (today, now.after(SETTLED));
        }
        self.look = now.after(LOOK);
        if self.swept != today {
            self.look = self.look.min(self.day.1);
            if self.day.1 <= now {
                self.swept = today;
                self.jobs.put(Job::Sweep(today));
            }
        }
    }

    /// What was done since the last time.
    pub fn poll_done(&mut self) -> Option<Done> {
        let done = self.done.poll()?;
        Some(self.note(done))
    }

    /// Waits for something to be done: only when relay ends.
    pub fn wait_done(&mut self, patience: Duration) -> Option<Done> {
        let done = self.done.wait(Some(patience))?;
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

/// The log's folder, on the thread.
struct Folder {
    dir: PathBuf,
    rotate: u64,
    retention_days: u64,
}

impl Folder {
    /// Appends to every file; the lines that were not, and why not.
    fn append_all(&self, batch: &Appends) -> Result<(), (u64, String)> {
        let mut failed: Option<(u64, String)> = None;
        for (path, lines) in batch {
            let mut rest = &lines[..];
            while !rest.is_empty() {
                match self.append(path, rest) {
                    Ok(written) => rest = &rest[written..],
                    Err(error) => {
                        let (lost, _) = failed.get_or_insert_with(|| (0, format!("{path}: {error}")));
                        *lost += rest.iter().filter(|byte| **byte == b'\n').count() as u64;
                        break;
                    }
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Appends the lines that fit into one file, and says how many bytes they are. All of them or none: what a full disk
    /// took of them is cut off again.
    fn append(&self, path: &str, lines: &[u8]) -> io::Result<usize> {
        let path = self.dir.join(path);
        let (mut file, mut length) = open_or_create(&path)?;
        let mut fitting = whole_lines(lines, self.rotate.saturating_sub(length));
        if length > 0 && fitting.is_empty() {
            fs::rename(&path, next_name(&path)?)?;
            (file, length) = open_or_create(&path)?;
            fitting = whole_lines(lines, self.rotate);
        }
        if fitting.is_empty() {
            // Longer than a file may be: it gets one of its own.
            fitting = &lines[..lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| end + 1)];
        }
        let mut last = [b'\n'];
        if length > 0 {
            file.read_exact_at(&mut last, length - 1)?;
        }
        // Somebody else may have cut it in the middle of a line.
        let mended = if last == [b'\n'] { Ok(()) } else { file.write_all(b"\n") };
        let written = mended.and_then(|()| file.write_all(fitting));
        if written.is_err() {
            let _ = file.set_len(length);
        }
        written.map(|()| fitting.len())
    }

    /// The end of a file.
    fn tail(&self, page: &Page) -> io::Result<Tail> {
        let mut file = options().read(true).open(self.dir.join(&page.path))?;
        let length = regular(&file)?;
        let mut begin = length.saturating_sub(page.bytes);
        // One byte before, to see whether a line begins there.
        file.seek(SeekFrom::Start(begin.saturating_sub(1)))?;
        let mut text = Vec::new();
        file.take(page.bytes + u64::from(begin > 0)).read_to_end(&mut text)?;
        if begin > 0 {
            let cut = text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |end| end + 1);
            text.drain(..cut);
            begin += cut as u64 - 1;
        }
        Ok(Tail { text, omitted: begin })
    }

    /// Removes the folders of days that are too long ago, and nothing else.
    fn sweep(&self, today: i64) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let kept = i64::try_from(self.retention_days).unwrap_or(i64::MAX);
        for entry in entries.filter_map(Result::ok) {
            let Some(day) = entry.file_name().to_str().and_then(Date::parse) else { continue };
            let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if !folder || today.saturating_sub(day.number()) <= kept {
                continue;
            }
            match fs::remove_dir_all(entry.path()) {
                Ok(()) => info!("message log: {day} was removed, {kept} days are kept"),
                Err(error) => warn!("message log: {day} could not be removed: {error}"),
            }
        }
    }
}

/// The lines of `text` that fit into `room` bytes.
fn whole_lines(text: &[u8], room: u64) -> &[u8] {
    let room = usize::try_from(room).unwrap_or(usize::MAX).min(text.len());
    &text[..text[..room].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)]
}

/// A file that is a link is not followed, and nothing waits for a pipe's other end.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC).mode(0o640);
    options
}

fn open_or_create(path: &Path) -> io::Result<(File, u64)> {
    let open = || options().read(true).append(true).create(true).open(path);
    let file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = path.parent() {
                fs::DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
            }
            open()?
        }
        opened => opened?,
    };
    let length = regular(&file)?;
    Ok((file, length))
}

fn regular(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true => Ok(metadata.len()),
        false => Err(io::Error::other("not a regular file")),
    }
}

/// The first free of `NAME.1`, `NAME.2` and so on, after all that are taken.
fn next_name(path: &Path) -> io::Result<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let number = |entry: io::Result<fs::DirEntry>| {
        let taken = entry.ok()?.file_name();
        // Numbers as they are written here; a message may have named its file `msg.log.99999999999999999999`.
        let digits = taken.to_str()?.strip_prefix(name)?.strip_prefix('.')?;
        let own = (1..=9).contains(&digits.len()) && !digits.starts_with('0');
        digits.parse::<u64>().ok().filter(|_| own)
    };
    let last = fs::read_dir(folder)?.filter_map(number).max().unwrap_or(0);
    let next = folder.join(format!("{name}.{}", last + 1));
    if next.symlink_metadata().is_ok() {
        return Err(io::Error::other(format!("{} is there already", next.display())));
    }
    debug!("message log: {} becomes {}", path.display(), next.display());
    Ok(next)
}

/// How long a write may take before it is said that it does.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long after a failure a line is written to see whether the disk is well again.
pub const RETRY: Duration = Duration::from_secs(30);
/// How long a day must have held before folders are removed for it, and how often the day is looked at.
const SETTLED: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_secs(600);
/// At the end there is at least so much time to write what waits.
pub const LAST_WORDS: Duration = Duration::from_millis(500);
/// Pages that may wait for the disk.
const MOST_READING: usize = 16;
/// What the thread may use of a stack.
const STACK: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> Folder {
        let dir = std::env::temp_dir().join(format!("relay-journal-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Folder { dir, rotate: 100, retention_days: 2 }
    }

    fn tail(folder: &Folder, path: &str, bytes: u64) -> (String, u64) {
        let page = Page { path: path.into(), bytes, json: false };
        let tail = folder.tail(&page).unwrap();
        (String::from_utf8(tail.text).unwrap(), tail.omitted)
    }

    #[test]
    fn appended_rotated_and_mended() {
        let folder = folder("append");
        let path = "2026-11-21/x.log";
        let append = |text: &[u8]| folder.append_all(&Appends::from([(path.into(), text.to_vec())])).unwrap();
        let line = |letter: &str, length: usize| format!("{}\n", letter.repeat(length - 1)).into_bytes();
        append(&[b'a'; 59]);
        append(b"whole\n");
        assert_eq!(tail(&folder, path, 1000), (format!("{}\nwhole\n", "a".repeat(59)), 0), "a cut line stays apart");
        append(&line("b", 50));
        append(&line("c", 500));
        append(b"d\n");
        assert_eq!(tail(&folder, path, 10).0, "d\n");
        let names = ["x.log.1", "x.log.2", "x.log.3"].map(|name| folder.dir.join("2026-11-21").join(name));
        assert_eq!(names.each_ref().map(|name| fs::metadata(name).unwrap().len()), [66, 50, 500]);
        fs::remove_file(&names[0]).unwrap();
        append(&line("e", 100));
        assert!(folder.dir.join("2026-11-21/x.log.4").exists(), "numbers go on growing");
        // What waited for a slow disk comes at once, and fills no file more than lines that come singly.
        append(&[line("f", 60), line("g", 40), line("h", 1), line("i", 101), line("j", 99), line("k", 1)].concat());
        let length = |number| fs::metadata(folder.dir.join(format!("{path}.{number}"))).unwrap().len();
        assert_eq!([5, 6, 7, 8].map(length), [100, 100, 1, 101]);
        assert_eq!(tail(&folder, path, 1000), (format!("{}\n\n", "j".repeat(98)), 0));
        fs::remove_dir_all(&folder.dir).unwrap();
    }

    #[test]
    fn tails_begin_with_a_line() {
        let folder = folder("tail");
        let text = "one\ntwo\nthree\n";
        folder.append("d/f", text.as_bytes()).unwrap();
        for bytes in 1..20 {
            let (tail, omitted) = tail(&folder, "d/f", bytes);
            let right = text.lines().rev().scan(0, |size, line| {
                *size += line.len() + 1;
                Some((*size, line))
            });
            let kept: Vec<&str> = right.take_while(|(size, _)| *size as u64 <= bytes).map(|(_, line)| line).collect();
            assert_eq!(tail.lines().rev().collect::<Vec<_>>(), kept, "{bytes}");
            assert_eq!(omitted as usize, text.len() - tail.len(), "{bytes}");
        }
        fs::remove_dir_all(&folder.dir).unwrap();
    }

    #[test]
    fn nothing_but_files() {
        let folder = folder("files");
        fs::create_dir_all(folder.dir.join("d")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.dir.join("d/link")).unwrap();
        std::os::unix::net::UnixListener::bind(folder.dir.join("d/socket")).unwrap();
        for path in ["d/link", "d/socket", "d", "/dev/null", "d/none/"] {
            assert!(folder.append(path, b"x\n").is_err(), "{path}");
            assert!(folder.tail(&Page { path: path.into(), bytes: 10, json: false }).is_err(), "{path}");
        }
        fs::remove_dir_all(&folder.dir).unwrap();
    }

    #[test]
    fn old_days_go() {
        let folder = folder("sweep");
        let today = Date::parse("2026-03-01").unwrap().number();
        for name in ["2026-03-01", "2026-02-28", "2026-02-27", "2026-02-26", "2025-01-01", "notes", "2026-02-30"] {
            fs::create_dir_all(folder.dir.join(name).join("sub")).unwrap();
        }
        fs::write(folder.dir.join("2024-01-01"), "a file").unwrap();
        std::os::unix::fs::symlink("notes", folder.dir.join("2024-01-02")).unwrap();
        folder.sweep(today);
        let mut left: Vec<_> = fs::read_dir(&folder.dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        let kept = ["2024-01-01", "2024-01-02", "2026-02-27", "2026-02-28", "2026-02-30", "2026-03-01", "notes"];
        assert_eq!(left, kept);
        fs::remove_dir_all(&folder.dir).unwrap();
    }
}
