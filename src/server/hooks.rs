//! Calls to the business backend (docs/hooks.md): connections are opened when needed, reused for further calls, and
//! closed when idle or when a call times out. The event loop waits neither for them nor for name resolution.

pub mod links;

use core::time::Duration;
use std::{io, net::SocketAddr};

use log::{debug, error, info, warn};
use mio::{
    Token,
    event::Event,
    net::{TcpStream, UnixStream},
};

use self::links::Link;
use super::{conn::Socket, event_loop::Server, tokens, transport::Transport, waker::waker};
use crate::{
    clock::Time,
    config::Place,
    events,
    hooks::{AttemptError, Finished},
    http::response::Reader,
};

impl Server {
    /// When [`Server::expire_hooks`] or [`Server::pump_hooks`] must be called, even if no event occurs.
    pub(super) fn hooks_deadline(&self) -> Time {
        let (hooks, resolving) = (&self.hub.hooks, self.hooks.resolver.finding_until());
        let calls = match resolving {
            // While the name is being resolved nothing can be sent.
            Some(until) if hooks.has_ready() => hooks.expiry().min(until),
            Some(_) => hooks.expiry(),
            None => hooks.deadline(),
        };
        self.hooks.idle_deadline().min(calls)
    }

    /// Answers the calls of this turn that failed at once, and sends all that may be sent now.
    pub(super) fn pump_hooks(&mut self) {
        let failed = self.hub.hooks.take_failed();
        self.finish_calls(failed);
        if self.hub.hooks.is_empty() {
            return;
        }
        while self.hub.hooks.can_send(self.now.time) {
            let idle = self.hooks.idle_link();
            let address = match (idle, self.hooks.is_unix()) {
                (Some(_), _) | (None, true) => None,
                (None, false) => {
                    let (poll, made) = (&self.poll, &mut self.waker);
                    match self.hooks.resolve(self.now.time, &mut || waker(made, poll)) {
                        None => break,
                        resolved => resolved,
                    }
                }
            };
            let Some(call) = self.hub.hooks.poll_send(self.now.time) else { break };
            let (number, output) = (call.number, self.hooks.request(call, self.now.unix));
            let opened = match (idle, address) {
                (Some(index), _) => Ok(index),
                (None, Some(Err(error))) => Err(error),
                (None, address) => self.open_link(address.and_then(Result::ok)),
            };
            match opened {
                Ok(index) => {
                    if let Some(link) = &mut self.hooks.links[index] {
                        link.call = Some(number);
                        (link.output, link.written) = (output, 0);
                        link.reader = Reader::default();
                        self.drive_link(index);
                    }
                }
                Err(error) => self.fail_call(number, AttemptError::NoConnection(error.to_string())),
            }
        }
    }

    /// Opens a connection to `address`, or to the Unix socket of `hooks.url`. Returns its index.
    fn open_link(&mut self, address: Option<SocketAddr>) -> io::Result<usize> {
        let socket = match (address, self.hooks.address.as_ref().map(|address| &address.place)) {
            (Some(address), _) => {
                let stream = TcpStream::connect(address).inspect_err(|_| self.hooks.resolver.leave(address))?;
                let _ = stream.set_nodelay(true);
                Socket::Tcp(stream)
            }
            (None, Some(Place::Unix(path))) => Socket::Unix(UnixStream::connect(path)?),
            (None, _) => return Err(io::Error::other("hooks.url was removed")),
        };
        let mut socket = Transport::new(socket, self.hooks.tls())?;
        let links = &mut self.hooks.links;
        let index = links.iter().position(Option::is_none).unwrap_or_else(|| {
            links.push(None);
            links.len() - 1
        });
        socket.socket().register(self.poll.registry(), Token(tokens::HOOKS + index))?;
        self.hooks.links[index] = Some(Link {
            socket,
            address,
            call: None,
            output: Vec::new(),
            written: 0,
            reader: Reader::default(),
            reused: false,
            old: false,
            connected: false,
            idle_until: Time::NEVER,
        });
        Ok(index)
    }

    /// Handles an event of a connection to the backend.
    pub(super) fn handle_hooks(&mut self, event: &Event) {
        self.drive_link(event.token().0 - tokens::HOOKS);
    }

    /// Writes and reads as far as the socket allows.
    fn drive_link(&mut self, index: usize) {
        let Some(link) = self.hooks.links.get_mut(index).and_then(Option::as_mut) else { return };
        match link.drive() {
            Ok(None) => {}
            Ok(Some(response)) => {
                let number = link.call.take();
                if response.reusable && !link.old {
                    link.reused = true;
                    link.idle_until = self.now.time.after(IDLE_TIMEOUT);
                } else {
                    self.hooks.links[index] = None;
                }
                if let Some(number) = number {
                    let finished = self.hub.hooks.handle_response(number, response, self.now.time);
                    self.finish_calls(finished);
                }
            }
            Err(error) => {
                let (number, address) = (link.call, link.address);
                self.hooks.links[index] = None;
                if let (AttemptError::NoConnection(_), Some(address)) = (&error, address) {
                    // Another address of the backend may work, or the name may have a new address.
                    self.hooks.resolver.leave(address);
                }
                if let Some(number) = number {
                    self.fail_call(number, error);
                }
            }
        }
    }

    /// Reports that an attempt to send a call failed. The call may be retried.
    fn fail_call(&mut self, number: u64, error: AttemptError) {
        let finished = self.hub.hooks.handle_attempt_error(number, error, self.now.time);
        self.finish_calls(finished);
    }

    /// Passes finished calls to their handler, logs a change of the backend's health, and updates the counters.
    fn finish_calls(&mut self, finished: Vec<Finished>) {
        for call in finished {
            if let Err(failure) = &call.result {
                debug!("hooks: call {} failed: {failure}", call.number);
            }
            events::backend::handle_finished(&mut self.hub, call, self.now);
        }
        match self.hub.hooks.poll_health_change().map(|health| health.reason()) {
            Some(Some(reason)) => error!("hooks: the backend does not answer: {reason}"),
            Some(None) => info!("hooks: the backend answers again"),
            None => {}
        }
        match self.hub.hooks.poll_overload_change() {
            Some(true) => warn!(
                "hooks: too many calls wait for the backend: further ones are dropped; make the backend faster, or \
                 raise hooks.queue"
            ),
            Some(false) => info!("hooks: the queue of calls is half empty again"),
            None => {}
        }
        let (calls, stats) = (self.hub.hooks.stats(), &mut self.hub.state.stats);
        (stats.hook_calls, stats.hook_retries) = (calls.sent, calls.retried);
        (stats.hook_failures, stats.hook_dropped) = (calls.failed, calls.dropped);
    }

    /// Fails calls that have timed out, and closes connections that were idle for too long.
    pub(super) fn expire_hooks(&mut self) {
        let now = self.now.time;
        let finished = self.hub.hooks.expire_waiting(now);
        self.finish_calls(finished);
        while let Some(number) = self.hub.hooks.poll_expired(now) {
            let link =
                self.hooks.links.iter_mut().find(|link| link.as_ref().is_some_and(|link| link.call == Some(number)));
            let late = link.and_then(Option::take).map(|mut link| link.late());
            self.fail_call(number, late.unwrap_or(AttemptError::NoConnection("no connection in time".into())));
        }
        self.hooks.drop_links(|link| link.call.is_none() && link.idle_until <= now);
    }
}

/// How long a connection waits for the next call: less than the 5 s after which Node's servers close it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
