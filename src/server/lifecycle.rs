//! Start, reload and shutdown: listening sockets, signals, and status messages to the service manager.

use std::rc::Rc;

use log::{error, info, warn};
use sd_notify::NotifyState;

use super::{conn::State, event_loop::Server, process::BadConfig, startup::exposure};
use crate::{memory, text::truncate, websocket::Close};

impl Server {
    /// Reloads on SIGHUP and stops on SIGTERM or SIGINT.
    pub(super) fn handle_signals(&mut self) {
        let (terminate, reload) = self.signals.poll();
        if reload && self.stopping.is_none() {
            self.reload();
        }
        if terminate {
            self.stop();
        }
    }

    /// Reads the configuration again and applies it, or keeps the old one if the new one is not usable.
    fn reload(&mut self) {
        if let Ok(monotonic) = NotifyState::monotonic_usec_now() {
            self.manager.notify(&[NotifyState::Reloading, monotonic]);
        }
        match self.options.origin.load() {
            Ok(config) => {
                let old = self.hub.config();
                if exposure(&config, &self.options, &self.listeners).is_some() {
                    error!(
                        "the new configuration has a public demo key, and other machines can reach relay: the old one stays \
                         in force (use a key of your own, or start relay with --allow-demo-keys)"
                    );
                } else {
                    let fixed = [
                        ("listen", old.listen != config.listen),
                        ("[message_log]", old.message_log != config.message_log),
                        ("[admin]", old.admin_token != config.admin_token),
                        ("socketio.client_js", old.socketio.client_js != config.socketio.client_js),
                    ];
                    for (what, _) in fixed.iter().filter(|(_, changed)| *changed) {
                        warn!("{what} changed: it takes effect after a restart");
                    }
                    log::set_max_level(config.log_level);
                    self.hooks.configure(&config.hooks);
                    self.hub.reload(Rc::new(config), self.now);
                    self.configure_memory();
                    self.configure_cluster();
                    info!("configuration re-read");
                    self.hub.log.system("reload", |_| {});
                }
            }
            Err(BadConfig(lines)) => {
                lines.iter().for_each(|line| error!("{line}"));
                error!("the new configuration is bad: the old one stays in force");
                self.hub.log.system("reload", |line| line.text("error", truncate(&lines.join("; "), MAX_ERROR_LEN)));
            }
        }
        self.manager.notify(&[NotifyState::Ready]);
    }

    /// Begins the shutdown: closes the listening sockets and all clients, and waits up to `shutdown_timeout` for open
    /// requests, calls to the backend and the cluster. A second call ends the wait.
    fn stop(&mut self) {
        if self.stopping.is_some() {
            self.stopping = Some(self.now.time);
            return;
        }
        info!("stopping: closing {} sessions", self.hub.state.session_count());
        self.manager.notify(&[NotifyState::Stopping]);
        self.stopping = Some(self.now.time.after(self.hub.config().shutdown_timeout));
        self.listeners.clear();
        self.leave_cluster();
        for client in self.hub.state.client_keys() {
            self.close(client, Close::GOING_AWAY, false);
        }
        for key in self.conns.keys() {
            let Some(conn) = self.conns.get_mut(key) else { continue };
            if let State::Http(exchange) = &mut conn.state
                && exchange.is_idle()
            {
                self.drop_conn(key);
            }
        }
    }

    /// Sends a status message to the service manager, and resets its watchdog.
    pub(super) fn send_status(&mut self) {
        let Some(interval) = self.manager.interval else { return };
        self.status_due = self.now.time.after(interval);
        let (published, since) =
            core::mem::replace(&mut self.last_status, (self.hub.state.stats.published, self.now.time));
        let seconds = self.now.time.since(since).as_secs_f64().max(0.001);
        let rate = (self.hub.state.stats.published - published) as f64 / seconds;
        let (sessions, rooms) = (self.hub.state.session_count(), self.hub.state.room_count());
        let megabytes = memory::allocated() / 1_000_000;
        let status = format!("{sessions} sessions, {rooms} rooms, {rate:.0} msg/s, {megabytes} MB");
        self.manager.notify(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
    }
}

/// Bytes of the problems of a configuration that one line of the message log has. The log on standard error has all.
const MAX_ERROR_LEN: usize = 4096;
