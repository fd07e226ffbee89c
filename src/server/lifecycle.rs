//! Signals, the shutdown, and messages to the service manager.

use log::info;
use sd_notify::NotifyState;

use super::{conn::State, event_loop::Server};
use crate::{clock::Time, memory, websocket::Close};

impl Server {
    /// Reloads on SIGHUP and stops on SIGTERM or SIGINT.
    pub(super) fn handle_signals(&mut self) {
        let (terminate, reload) = self.signals.poll();
        if reload && self.stopping.is_none() {
            self.begin_reload();
        }
        if terminate {
            self.stop();
        }
    }

    /// Begins the shutdown: closes the listening sockets and all clients, and waits up to `shutdown_timeout` for open
    /// requests, calls to the backend and the cluster. A second call ends the wait.
    fn stop(&mut self) {
        if self.stopping.is_some() {
            self.stopping = Some(self.now.time);
            return;
        }
        info!("stopping: closing {} sessions", self.hub.state.session_count());
        self.notify_manager(&[NotifyState::Stopping]);
        self.stopping = Some(self.now.time.after(self.hub.config().shutdown_timeout));
        self.listeners.clear();
        self.hub.update_receipts(true);
        self.leave_cluster();
        for client in self.hub.state.client_keys() {
            // Those that are being closed have their close frame already, or get it at the end of the turn.
            if !self.hub.state.is_ending(client) {
                self.close(client, Close::GOING_AWAY, false);
            }
        }
        self.hub.say_farewells(true);
        // A request may have arrived that was not read yet, or be on its way: a client whose connection was accepted expects
        // an answer. Input that has arrived is read at the end of this turn's events.
        for key in self.conns.keys() {
            let Some(conn) = self.conns.get_mut(key) else { continue };
            if let State::Http(exchange) = &mut conn.state
                && exchange.expire_when_idle(&self.hub.config().limits, self.now)
            {
                self.timers.arm(key, conn);
                self.schedule_read(key);
            }
        }
    }

    /// Tells the service manager that relay is ready, reloading or stopping.
    pub(super) fn notify_manager(&mut self, state: &[NotifyState<'_>]) {
        if let Some(retry) = self.manager.send_state(state) {
            self.status_due = self.status_due.min(self.now.time.after(retry));
        }
    }

    /// Sends a status message to the service manager, and resets its watchdog.
    pub(super) fn send_status(&mut self) {
        let (published, since) =
            core::mem::replace(&mut self.last_status, (self.hub.state.stats.published, self.now.time));
        let seconds = self.now.time.since(since).as_secs_f64().max(0.001);
        let rate = (self.hub.state.stats.published - published) as f64 / seconds;
        let (sessions, rooms) = (self.hub.state.session_count(), self.hub.state.room_count());
        let megabytes = memory::allocated() / 1_000_000;
        let status = format!("{sessions} sessions, {rooms} rooms, {rate:.0} msg/s, {megabytes} MB");
        let next = self.manager.send_status(&status);
        self.status_due = next.map_or(Time::NEVER, |next| self.now.time.after(next));
    }
}
