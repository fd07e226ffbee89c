//! A relay that is started for a run and ends with it.

use std::{
    env, fs,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use super::Failure;

/// A running relay of one's own, on a free port of the loopback network.
#[derive(Debug)]
pub struct Started {
    child: Child,
    folder: PathBuf,
    /// Where it listens.
    pub address: String,
}

impl Started {
    /// Starts the program at `path`, else the one beside this program, else the one in `PATH`, with a configuration that has
    /// one source and no limit of messages.
    pub fn new(path: Option<&Path>, source: &str, key: &str) -> Result<Started, Failure> {
        let beside = env::current_exe().ok().map(|own| own.with_file_name("relay")).filter(|path| path.exists());
        let program = path.map(Path::to_owned).or(beside).unwrap_or_else(|| "relay".into());
        let folder = env::temp_dir().join(format!("relay-bench-{}", std::process::id()));
        fs::create_dir(&folder).map_err(Failure::of(&folder.display().to_string()))?;
        let running = Started::spawn(&program, &folder, source, key);
        if running.is_err() {
            let _ = fs::remove_dir_all(&folder);
        }
        let (child, address) = running?;
        Ok(Started { child, folder, address })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn spawn(program: &Path, folder: &Path, source: &str, key: &str) -> Result<(Child, String), Failure> {
        let (config, log) = (folder.join("relay.toml"), folder.join("relay.log"));
        let failed = Failure::of(&program.display().to_string());
        let mut file = fs::File::create_new(&config).map_err(&failed)?;
        // JSON's strings are TOML's.
        let [source, key] = [source, key].map(serde_json::Value::from);
        write!(file, "listen = [\"127.0.0.1:0\"]\n[sources.{source}]\nsign_key = {key}\n[limits]\nmessage_rate = 0\n")
            .map_err(&failed)?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg(&config).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create_new(&log).map_err(&failed)?);
        end_with_us(&mut command);
        let mut child = command.spawn().map_err(&failed)?;
        let begin = Instant::now();
        loop {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let whole = said.rsplit_once('\n').map_or("", |(lines, _)| lines);
            if let Some(address) = whole.lines().find_map(|line| Some(line.split_once("listening on ")?.1)) {
                return Ok((child, address.trim().into()));
            }
            let ended = child.try_wait().map_err(&failed)?.is_some();
            if ended || begin.elapsed() > PATIENCE {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Failure::Failed(format!("{} does not start:\n{}", program.display(), said.trim_end())));
            }
            sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// However this process ends, the kernel ends that one too (`PR_SET_PDEATHSIG`): a relay without limits is not left behind.
#[allow(unsafe_code)]
fn end_with_us(command: &mut Command) {
    #[cfg(target_os = "linux")]
    // SAFETY: between fork and exec only what is safe in a signal handler may be called; prctl(2) is a bare system call.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
