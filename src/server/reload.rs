//! SIGHUP: the configuration is read again and applied, or the old one stays in force.
//!
//! A separate thread reads and parses it, because its file system may block, and a large file takes long to parse. The event
//! loop applies the result. At most one thread reads at a time; a SIGHUP meanwhile causes one more reading after it.

use core::time::Duration;
use std::{
    io,
    rc::Rc,
    sync::{
        Arc,
        mpsc::{self, Receiver, TryRecvError},
    },
    thread,
};

use log::{error, info, warn};
use mio::Waker;
use sd_notify::NotifyState;

use super::{
    config_file::{BadConfig, Loaded},
    event_loop::Server,
    startup::exposure,
    waker::waker,
};
use crate::clock::Time;

type Read = Result<Loaded, BadConfig>;

/// The reading of a new configuration.
#[derive(Default)]
pub struct Reload {
    reading: Option<Reading>,
    /// Whether a SIGHUP arrived while a configuration was being read.
    again: bool,
}

struct Reading {
    result: Receiver<Read>,
    /// `None` once it has passed: the result is dropped when it arrives.
    until: Option<Time>,
}

/// What has happened to the reading.
enum Progress {
    Done(Read),
    /// It takes too long. The thread cannot be stopped.
    Late,
    /// The thread ended after its time.
    TooLate,
}

impl Reload {
    /// Starts a thread that calls `load`, unless one is still running: then [`Reload::poll`] asks for another one after it.
    fn begin(
        &mut self,
        load: impl FnOnce() -> Read + Send + 'static,
        now: Time,
        waker: impl FnOnce() -> io::Result<Arc<Waker>>,
    ) -> io::Result<()> {
        if self.reading.is_some() {
            self.again = true;
            return Ok(());
        }
        let (sender, result) = mpsc::sync_channel(1);
        let waker = waker()?;
        thread::Builder::new().name("config".into()).spawn(move || {
            // An error means that relay has stopped.
            let _ = sender.send(load());
            let _ = waker.wake();
        })?;
        self.reading = Some(Reading { result, until: Some(now.after(PATIENCE)) });
        Ok(())
    }

    /// What has happened since the last call, if anything.
    fn poll(&mut self, now: Time) -> Option<Progress> {
        let reading = self.reading.as_mut()?;
        match (reading.result.try_recv(), reading.until) {
            (Ok(read), Some(_)) => {
                self.reading = None;
                Some(Progress::Done(read))
            }
            (Ok(_) | Err(TryRecvError::Disconnected), _) => {
                self.reading = None;
                Some(Progress::TooLate)
            }
            (Err(TryRecvError::Empty), Some(until)) if until <= now => {
                reading.until = None;
                Some(Progress::Late)
            }
            (Err(TryRecvError::Empty), _) => None,
        }
    }

    /// When [`Reload::poll`] must be called, even if no thread has ended.
    pub fn deadline(&self) -> Time {
        self.reading.as_ref().and_then(|reading| reading.until).unwrap_or(Time::NEVER)
    }
}

impl Server {
    /// Starts to read the configuration again.
    pub(super) fn begin_reload(&mut self) {
        if let Ok(monotonic) = NotifyState::monotonic_usec_now() {
            self.notify_manager(&[NotifyState::Reloading, monotonic]);
        }
        let origin = self.options.origin.clone();
        let wake = || waker(&mut self.waker, &self.poll);
        if let Err(error) = self.reload.begin(move || origin.load(), self.now.time, wake) {
            self.keep_configuration(&[format!("cannot start a thread to read the configuration: {error}")]);
            self.notify_manager(&[NotifyState::Ready]);
        }
    }

    /// Applies the new configuration once it is read.
    pub(super) fn handle_reload(&mut self) {
        if self.stopping.is_some() {
            self.reload = Reload::default();
            return;
        }
        let Some(progress) = self.reload.poll(self.now.time) else { return };
        match progress {
            Progress::Done(Ok(loaded)) => self.apply_configuration(loaded),
            Progress::Done(Err(BadConfig(lines))) => self.keep_configuration(&lines),
            Progress::Late => {
                let why =
                    format!("the configuration was not read within {} s: its disk does not answer", PATIENCE.as_secs());
                self.keep_configuration(&[why]);
            }
            Progress::TooLate => warn!("the configuration can be read again: reload again to apply it"),
        }
        let ended = self.reload.reading.is_none();
        if ended && core::mem::take(&mut self.reload.again) && self.stopping.is_none() {
            return self.begin_reload();
        }
        self.notify_manager(&[NotifyState::Ready]);
    }

