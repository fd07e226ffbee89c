//! The configuration file, and the files that it names. Only regular files are read, and only to a limit: a FIFO or a device
//! might never end.

use core::fmt;
use std::{
    env, error,
    ffi::OsString,
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::clock::unix_micros;
use crate::{
    config::{self, Config, changes::Source, some_of},
    text::text_without_bom,
};

/// Where the configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// The text in the variable `RELAY_CONFIG_TOML`, for containers.
    Variable(OsString),
    /// The built-in demo setting.
    Demo,
}

/// A configuration that was read.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Settings that are probably mistakes, keys that can be guessed, and files that others can read or change.
    pub warnings: Vec<String>,
    /// Its text, with which the next one is compared.
    pub source: Source,
}

/// A file that could not be read for a client.
#[derive(Clone, Debug)]
pub struct Unread {
    /// The text that stands for its content.
    pub content: String,
    /// Its path and the reason.
    pub why: String,
    /// Whether this user may not read it.
    pub denied: bool,
}

/// Why a configuration cannot be used: one line for each problem, which begins with `FILE:LINE:COLUMN:` if it has a
/// position in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadConfig(pub Vec<String>);

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl error::Error for BadConfig {}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path) => path.display().fmt(f),
            Origin::Variable(_) => write!(f, "${TEXT_VARIABLE}"),
            Origin::Demo => f.write_str("the built-in demo setting"),
        }
    }
}

impl Origin {
    /// The file given by `--config`, otherwise by `RELAY_CONFIG`, otherwise the text in `RELAY_CONFIG_TOML`, otherwise
    /// `/etc/relay/relay.toml` if it exists, otherwise the demo setting.
    pub fn find(option: Option<PathBuf>) -> Origin {
        Origin::find_among(option, |name| env::var_os(name))
    }

    /// [`Origin::find`] for a process with these variables.
    pub fn find_among(option: Option<PathBuf>, variable: impl Fn(&str) -> Option<OsString>) -> Origin {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let file = option.or_else(|| variable("RELAY_CONFIG").map(PathBuf::from)).map(Origin::File);
        let text = || variable(TEXT_VARIABLE).map(Origin::Variable);
        let system = || Some(Path::new(FOLDER).join("relay.toml")).filter(|path| path.exists()).map(Origin::File);
        file.or_else(text).or_else(system).unwrap_or(Origin::Demo)
    }

    /// Its own text, and the directory for relative names; nothing of the demo setting.
    fn read(&self) -> Result<Option<(File, PathBuf)>, BadConfig> {
        let bad = |error| BadConfig(vec![format!("{self}: {error}")]);
        match self {
            Origin::File(path) => {
                let own = read_file(path, MAX_SIZE).map_err(bad)?;
                Ok(Some((own, path.parent().unwrap_or(Path::new(".")).into())))
            }
            Origin::Variable(text) => {
                let text = text.to_str().ok_or(Unreadable::NotUtf8).map_err(bad)?.to_owned();
                // Nobody else can read or change it.
                Ok(Some((File { path: self.to_string().into(), text, mode: 0o600 }, FOLDER.into())))
            }
            Origin::Demo => Ok(None),
        }
    }

    /// Reads the configuration for a client on this machine. A file that it names and that cannot be read, such as the key of
    /// another source, is no problem: it is among the results, with the text that stands for its content.
    pub fn load_for_client(&self) -> Result<(Config, Vec<Unread>), BadConfig> {
        let Some((own, beside)) = self.read()? else { return Ok((Config::demo(), Vec::new())) };
        let (mut left, mut unread) = (MAX_SIZE, Vec::new());
        let mut read = |name: &Path| {
            let path = secret_path(name, &beside);
            Ok(match read_file(&path, left) {
                Ok(file) => {
                    left -= file.text.len() as u64;
                    file.text
                }
                Err(error) => {
                    // No key has a NUL.
                    let content = format!("\0{}", unread.len());
                    let denied =
                        matches!(&error, Unreadable::Io(error) if error.kind() == io::ErrorKind::PermissionDenied);
                    let why = format!("{}: {error}", path.display());
                    unread.push(Unread { content: content.clone(), why, denied });
                    content
                }
            })
        };
        let config = config::parse(&own.text, &mut read)
            .map_err(|problems| BadConfig(problems.iter().map(|problem| format!("{self}:{problem}")).collect()))?;
        Ok((config, unread))
    }

