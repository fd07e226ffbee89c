//! The folder of the message log: everything that touches the disk.

use core::fmt;
use std::{
    error,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use log::{debug, info, warn};

use super::space::Space;
use crate::{
    api::page::Page,
    clock::Time,
    message_log::{
        Appends, Tail, retention,
        rotation::{self, Step},
        tail,
    },
};

/// Lines could not be written. `Display` is the reason.
#[derive(Debug)]
pub struct AppendError {
    /// The number of lines.
    pub lost: u64,
    /// The file of the first of them, below the folder.
    path: String,
    error: io::Error,
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.error)
    }
}

impl error::Error for AppendError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The folder of the message log.
pub struct Folder {
    dir: PathBuf,
    /// The size in bytes at which a file is rotated.
    rotate: u64,
    /// How many days are kept besides today.
    retention_days: u64,
    /// The space that its files may take.
    space: Space,
}

impl Folder {
    /// The folder `dir`. A file is rotated at `rotate` bytes or an eighth of `total`, `retention_days` are kept besides
    /// today, and all files together have at most `total` bytes.
    pub fn new(dir: PathBuf, rotate: u64, retention_days: u64, total: u64) -> Folder {
        let space = Space::new(total);
        Folder { dir, rotate: rotate.min(space.max_file()), retention_days, space }
    }

    /// Appends to every file, even if some fail. Fails with the first error, and the number of lines that were lost in
    /// all files.
    pub fn append_all(&mut self, files: &Appends, now: Time) -> Result<(), AppendError> {
        let mut failed: Option<AppendError> = None;
        for (path, lines) in files {
            let mut rest = &lines[..];
            while !rest.is_empty() {
                match self.append(path, rest, now) {
                    Ok(written) => rest = &rest[written..],
                    Err(error) => {
                        let failed =
                            failed.get_or_insert_with(|| AppendError { lost: 0, path: path.clone().into(), error });
                        failed.lost += rest.iter().filter(|byte| **byte == b'\n').count() as u64;
                        break;
                    }
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Appends as many lines as fit into the file, after rotating it if it is full, and returns their size in bytes.
    /// After a partial write, for example to a full disk, the file is truncated to its old size.
    fn append(&mut self, path: &str, lines: &[u8], now: Time) -> io::Result<usize> {
        let path = self.dir.join(path);
        let (mut file, mut size) = open_or_create(&path)?;
        let Step { rotate, length } = rotation::plan(lines, size, self.rotate);
        if rotate {
            fs::rename(&path, next_name(&path)?)?;
            (file, size) = open_or_create(&path)?;
        }
        // One more for the line break that may be missing.
        self.space.reserve(&self.dir, &path, length as u64 + 1, now)?;
        let mut last = [b'\n'];
        if size > 0 {
            file.read_exact_at(&mut last, size - 1)?;
        }
        // Another program may have truncated the file in the middle of a line.
        let mended = if last == [b'\n'] { Ok(()) } else { file.write_all(b"\n") };
        let written = mended.and_then(|()| file.write_all(&lines[..length]));
        if written.is_err() {
            let _ = file.set_len(size);
        }
        written.map(|()| length)
    }

    /// Reads the end of a file.
    pub fn tail(&self, page: &Page) -> io::Result<Tail> {
        let mut file = options().read(true).open(self.dir.join(&page.path))?;
        let size = regular(&file)?;
        let (begin, length) = tail::span(size, page.bytes);
        file.seek(SeekFrom::Start(begin))?;
        let mut text = Vec::new();
        file.take(length).read_to_end(&mut text)?;
        Ok(Tail::new(size, page.bytes, text))
    }

    /// Removes the folders of expired days. Other folders and files stay.
    pub fn remove_old(&self, today: i64) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let kept = self.retention_days;
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name();
            let Some(day) = name.to_str().and_then(|name| retention::expired(name, today, kept)) else { continue };
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            match fs::remove_dir_all(entry.path()) {
                Ok(()) => info!("message log: {day} was removed: {kept} days are kept (message_log.retention_days)"),
                Err(error) => warn!("message log: {day} could not be removed: {error}"),
            }
        }
    }
}

/// Open options that do not follow a symbolic link and do not block on a named pipe.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC).mode(0o640);
    options
}

/// Opens a file for appending, and returns it with its size. Creates its folder if necessary.
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
    let size = regular(&file)?;
    Ok((file, size))
}

/// The size of a file. Fails if it is not a regular file.
fn regular(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true => Ok(metadata.len()),
        false => Err(io::Error::other("not a regular file")),
    }
}

