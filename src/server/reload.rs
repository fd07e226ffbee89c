//! SIGHUP and `POST /api/reload`: the configuration is read again and applied, or the old one stays in force.
//!
//! A separate thread reads and parses it, because its file system may block, and a large file takes long to parse. The event
//! loop applies the result. At most one thread reads at a time; a SIGHUP meanwhile causes one more reading after it.

pub mod reading;

use std::{rc::Rc, sync::Arc};

use log::{error, info, warn};
use sd_notify::NotifyState;

use self::reading::{PATIENCE, Progress, Read, Reload};
use super::{
    config_file::{BadConfig, Loaded, Origin},
    event_loop::Server,
    outlook::log_problem,
    process,
    startup::exposure,
    waker::waker,
};
use crate::{
    api::{assets::Asset, control::STOPPING, reload},
    config::{Changes, Config, changes::Source},
    http::Reply,
    key::ConnKey,
    text::truncate,
};

impl Server {
    /// Starts to read the configuration again.
    pub(super) fn begin_reload(&mut self) {
        if let Ok(monotonic) = NotifyState::monotonic_usec_now() {
            self.notify_manager(&[NotifyState::Reloading, monotonic]);
        }
        let (origin, log_dir) = (self.options.origin.clone(), self.hub.config().message_log.dir.clone());
        let in_force = self.reload.in_force.clone();
        let wake = || waker(&mut self.waker, &self.poll);
        if let Err(error) = self.reload.begin(move || load(&origin, &log_dir, &in_force), self.now.time, wake) {
            self.keep_configuration(&[format!("cannot start a thread to read the configuration: {error}")]);
            self.notify_manager(&[NotifyState::Ready]);
        }
    }

    /// Starts to read the configuration again for a request, which is answered with the result.
    pub(super) fn begin_reload_for(&mut self, conn: ConnKey) {
        match self.reload.add_waiting(conn) {
            true => self.begin_reload(),
            false => self.answer(conn, Reply::refusal(503, "too many requests wait for a reload")),
        }
    }

    /// Applies the new configuration once it is read.
    pub(super) fn handle_reload(&mut self) {
        if self.stopping.is_some() {
            self.answer_reload(&|| Reply::refusal(503, STOPPING));
            self.reload = Reload::default();
            return;
        }
        let Some(progress) = self.reload.poll(self.now.time) else { return };
        match progress {
            Progress::Done(Ok(read)) => self.apply_configuration(*read),
            Progress::Done(Err(BadConfig(lines))) => self.keep_configuration(&lines),
            Progress::Late => {
                let why =
                    format!("the configuration was not read within {} s: its disk does not answer", PATIENCE.as_secs());
                self.keep_configuration(&[why]);
            }
            Progress::TooLate => warn!("{TOO_LATE}"),
        }
        if self.reload.take_again() {
            return self.begin_reload();
        }
        self.notify_manager(&[NotifyState::Ready]);
    }

    fn apply_configuration(&mut self, (loaded, changes): (Loaded, Changes)) {
        let Loaded { config, warnings, source } = loaded;
        let old = self.hub.config().clone();
        if let Some(why) = self.refuses(&config, &old) {
            return self.keep_configuration(&[why]);
        }
        if old.message_log != config.message_log
            && let Err(error) = self.replace_log(&config.message_log)
        {
            return self.keep_configuration(&[format!("message_log: {error}")]);
        }
        if old.admin_token != config.admin_token {
            self.site.admin_token = process::admin_token(&config);
            self.hub.close_viewers();
        }
        if old.socketio.client_js != config.socketio.client_js {
            self.site.client_js = Asset::script(&config.socketio.client_js);
        }
        for (key, changed) in
            [("listen", old.listen != config.listen), ("admin.listen", old.admin_listen != config.admin_listen)]
        {
            if changed {
                warn!("{key} changed: it takes effect after a restart");
            }
        }
        warnings.iter().for_each(|warning| warn!("{warning}"));
        log::set_max_level(config.log_level);
        self.hooks.configure(&config.hooks);
        let ended = self.hub.reload(Rc::new(config), self.now);
        self.configure_memory();
        self.configure_tls();
        self.configure_cluster();
        changes.list.iter().for_each(|change| info!("changed: {change}"));
        if changes.more > 0 {
            info!("changed: {} more keys", changes.more);
        }
        if ended > 0 {
            info!("{ended} sessions end: the new configuration would not admit them");
        }
        info!("configuration re-read");
        self.hub.log.system("reload", |_| {});
        self.reload.in_force = Arc::new(source);
        self.answer_reload(&|| reload::applied(&changes, &warnings, ended));
    }

    /// Why a valid configuration cannot replace the old one.
    fn refuses(&self, config: &Config, old: &Config) -> Option<String> {
        if exposure(config, &self.options, &self.listeners).is_some() {
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
            self.hub.state.fits(config).err().map(|error| error.to_string())
        }
    }

    /// Logs why a new configuration is not applied.
    fn keep_configuration(&mut self, lines: &[String]) {
        lines.iter().for_each(|line| error!("{line}"));
        error!("{}", reload::REFUSED);
        self.hub.log.system("reload", |line| line.text("error", truncate(&lines.join("; "), MAX_ERROR_LEN)));
        self.answer_reload(&|| reload::refused(lines));
    }

    /// Answers the requests that wait for this reading.
    fn answer_reload(&mut self, reply: &dyn Fn() -> Reply) {
        for conn in self.reload.take_waiting() {
            self.answer(conn, reply());
        }
    }
}

/// Reads and checks a configuration, in a thread of its own. Fails also if the message log could not be written to its
/// directory, unless that is `log_dir`, the present one.
fn load(origin: &Origin, log_dir: &str, in_force: &Source) -> Read {
    let loaded = origin.load()?;
    let dir = &loaded.config.message_log.dir;
    match log_problem(dir).filter(|_| dir != log_dir) {
        Some(why) => Err(BadConfig(vec![format!("{origin}: {why}")])),
        None => {
            let changes = in_force.changes(&loaded.source);
            Ok(Box::new((loaded, changes)))
        }
    }
}

const TOO_LATE: &str = "the configuration can be read again: reload again to apply it";
/// Bytes of the problems of a configuration that one line of the message log has. The log on standard error has all.
const MAX_ERROR_LEN: usize = 4096;
