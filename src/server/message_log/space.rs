//! The space that all files of the message log may take: the oldest are removed to make room (`message_log.total`).
//!
//! Only regular files in folders that are named for a day count, and only they are removed. The folder is measured
//! rarely: [`Budget`] says when.

use core::time::Duration;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use log::info;

use crate::{
    clock::{Date, Throttle, Time},
    message_log::total::{Budget, sort_for_removal},
};

/// The space for the files of a folder.
pub struct Space {
    budget: Budget,
    /// When to measure again after no room could be made, and why it could not.
    failed: Option<(Time, String)>,
    throttle: Throttle,
    /// Files that were removed since the last line in the log, and their bytes.
    removed: (u64, u64),
}

/// The folder of a day.
struct Day {
    date: Date,
    path: PathBuf,
}

/// A file in the folder of a day.
struct LogFile {
    modified: SystemTime,
    path: PathBuf,
    bytes: u64,
}

impl Space {
    /// A space of `total` bytes.
    pub fn new(total: u64) -> Space {
        Space { budget: Budget::new(total), failed: None, throttle: Throttle::default(), removed: (0, 0) }
    }

    /// The largest size of a file.
    pub fn max_file(&self) -> u64 {
        self.budget.max_file()
    }

    /// Reserves `bytes` for an append to the file `live`, which is kept, in the log's folder `dir`. Removes the oldest
    /// files if there is no room.
    pub fn reserve(&mut self, dir: &Path, live: &Path, bytes: u64, now: Time) -> io::Result<()> {
        let total = self.budget.total();
        if self.budget.take(bytes) {
            return Ok(());
        }
        if bytes > total {
            return Err(io::Error::other(format!(
                "a line of {bytes} bytes is longer than message_log.total ({total} bytes)"
            )));
        }
        if let Some((_, why)) = self.failed.as_ref().filter(|(until, _)| now < *until) {
            return Err(io::Error::other(why.clone()));
        }
        self.failed = None;
        let error = self.make_room(dir, live, bytes).err();
        self.log_removed(now);
        if self.budget.take(bytes) {
            return Ok(());
        }
        let cause = error.map_or_else(|| "its files are too large".into(), |error| error.to_string());
        let why = format!("message_log.total ({total} bytes) is reached, and no room could be made: {cause}");
        self.failed = Some((now.after(MEASURE_INTERVAL), why.clone()));
        Err(io::Error::other(why))
    }

    /// Measures the folder, and removes the oldest files until there is room. Fails with the first error, after trying
    /// everything.
    fn make_room(&mut self, dir: &Path, live: &Path, bytes: u64) -> io::Result<()> {
        let mut days = days(dir)?;
        let mut used = 0;
        for day in &days {
            used += files(&day.path)?.map(|file| file.bytes).sum::<u64>();
        }
        let mut excess = self.budget.excess(used, bytes);
        let mut failed = Ok(());
        let today = live.parent().and_then(|folder| folder.file_name()?.to_str()).and_then(Date::parse);
        sort_for_removal(&mut days, today.map_or(i64::MAX, Date::number), |day| day.date.number());
        for day in days {
            if excess == 0 {
                break;
            }
            let mut files: Vec<LogFile> = files(&day.path)?.filter(|file| file.path != live).collect();
            files.sort_by(|one, other| (one.modified, &one.path).cmp(&(other.modified, &other.path)));
            for file in files {
                if excess == 0 {
                    break;
                }
                match fs::remove_file(&file.path) {
                    Ok(()) => {
                        excess = excess.saturating_sub(file.bytes);
                        used = used.saturating_sub(file.bytes);
                        self.removed = (self.removed.0 + 1, self.removed.1 + file.bytes);
                    }
                    Err(error) if failed.is_ok() => failed = Err(error),
                    Err(_) => {}
                }
            }
            if Some(day.date) != today {
                // This succeeds only if nothing is left in it.
                let _ = fs::remove_dir(&day.path);
            }
        }
        self.budget.set_used(used);
        failed
    }

    fn log_removed(&mut self, now: Time) {
        if self.removed.0 > 0 && self.throttle.pass(LOG_INTERVAL, now).is_some() {
            let (files, bytes) = core::mem::take(&mut self.removed);
            let total = self.budget.total();
            info!(
                "message log: {files} of the oldest files ({bytes} bytes) were removed: all together may have {total} bytes (message_log.total)"
            );
        }
    }
}

/// The folders that are named for a day, and are no links.
fn days(dir: &Path) -> io::Result<Vec<Day>> {
    let entries = fs::read_dir(dir)?.filter_map(Result::ok);
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let days =
        folders.filter_map(|entry| Some(Day { date: Date::parse(entry.file_name().to_str()?)?, path: entry.path() }));
    Ok(days.collect())
}