    /// Reads and checks the configuration, and the files that it names. Blocks as long as the file system does.
    pub fn load(&self) -> Result<Loaded, BadConfig> {
        let Some((own, beside)) = self.read()? else {
            let config = Config::demo();
            return Ok(Loaded { warnings: config::warnings(&config), config, source: Source::default() });
        };
        let (mut left, mut named, mut source) = (MAX_SIZE, Vec::new(), Source::new(own.text.clone()));
        let mut read = |name: &Path| {
            let file = read_file(&secret_path(name, &beside), left).map_err(io::Error::from)?;
            left -= file.text.len() as u64;
            let text = file.text.clone();
            source.add_file(name.to_string_lossy().into_owned(), &text);
            named.push(file);
            Ok(text)
        };
        let mut config = config::parse(&own.text, &mut read)
            .map_err(|problems| BadConfig(problems.iter().map(|problem| format!("{self}:{problem}")).collect()))?;
        for (section, tls) in [("redis", &mut config.redis.tls), ("hooks", &mut config.hooks.tls)] {
            let Some(tls) = tls.as_mut().filter(|tls| tls.needs_system_authorities()) else { continue };
            tls.load_system_authorities()
                .map_err(|error| BadConfig(vec![format!("{self}: {section}.url: {error} in {section}.ca_file")]))?;
        }
        let mut warnings = config::warnings(&config);
        warnings.extend(config.tls.warnings(unix_micros() / 1_000_000).into_iter().map(|text| format!("tls: {text}")));
        warnings.extend(access_warnings(&config, &own, &named));
        Ok(Loaded { config, warnings, source })
    }
}

/// The trimmed content of a file with a secret that the command line names.
pub fn read_secret(path: &Path) -> io::Result<String> {
    let file = read_file(path, MAX_SIZE).map_err(io::Error::from)?;
    match text_without_bom(&file.text).trim_end() {
        "" => Err(io::Error::other(crate::config::error::FileError::Empty)),
        secret => Ok(secret.to_owned()),
    }
}

/// The path of a file that the configuration names. A relative path is a credential of the service (`systemd.exec(5)`,
/// `LoadCredential=`) if one has that name, otherwise a file in the directory of the configuration. Commands that have no
/// credentials of their own look among those of the running service, which root can read, and then for the file that its
/// `LoadCredential=key:…/keys` would pass as `key_NAME`. The service itself does not, nor the check before a reload: that
/// must not find a file which the service cannot read.
fn secret_path(file: &Path, beside: &Path) -> PathBuf {
    if file.is_absolute() {
        return file.into();
    }
    let plain = beside.join(file);
    let candidates = if let Some(own) = env::var_os("CREDENTIALS_DIRECTORY") {
        vec![Path::new(&own).join(file), plain.clone()]
    } else {
        let key = file.to_str().and_then(|name| name.strip_prefix("key_")).filter(|name| !name.contains('/'));
        let source = key.map(|name| beside.join("keys").join(name));
        [plain.clone(), Path::new(SERVICE_CREDENTIALS).join(file)].into_iter().chain(source).collect()
    };
    candidates.into_iter().find(|path| path.exists()).unwrap_or(plain)
}

/// The directory of the system's configuration.
const FOLDER: &str = "/etc/relay";
/// The variable that may have the text of a configuration.
const TEXT_VARIABLE: &str = "RELAY_CONFIG_TOML";
/// The credentials of relay.service while it runs.
const SERVICE_CREDENTIALS: &str = "/run/credentials/relay.service";

/// A file that was read.
struct File {
    path: PathBuf,
    text: String,
    mode: u32,
}

impl File {
    /// Whether every user of this machine can read it: its mode and that of its directory allow it.
    fn is_public(&self) -> bool {
        let folder = self.path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        let is_open = || folder.metadata().map_or(true, |metadata| metadata.mode() & 0o001 != 0);
        self.mode & 0o004 != 0 && is_open()
    }
}

/// Warnings about files with secrets that every user of this machine can read, and about files that every user can change.
fn access_warnings(config: &Config, own: &File, named: &[File]) -> Vec<String> {
    let is_certificate = |text: &str| text.contains("BEGIN CERTIFICATE") && !text.contains("PRIVATE KEY");
    let is_secret = |file: &&File| file.text != config.socketio.client_js && !is_certificate(&file.text);
    let paths = |files: &mut dyn Iterator<Item = &File>| -> Vec<String> {
        let mut paths: Vec<String> = files.map(|file| file.path.display().to_string()).collect();
        paths.dedup();
        paths
    };
    let own_secrets = Some(own).filter(|_| config.has_secrets);
    let secret = own_secrets.into_iter().chain(named.iter().filter(is_secret));
    let readable = paths(&mut secret.filter(|file| file.is_public()));
    let writable = paths(&mut [own].into_iter().chain(named).filter(|file| file.mode & 0o002 != 0));
    let mut warnings = Vec::new();
    if !readable.is_empty() {
        let files = some_of(&readable);
        warnings.push(format!("every user of this machine can read the keys in {files}: 'chmod o-r' these files"));
    }
    if !writable.is_empty() {
        let files = some_of(&writable);
        warnings.push(format!("every user of this machine can change {files}: 'chmod o-w' these files"));
    }
    warnings
}

