//! The relays that run on this machine.

use core::fmt;
use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use lexopt::Parser;

use crate::{
    cli::{commands::SERVE, options::Options},
    server::config_file::Origin,
};

/// A process of relay that serves clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub id: u32,
    /// Whether it has the configuration that is examined. `None`: this user may not see which one it has.
    pub is_meant: Option<bool>,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_meant {
            Some(_) => write!(f, "relay (process {})", self.id),
            None => write!(f, "relay (process {}, perhaps with another configuration)", self.id),
        }
    }
}

/// The processes that have this configuration, or else those of which it is not known. Without `/proc` there are none.
pub fn running(origin: &Origin) -> Vec<Process> {
    let own = std::process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().map_while(Result::ok);
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).filter(|id| *id != own);
    meant(ids.filter_map(|id| process(id, origin)).collect())
}

fn meant(all: Vec<Process>) -> Vec<Process> {
    let wanted = if all.iter().any(|process| process.is_meant == Some(true)) { Some(true) } else { None };
    all.into_iter().filter(|process| process.is_meant == wanted).collect()
}

/// A process, if it is a relay that serves clients.
fn process(id: u32, origin: &Origin) -> Option<Process> {
    let read = |name: &str| fs::read(format!("/proc/{id}/{name}")).ok();
    let arguments = list(&read("cmdline")?);
    if read("comm")?.trim_ascii_end() != b"relay" || !is_serving(&arguments) {
        return None;
    }
    let found = match (config_option(&arguments), read("environ")) {
        (None, None) => None,
        (option, environ) => {
            let variables = environ.as_deref().map(list).unwrap_or_default();
            Some(Origin::find_among(option, |name| variable(&variables, name)))
        }
    };
    Some(Process { id, is_meant: found.and_then(|found| is_same(id, &found, origin)) })
}

/// The texts of a list in which each ends with a NUL.
fn list(bytes: &[u8]) -> Vec<OsString> {
    let texts = bytes.split(|byte| *byte == 0).map(|text| OsStr::from_bytes(text).to_owned());
    let mut texts: Vec<OsString> = texts.collect();
    texts.pop_if(|last| last.is_empty());
    texts
}

/// Whether the arguments of a process, with its name, are those of `relay serve`. A process that has ended has none.
fn is_serving(arguments: &[OsString]) -> bool {
    let is_of_serve = |word: &OsString| word == "serve" || word.as_bytes().starts_with(b"-");
    !arguments.is_empty() && arguments.get(1).is_none_or(is_of_serve)
}

/// The value of `--config`.
fn config_option(arguments: &[OsString]) -> Option<PathBuf> {
    let options = arguments.iter().skip(1).skip_while(|word| *word == "serve");
    Options::parse(&mut Parser::from_args(options), &SERVE).ok()?.path("config")
}

fn variable(variables: &[OsString], name: &str) -> Option<OsString> {
    let value = |variable: &OsString| {
        Some(OsStr::from_bytes(variable.as_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?).to_owned())
    };
    variables.iter().find_map(value)
}

/// Whether a configuration of a process is this one. `None`: this user may not see its files.
fn is_same(id: u32, found: &Origin, origin: &Origin) -> Option<bool> {
    let (Origin::File(found), Origin::File(own)) = (found, origin) else { return Some(found == origin) };
    let identity = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    // As the process sees it: it may have another directory, and another root in a container.
    let theirs = match found.strip_prefix("/") {
        Ok(rest) => Path::new(&format!("/proc/{id}/root")).join(rest),
        Err(_) => Path::new(&format!("/proc/{id}/cwd")).join(found),
    };
    let theirs = match identity(&theirs) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && found.is_absolute() => identity(found),
        theirs => theirs,
    };
    match (theirs, identity(own)) {
        (Err(error), _) if error.kind() == io::ErrorKind::PermissionDenied => None,
        (theirs, own) => Some(theirs.ok().is_some_and(|theirs| own.ok() == Some(theirs))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_that_serve() {
        for (arguments, serves, config) in [
            ("relay\0", true, None),
            ("relay\0serve\0", true, None),
            ("relay\0--config\0a b\0", true, Some("a b")),
            ("relay\0serve\0--listen\0*:1\0--config=/b\0", true, Some("/b")),
            ("relay\0listen\0a\0", false, None),
            ("", false, None),
        ] {
            let arguments = list(arguments.as_bytes());
            assert_eq!(is_serving(&arguments), serves, "{arguments:?}");
            assert_eq!(config_option(&arguments).filter(|_| serves), config.map(PathBuf::from), "{arguments:?}");
        }
    }

    #[test]
    fn variables_of_a_process() {
        let variables = list(b"RELAY_CONFIG_TOML=a = 1\nb = 2\0RELAY_CONFIG=/x=y\0");
        assert_eq!(variable(&variables, "RELAY_CONFIG"), Some("/x=y".into()));
        assert_eq!((variable(&variables, "RELAY"), variable(&[], "A")), (None, None));
        let origin = Origin::find_among(None, |name| variable(&variables, name));
        assert_eq!(origin, Origin::File("/x=y".into()));
    }

    #[test]
    fn the_process_that_is_meant() {
        let process = |id, is_meant| Process { id, is_meant };
        let (own, other, unknown) = (process(1, Some(true)), process(2, Some(false)), process(3, None));
        assert_eq!(meant(vec![other, own, unknown]), [own]);
        assert_eq!(meant(vec![other, unknown]), [unknown]);
        assert_eq!(meant(vec![other]), []);
        assert_eq!(unknown.to_string(), "relay (process 3, perhaps with another configuration)");
    }

    #[test]
    fn the_same_file_under_other_names() {
        let (id, file) = (std::process::id(), |path: &str| Origin::File(path.into()));
        let own = fs::canonicalize("Cargo.toml").unwrap();
        assert_eq!(is_same(id, &file("Cargo.toml"), &Origin::File(own.clone())), Some(true));
        assert_eq!(is_same(id, &Origin::File(own), &file("src/../Cargo.toml")), Some(true));
        assert_eq!(is_same(id, &file("Cargo.lock"), &file("Cargo.toml")), Some(false));
        assert_eq!(is_same(id, &file("/nowhere"), &file("/nowhere")), Some(false));
        assert_eq!(is_same(id, &Origin::Demo, &file("Cargo.toml")), Some(false));
        assert_eq!(is_same(id, &Origin::Variable("a".into()), &Origin::Variable("a".into())), Some(true));
    }
}