/// The regular files in a folder. A folder that was removed in between has none.
fn files(folder: &Path) -> io::Result<impl Iterator<Item = LogFile>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        entries => entries.into_iter().flatten().filter_map(Result::ok),
    };
    Ok(entries.filter_map(|entry| {
        // Links are not followed.
        let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Some(LogFile { modified, path: entry.path(), bytes: metadata.len() })
    }))
}

/// How often to try again to make room, if that failed.
const MEASURE_INTERVAL: Duration = Duration::from_secs(10);
/// The least time between two lines about removed files.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    struct Temp(PathBuf);

    impl Temp {
        fn new(name: &str) -> Temp {
            let dir = std::env::temp_dir().join(format!("relay-space-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            Temp(dir)
        }

        /// Writes a file that was modified `age` seconds before the others.
        fn write(&self, path: &str, bytes: usize, age: u64) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, vec![b'x'; bytes]).unwrap();
            let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000 - age);
            fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
        }

        fn reserve(&self, space: &mut Space, bytes: u64, now: Time) -> io::Result<()> {
            space.reserve(&self.0, &self.0.join("2026-03-02/live.log"), bytes, now)
        }

        /// All files below the folder, sorted.
        fn list(&self) -> Vec<String> {
            fn walk(dir: &Path, root: &Path, into: &mut Vec<String>) {
                for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
                    match path.is_dir() && !path.is_symlink() {
                        true => walk(&path, root, into),
                        false => into.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()),
                    }
                }
            }
            let mut found = Vec::new();
            walk(&self.0, &self.0, &mut found);
            found.sort();
            found
        }
    }

    impl Drop for Temp {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_oldest_files_are_removed_first() {
        let dir = Temp::new("oldest");
        let mut space = Space::new(1000);
        for (path, age) in [
            ("2026-03-02/live.log", 900),
            ("2026-03-02/x.log.1", 5),
            ("2026-03-02/x.log", 4),
            ("2026-03-01/b", 20),
            ("2026-03-01/a", 10),
            ("2031-01-01/future", 30),
            ("2026-02-28/old", 1),
        ] {
            dir.write(path, 100, age);
        }
        dir.write("notes/kept", 5000, 999);
        dir.write("file", 5000, 999);
        dir.write("outside/kept", 5000, 999);
        std::os::unix::fs::symlink("outside", dir.0.join("2026-01-01")).unwrap();
        std::os::unix::fs::symlink("../file", dir.0.join("2026-02-28/link")).unwrap();
        let kept = ["2026-01-01", "file", "notes/kept", "outside/kept"];
        dir.reserve(&mut space, 300, Time::START).unwrap();
        assert_eq!(dir.list().len(), 7 + 1 + kept.len(), "it fits");
        let mut expected = [
            "2026-02-28/old",
            "2026-03-01/b",
            "2026-03-01/a",
            "2031-01-01/future",
            "2026-03-02/x.log.1",
            "2026-03-02/x.log",
        ]
        .into_iter();
        // The 300 were not written: each round needs one file less.
        for round in 1..=6 {
            space.budget.set_used(1000);
            dir.reserve(&mut space, 300 + 100 * round, Time::START).unwrap();
            let gone = expected.next().unwrap();
            assert!(!dir.0.join(gone).exists(), "{gone}");
            assert_eq!(dir.list().len(), 7 - round as usize + 1 + kept.len(), "{round} {:?}", dir.list());
        }
        assert_eq!(
            dir.list(),
            ["2026-01-01", "2026-02-28/link", "2026-03-02/live.log", "file", "notes/kept", "outside/kept"]
        );
        assert!(!dir.0.join("2026-03-01").exists() && dir.0.join("2026-02-28").exists(), "empty folders go");
        space.budget.set_used(1000);
        let error = dir.reserve(&mut space, 950, Time::START).unwrap_err();
        assert!(error.to_string().contains("its files are too large"), "{error}");
        assert!(dir.0.join("2026-03-02/live.log").exists());
        assert!(dir.reserve(&mut space, 1001, Time::START).unwrap_err().to_string().contains("longer than"));
    }

    #[test]
    fn a_folder_that_cannot_be_read_is_measured_rarely() {
        let dir = Temp::new("missing");
        let mut space = Space::new(1000);
        let error = dir.reserve(&mut space, 1, Time::START).unwrap_err();
        assert!(error.to_string().contains("No such file"), "{error}");
        dir.write("2026-03-02/live.log", 1, 0);
        assert!(dir.reserve(&mut space, 1, Time::from_micros(9_999_999)).is_err());
        assert!(dir.reserve(&mut space, 1, Time::from_micros(10_000_000)).is_ok());
    }
}
