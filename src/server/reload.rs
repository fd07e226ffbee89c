//! SIGHUP: the configuration is read again and applied, or the old one stays in force.
//!
//! A separate thread reads and parses it, because its file system may block, and a large file takes long to parse. The event
//! loop applies the result. At most one thread reads at a time; a SIGHUP meanwhile causes one more reading after it.

pub mod reading;

use std::rc::Rc;

use log::{error, info, warn};
use sd_notify::NotifyState;

use self::reading::{PATIENCE, Progress, Reload};
use super::{
    config_file::{BadConfig, Loaded},
    event_loop::Server,
    startup::exposure,
    waker::waker,
};
use crate::text::truncate;

impl Server {
    /// Starts to read the configuration again.
    pub(super) fn begin_reload(&mut self) {
        if let Ok(monotonic) = NotifyState::monotonic_usec_now() {
            self.notify_manager(&[NotifyState::Reloading, monotonic]);
        }
        let origin = self.options.origin.clone();
        let wake = || waker(&mut self.waker, &self.poll);
        if let Err(error) = self.reload.begin(move || origin.load().map(Box::new), self.now.time, wake) {
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
            Progress::Done(Ok(loaded)) => self.apply_configuration(*loaded),
            Progress::Done(Err(BadConfig(lines))) => self.keep_configuration(&lines),
            Progress::Late => {
                let why =
                    format!("the configuration was not read within {} s: its disk does not answer", PATIENCE.as_secs());
                self.keep_configuration(&[why]);
            }
            Progress::TooLate => warn!("the configuration can be read again: reload again to apply it"),
        }
        if self.reload.take_again() {
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
        } else if !config.tls.is_used() && self.listeners.iter().any(|listener| listener.tls) {
            Some(
                "the new configuration has no certificate, and relay listens with TLS: add [[tls.certificates]]".into(),
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
            ("[admin]", (&old.admin_token, &old.admin_listen) != (&config.admin_token, &config.admin_listen)),
            ("socketio.client_js", old.socketio.client_js != config.socketio.client_js),
        ];
        for (what, _) in fixed.iter().filter(|(_, changed)| *changed) {
            warn!("{what} changed: it takes effect after a restart");
        }
        warnings.iter().for_each(|warning| warn!("{warning}"));
        log::set_max_level(config.log_level);
        self.hooks.configure(&config.hooks);
        let ended = self.hub.reload(Rc::new(config), self.now);
        self.configure_memory();
        self.configure_tls();
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
        self.hub.log.system("reload", |line| line.text("error", truncate(&lines.join("; "), MAX_ERROR_LEN)));
    }
}

/// Bytes of the problems of a configuration that one line of the message log has. The log on standard error has all.
const MAX_ERROR_LEN: usize = 4096;
