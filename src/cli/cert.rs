//! `relay cert`: makes a certificate authority for a local network, and the certificate of a relay in it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use lexopt::Parser;

use super::{
    arguments::Stop,
    commands,
    error::{Error, UsageError},
    options::Options,
    terminal::say,
};
use crate::{
    server::{clock::unix_micros, config_file},
    tls::{Authority, CertificateError, new_key},
};

/// A certificate to make.
#[derive(Debug)]
pub struct Cert {
    folder: PathBuf,
    /// Empty: those of the certificate that is renewed.
    names: Vec<String>,
    days: u32,
}

impl Cert {
    /// Parses what follows `cert`.
    pub fn parse(parser: &mut Parser) -> Result<Cert, Stop> {
        let mut options = Options::parse(parser, &commands::CERT)?;
        options.no_more_words()?;
        let days = match options.take("days") {
            None => DAYS,
            Some(text) => {
                text.parse().ok().filter(|days| (1..=MOST_DAYS).contains(days)).ok_or(UsageError::Days(text))?
            }
        };
        let names = options.all("name").iter().map(|name| name.to_ascii_lowercase()).collect();
        Ok(Cert { folder: options.path("dir").unwrap_or(FOLDER.into()), names, days })
    }

    /// Makes the certificate, and the authority if there is none.
    pub fn run(self) -> Result<(), Error> {
        let now = unix_micros() / 1_000_000;
        let [ca, ca_key, server, server_key] = FILES.map(|name| self.folder.join(name));
        let names = self.names(&server)?;
        let (authority, is_new) = match (read(&ca)?, read(&ca_key)?) {
            (Some(certificate), Some(key)) => {
                (Authority::open(&certificate, &key).map_err(|error| file_error(&ca, &error))?, false)
            }
            (None, None) => (Authority::new(&names, now).map_err(|error| file_error(&ca, &error))?, true),
            (Some(_), None) => return Err(half(&ca_key, &ca)),
            (None, Some(_)) => return Err(half(&ca, &ca_key)),
        };
        let old_key = read(&server_key)?;
        let key = match &old_key {
            Some(key) => key.clone(),
            None => new_key().map_err(|error| file_error(&server_key, &error))?,
        };
        let issued = authority.issue(&key, &names, now, self.days).map_err(|error| match error {
            CertificateError::Constrained(_) | CertificateError::Ending(_) => Error::File(
                ca.clone(),
                format!("{error}: make a new authority with all names in another directory (--dir), and install it on each device"),
            ),
            error => file_error(&server, &error),
        })?;
        // Everything is made before anything is written.
        make_folder(&self.folder)?;
        let mut said = String::new();
        let mut wrote = |path: &Path, what: &str| said.push_str(&format!("{}: {what}\n", path.display()));
        if is_new {
            write_new(&ca_key, &authority.key(), 0o600)?;
            wrote(&ca_key, "the key of the authority: nobody else may get it");
            write_new(&ca, authority.certificate(), 0o644)?;
            wrote(&ca, &format!("the authority \"{}\", to be installed on each device", authority.name()));
        }
        if old_key.is_none() {
            write_new(&server_key, &key, 0o600)?;
            wrote(&server_key, "the key of relay");
        }
        replace(&server, &format!("{MARK}{}\n{issued}", names.join(" ")))?;
        wrote(&server, &format!("the certificate of relay for {}, for {} days", names.join(", "), self.days));
        say(&said);
        say(&match is_new {
            true => advice(&self.folder, &names),
            false => "'systemctl reload relay' makes relay use it.\n".into(),
        });
        Ok(())
    }

    /// The names that were given, or else those of the certificate, which `relay cert` must have made.
    fn names(&self, server: &Path) -> Result<Vec<String>, Error> {
        let old = read(server)?;
        let known = old.as_ref().map(|text| text.lines().next().and_then(|line| line.strip_prefix(MARK)));
        match known {
            Some(None) => Err(Error::File(
                server.into(),
                "'relay cert' did not make this certificate: move it away, or choose another directory (--dir)".into(),
            )),
            _ if !self.names.is_empty() => Ok(self.names.clone()),
            Some(Some(names)) => Ok(names.split(' ').map(String::from).collect()),
            None => Err(Error::NoNames(server.into())),
        }
    }
}

/// What to do with a new authority.
fn advice(folder: &Path, names: &[String]) -> String {
    let (folder, name) = (folder.display(), names[0].replacen("*.", "www.", 1));
    let name = if name.contains(':') { format!("[{name}]") } else { name };
    format!(
        "\nAdd to relay.toml:\n\n\
         listen = [\"127.0.0.1:4000\", \"tls://*:4443\"]      # at the top of the file\n\n\
         [[tls.certificates]]\ncert_file = \"{folder}/{}\"\nkey_file = \"{folder}/{}\"\n\n\
         Restart relay, because the address is new: relay check && systemctl restart relay\n\
         Then install {folder}/{} on each device: docs/tls.md explains how.\n\
         Try it: curl --cacert {folder}/{} https://{name}:4443/healthz\n",
        FILES[2], FILES[3], FILES[0], FILES[0]
    )
}

fn half(missing: &Path, other: &Path) -> Error {
    let why = format!("it does not exist, but {} does: restore it, or move the other away", other.display());
    Error::File(missing.into(), why)
}

fn file_error(path: &Path, error: &dyn ToString) -> Error {
    Error::File(path.into(), error.to_string())
}

/// The content of a file, if it exists.
fn read(path: &Path) -> Result<Option<String>, Error> {
    match config_file::read_secret(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_error(path, &error)),
    }
}

fn make_folder(folder: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o750).create(folder).map_err(|error| file_error(folder, &error))
}

/// Writes a file that does not exist.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        share(&file, path, mode)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| file_error(path, &error))
}

/// Gives a file to the group of its directory, if that is another than the user's own, and lets the group read it: relay runs
/// as another user. It does not need the key of the authority.
fn share(file: &File, path: &Path, mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new(".")).metadata()?;
    // With this bit of the directory, the file has its group already.
    let inherits = folder.mode() & 0o2000 != 0;
    let is_other = inherits || folder.gid() != file.metadata()?.gid();
    if path.ends_with(FILES[1]) || !is_other || !inherits && fchown(file, None, Some(folder.gid())).is_err() {
        return Ok(());
    }
    file.set_permissions(fs::Permissions::from_mode(mode | 0o040))
}

/// Writes a file in one step, so that relay never reads a part of it.
fn replace(path: &Path, text: &str) -> Result<(), Error> {
    let new = path.with_extension(format!("new.{}", std::process::id()));
    write_new(&new, text, 0o644)?;
    fs::rename(&new, path).map_err(|error| file_error(path, &error))
}

/// The certificate and the key of the authority, and those of the server.
const FILES: [&str; 4] = ["ca.pem", "ca.key", "server.pem", "server.key"];
/// The default of `--dir`.
const FOLDER: &str = "/etc/relay/tls";
/// The first line of a certificate: its names follow. Readers of PEM files ignore what stands before the first section.
const MARK: &str = "relay cert: ";
/// The default of `--days`. A renewal once a year is early enough.
const DAYS: u32 = 397;
/// Apple's devices accept 825 days at most, also of authorities that users install. The certificate begins a day early.
const MOST_DAYS: u32 = 824;