    fn apply_configuration(&mut self, Loaded { config, warnings }: Loaded) {
        let old = self.hub.config().clone();
        let refused = if exposure(&config, &self.options, &self.listeners).is_some() {
            Some(
                "the new configuration has a public demo key, and other machines can reach relay: the old one stays in force \
                 (use a key of your own, or start relay with --allow-demo-keys)"
                    .to_owned(),
            )
        } else if config.admits_nobody() && !old.admits_nobody() {
            Some(
                "the new configuration has no source, so all sessions would end: is the file empty? Keep one [sources.NAME], or \
                 stop relay"
                    .into(),
            )
        } else {
            self.hub.state.fits(&config).err().map(|error| error.to_string())
        };
        if let Some(why) = refused {
            return self.keep_configuration(&[why]);
        }
        let fixed = [
            ("listen", old.listen != config.listen),
            ("[message_log]", old.message_log != config.message_log),
            ("[admin]", old.admin_token != config.admin_token),
            ("socketio.client_js", old.socketio.client_js != config.socketio.client_js),
        ];
        for (what, _) in fixed.iter().filter(|(_, changed)| *changed) {
            warn!("{what} changed: it takes effect after a restart");
        }
        warnings.iter().for_each(|warning| warn!("{warning}"));
        log::set_max_level(config.log_level);
        self.hooks.configure(&config.hooks);
        let ended = self.hub.reload(Rc::new(config), self.now);
        self.configure_cluster();
        if ended > 0 {
            info!("{ended} sessions end: the new configuration would not admit them");
        }
        info!("configuration re-read");
        self.hub.log.system("reload", |_| {});
    }

    /// Logs why a new configuration is not applied.
    fn keep_configuration(&mut self, lines: &[String]) {
        lines.iter().for_each(|line| error!("{line}"));
        error!("the new configuration is bad: the old one stays in force");
        self.hub.log.system("reload", |line| line.text("error", &lines.join("; ")));
    }
}

/// How long the configuration may take to be read.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use mio::{Poll, Token};

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    /// A file system that does not answer: nobody waits, one thread at most is stuck, and what it brings later is dropped.
    #[test]
    fn a_slow_disk() {
        let poll = Poll::new().unwrap();
        let wake = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let (disk, answer) = mpsc::channel();
        let answer = Arc::new(std::sync::Mutex::new(answer));
        let mut reload = Reload::default();
        let begin = |reload: &mut Reload, now| {
            let (answer, wake) = (answer.clone(), wake.clone());
            let load = move || answer.lock().unwrap().recv().unwrap_or_else(|_| Err(BadConfig(Vec::new())));
            reload.begin(load, now, || Ok(wake)).unwrap();
        };
        begin(&mut reload, at(1));
        assert!(reload.poll(at(10)).is_none());
        assert_eq!(reload.deadline(), at(11));
        assert!(matches!(reload.poll(at(11)), Some(Progress::Late)));
        assert!(reload.poll(at(60)).is_none());
        assert_eq!(reload.deadline(), Time::NEVER);
        begin(&mut reload, at(61));
        assert!(reload.again, "it waits for the first thread");
        disk.send(Err(BadConfig(vec!["late".into()]))).unwrap();
        let wait = |reload: &mut Reload, now| loop {
            match reload.poll(now) {
                Some(progress) => return progress,
                None => thread::yield_now(),
            }
        };
        assert!(matches!(wait(&mut reload, at(62)), Progress::TooLate));
        begin(&mut reload, at(62));
        disk.send(Err(BadConfig(vec!["in time".into()]))).unwrap();
        let Progress::Done(Err(BadConfig(lines))) = wait(&mut reload, at(63)) else { panic!("it is in time") };
        assert_eq!(lines, ["in time"]);
        assert!(reload.poll(at(64)).is_none());
    }
}