/// Reads a regular file of at most `most` bytes.
fn read_file(path: &Path, most: u64) -> Result<File, Unreadable> {
    // O_NONBLOCK: opening a FIFO would wait for a writer.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(Unreadable::Io)?;
    let metadata = file.metadata().map_err(Unreadable::Io)?;
    let kind = metadata.file_type();
    if !kind.is_file() {
        return Err(Unreadable::Kind(match () {
            () if kind.is_dir() => "a directory",
            () if kind.is_fifo() => "a FIFO",
            () if kind.is_socket() => "a socket",
            () => "a device",
        }));
    }
    let mut bytes = Vec::new();
    // A file in /proc has the size 0, and a file may grow while it is read.
    file.take(most + 1).read_to_end(&mut bytes).map_err(Unreadable::Io)?;
    if bytes.len() as u64 > most {
        return Err(Unreadable::TooLarge);
    }
    let text = String::from_utf8(bytes).map_err(|_| Unreadable::NotUtf8)?;
    Ok(File { path: path.into(), text, mode: metadata.mode() })
}

/// Why a file cannot be read.
#[derive(Debug)]
enum Unreadable {
    /// The system refuses it.
    Io(io::Error),
    /// It is not a regular file.
    Kind(&'static str),
    /// It is too large, or all files that the configuration names are too large together.
    TooLarge,
    /// It is not UTF-8.
    NotUtf8,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Io(error) => error.fmt(f),
            Unreadable::Kind(kind) => write!(f, "it is {kind}: it must be a regular file"),
            Unreadable::TooLarge => write!(
                f,
                "it is too large: the configuration, and the files that it names together, have at most {MAX_SIZE} bytes each"
            ),
            Unreadable::NotUtf8 => f.write_str("it is not UTF-8"),
        }
    }
}

impl error::Error for Unreadable {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Unreadable::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Unreadable> for io::Error {
    fn from(unreadable: Unreadable) -> io::Error {
        match unreadable {
            Unreadable::Io(error) => error,
            other => io::Error::other(other),
        }
    }
}

/// Bytes of the configuration file, and of all files that it names together.
const MAX_SIZE: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, process};

    use super::*;

    /// A directory of a test, removed at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let folder = env::temp_dir().join(format!("relay-config-{name}-{}", process::id()));
            fs::create_dir_all(&folder).unwrap();
            Folder(folder)
        }

        fn write(&self, name: &str, text: impl AsRef<[u8]>, mode: u32) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn problem(path: &Path) -> String {
        Origin::File(path.into()).load().unwrap_err().to_string()
    }

    #[test]
    fn only_regular_files_of_some_size_are_read() {
        let folder = Folder::new("kinds");
        assert!(problem(&folder.0).ends_with("it is a directory: it must be a regular file"));
        assert!(problem(Path::new("/dev/zero")).ends_with("/dev/zero: it is a device: it must be a regular file"));
        assert!(problem(&folder.write("big.toml", vec![b'\n'; MAX_SIZE as usize + 1], 0o600)).contains("too large"));
        assert!(problem(&folder.write("latin.toml", b"# \xe4", 0o600)).ends_with("it is not UTF-8"));
        assert!(problem(&folder.0.join("none")).contains("No such file"));
        let key = |file: &str| format!("[sources.a]\nsign_key_file = \"{file}\"\n");
        let place = "relay.toml:2:18: sources.a.sign_key_file: cannot use ";
        let text = problem(&folder.write("relay.toml", key("/dev/zero"), 0o600));
        assert!(text.contains(&format!("{place}\"/dev/zero\": it is a device")), "{text}");
        folder.write("big.key", vec![b'k'; MAX_SIZE as usize - 2], 0o600);
        let two = format!("{}[sources.b]\nsign_key_file = \"small.key\"\n", key("big.key"));
        let path = folder.write("relay.toml", two, 0o600);
        folder.write("small.key", "ab", 0o600);
        assert!(Origin::File(path.clone()).load().is_ok());
        folder.write("small.key", "abc", 0o600);
        assert!(problem(&path).contains("\"small.key\": it is too large"), "both together are");
    }

    #[test]
    fn files_that_others_can_read_or_change() {
        let folder = Folder::new("modes");
        let warnings = |text: &str, mode: u32| {
            let path = folder.write("relay.toml", text, mode);
            Origin::File(path).load().unwrap().warnings.join("\n")
        };
        let inline = "[sources.a]\nsign_key = \"0123456789abcdef\"\n";
        let files = "[sources.a]\nsign_key_file = \"a.key\"\n[socketio]\nclient_js = \"io.js\"\n";
        folder.write("a.key", "0123456789abcdef", 0o640);
        folder.write("io.js", "script", 0o644);
        for (text, mode) in [(inline, 0o640), (inline, 0o660), (files, 0o644)] {
            assert_eq!(warnings(text, mode), "", "{mode:o} {text}");
        }
        let shown = folder.0.join("relay.toml").display().to_string();
        assert_eq!(
            warnings(inline, 0o644),
            format!("every user of this machine can read the keys in {shown}: 'chmod o-r' these files")
        );
        assert!(warnings(files, 0o646).contains(&format!("can change {shown}")));
        folder.write("a.key", "0123456789abcdef", 0o666);
        let text = warnings(files, 0o644);
        assert_eq!(text.matches("a.key").count(), 2, "{text}");
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o750)).unwrap();
        assert_eq!(warnings(inline, 0o644), "", "others cannot enter the directory");
    }
}