/// The new path of a file that is rotated.
fn next_name(path: &Path) -> io::Result<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let files = fs::read_dir(folder)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let next = folder.join(rotation::next_name(name, files));
    if next.symlink_metadata().is_ok() {
        return Err(io::Error::other(format!("cannot rotate: {} exists", next.display())));
    }
    debug!("message log: {} is renamed to {}", path.display(), next.display());
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Date;

    fn folder(name: &str) -> Folder {
        let dir = std::env::temp_dir().join(format!("relay-message-log-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Folder::new(dir, 100, 2, u64::MAX)
    }

    fn tail(folder: &Folder, path: &str, bytes: u64) -> (String, u64) {
        let page = Page { path: path.into(), bytes, json: false };
        let tail = folder.tail(&page).unwrap();
        (String::from_utf8(tail.text).unwrap(), tail.omitted)
    }

    #[test]
    fn appends_rotates_and_mends() {
        let mut folder = folder("append");
        let path = "2026-11-21/x.log";
        let append = |folder: &mut Folder, text: &[u8]| {
            folder.append_all(&Appends::from([(path.into(), text.to_vec())]), Time::START).unwrap();
        };
        let line = |letter: &str, length: usize| format!("{}\n", letter.repeat(length - 1)).into_bytes();
        append(&mut folder, &[b'a'; 59]);
        append(&mut folder, b"whole\n");
        assert_eq!(
            tail(&folder, path, 1000),
            (format!("{}\nwhole\n", "a".repeat(59)), 0),
            "a truncated line gets a line break"
        );
        append(&mut folder, &line("b", 50));
        append(&mut folder, &line("c", 500));
        append(&mut folder, b"d\n");
        assert_eq!(tail(&folder, path, 10).0, "d\n");
        let names = ["x.log.1", "x.log.2", "x.log.3"].map(|name| folder.dir.join("2026-11-21").join(name));
        assert_eq!(names.each_ref().map(|name| fs::metadata(name).unwrap().len()), [66, 50, 500]);
        fs::remove_file(&names[0]).unwrap();
        append(&mut folder, &line("e", 100));
        assert!(folder.dir.join("2026-11-21/x.log.4").exists(), "numbers are not reused");
        // Files stay within the limit even if many lines are written at once, as after a slow write.
        append(
            &mut folder,
            &[line("f", 60), line("g", 40), line("h", 1), line("i", 101), line("j", 99), line("k", 1)].concat(),
        );
        let length = |number| fs::metadata(folder.dir.join(format!("{path}.{number}"))).unwrap().len();
        assert_eq!([5, 6, 7, 8].map(length), [100, 100, 1, 101]);
        assert_eq!(tail(&folder, path, 1000), (format!("{}\n\n", "j".repeat(98)), 0));
        fs::remove_dir_all(&folder.dir).unwrap();
    }

    #[test]
    fn tails_begin_with_a_line() {
        let mut folder = folder("tail");
        let text = "one\ntwo\nthree\n";
        folder.append("d/f", text.as_bytes(), Time::START).unwrap();
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
    fn only_regular_files() {
        let mut folder = folder("files");
        fs::create_dir_all(folder.dir.join("d")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.dir.join("d/link")).unwrap();
        std::os::unix::net::UnixListener::bind(folder.dir.join("d/socket")).unwrap();
        for path in ["d/link", "d/socket", "d", "/dev/null", "d/none/"] {
            assert!(folder.append(path, b"x\n", Time::START).is_err(), "{path}");
            assert!(folder.tail(&Page { path: path.into(), bytes: 10, json: false }).is_err(), "{path}");
        }
        fs::remove_dir_all(&folder.dir).unwrap();
    }

    #[test]
    fn old_days_are_removed() {
        let folder = folder("old");
        let today = Date::parse("2026-03-01").unwrap().number();
        for name in ["2026-03-01", "2026-02-28", "2026-02-27", "2026-02-26", "2025-01-01", "notes", "2026-02-30"] {
            fs::create_dir_all(folder.dir.join(name).join("sub")).unwrap();
        }
        fs::write(folder.dir.join("2024-01-01"), "a file").unwrap();
        std::os::unix::fs::symlink("notes", folder.dir.join("2024-01-02")).unwrap();
        folder.remove_old(today);
        let mut left: Vec<_> = fs::read_dir(&folder.dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        let kept = ["2024-01-01", "2024-01-02", "2026-02-27", "2026-02-28", "2026-02-30", "2026-03-01", "notes"];
        assert_eq!(left, kept);
        fs::remove_dir_all(&folder.dir).unwrap();
    }
}
