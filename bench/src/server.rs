//! A server that is started for a run and killed when the run ends.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{error::Error, process::Process};

/// A running server with a temporary directory of its own, on a free port of the loopback network.
#[derive(Debug)]
pub struct Server {
    child: Child,
    directory: PathBuf,
    /// The address that its log names.
    pub address: String,
}

impl Server {
    /// Starts relay: the program at `path`, otherwise the one beside this program, otherwise the one in `PATH`. Its
    /// configuration has one source and no limit of the message rate.
    pub fn start_relay(path: Option<&Path>, source: &str, key: &str) -> Result<Server, Error> {
        let sibling = env::current_exe().ok().map(|own| own.with_file_name("relay")).filter(|path| path.exists());
        let program = path.map(Path::to_owned).or(sibling).unwrap_or_else(|| "relay".into());
        Server::start_relay_with(&program, &configuration(source, key))
    }

    /// Starts the relay at `program` with this configuration.
    pub fn start_relay_with(program: &Path, configuration: &str) -> Result<Server, Error> {
        let failed = Error::io(program.display().to_string());
        let directory = new_directory()?;
        let config = directory.join("relay.toml");
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg(&config);
        let child = fs::write(&config, configuration).map_err(&failed);
        Server::start_in(directory, child.map(|()| command), program)
    }

    /// Starts a command that logs `listening on ADDRESS` to standard error.
    pub fn start(command: Command) -> Result<Server, Error> {
        let program = PathBuf::from(command.get_program());
        Server::start_in(new_directory()?, Ok(command), &program)
    }

    fn start_in(directory: PathBuf, command: Result<Command, Error>, program: &Path) -> Result<Server, Error> {
        let started = command.and_then(|command| spawn(command, program, &directory.join("relay.log")));
        if started.is_err() {
            let _ = fs::remove_dir_all(&directory);
        }
        let (child, address) = started?;
        Ok(Server { child, directory, address })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its process.
    pub fn process(&self) -> Result<Process, Error> {
        Process::find(self.pid())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A configuration with one source and no limit of the message rate.
pub fn configuration(source: &str, key: &str) -> String {
    // A JSON string is also a TOML string.
    let [source, key] = [source, key].map(serde_json::Value::from);
    format!("listen = [\"127.0.0.1:0\"]\n[sources.{source}]\nsign_key = {key}\n[limits]\nmessage_rate = 0\n")
}

fn new_directory() -> Result<PathBuf, Error> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = match COUNT.fetch_add(1, Ordering::Relaxed) {
        0 => format!("relay-bench-{}", std::process::id()),
        count => format!("relay-bench-{}-{count}", std::process::id()),
    };
    let directory = env::temp_dir().join(name);
    fs::create_dir(&directory).map_err(Error::io(directory.display().to_string()))?;
    Ok(directory)
}

/// Starts a command and waits until its log names the address.
fn spawn(mut command: Command, program: &Path, log: &Path) -> Result<(Child, String), Error> {
    let failed = Error::io(program.display().to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create_new(log).map_err(&failed)?);
    kill_with_parent(&mut command);
    let mut child = command.spawn().map_err(&failed)?;
    let begin = Instant::now();
    loop {
        let text = fs::read_to_string(log).unwrap_or_default();
        let complete = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        if let Some(address) = complete.lines().find_map(|line| Some(line.split_once("listening on ")?.1)) {
            return Ok((child, address.trim().into()));
        }
        let exited = child.try_wait().map_err(&failed)?.is_some();
        if exited || begin.elapsed() > START_TIMEOUT {
            let _ = child.kill();
            let _ = child.wait();
            let reason = if exited { "exited" } else { "timed out" };
            let (program, text) = (program.display(), text.trim_end());
            return Err(Error::Failed(format!("{program} does not start: it {reason} before it listened\n{text}")));
        }
        sleep(Duration::from_millis(5));
    }
}

/// Makes the kernel kill the child when this process ends for any reason (`PR_SET_PDEATHSIG`), so that no relay without limits
/// is left behind.
#[allow(unsafe_code)]
fn kill_with_parent(command: &mut Command) {
    #[cfg(target_os = "linux")]
    // SAFETY: between fork and exec only async-signal-safe functions may be called; prctl(2) is a bare system call.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
}

const START_TIMEOUT: Duration = Duration::from_secs(10);
