//! Connections to the business backend: opened when needed, kept for the next call, closed when idle or late. The loop never
//! waits for them, nor for the backend's name to be found.

use core::time::Duration;
use std::{
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
    sync::Arc,
};

use log::{debug, error, info};
use mio::{
    Token, Waker,
    event::Event,
    net::{TcpStream, UnixStream},
};

use super::{Server, conn::Socket, resolver::Resolver};
use crate::{
    clock::Time,
    config::{Backend as Address, Hooks, Place},
    hooks::{Call, Dispatcher, Finished, Health, Kind, Trouble},
    http::response::{Malformed, Reader, Response},
    hub::hooks::makes_sense,
    sign::hmac_hex,
};

/// What is known of the backend, and the connections there are.
#[derive(Default)]
pub struct Backend {
    /// Which calls are sent when.
    pub dispatcher: Dispatcher,
    address: Option<Address>,
    secret: Option<Vec<u8>>,
    timeout: Duration,
    links: Vec<Option<Link>>,
    resolver: Resolver,
}

struct Link {
    socket: Socket,
    /// The call it carries.
    call: Option<u64>,
    output: Vec<u8>,
    written: usize,
    reader: Reader,
    /// It has carried a call before.
    reused: bool,
    /// It is to what was the backend: the answer is still taken, and no further call is sent.
    old: bool,
    /// The connection stands.
    connected: bool,
    /// When an idle one is closed: before the backend closes it, which would cross the next call.
    idle_until: Time,
}

impl Backend {
    /// Takes a new configuration. Calls on their way are still answered.
    pub fn configure(&mut self, hooks: &Hooks) {
        self.dispatcher.configure(hooks.timeout, hooks.queue as usize);
        self.timeout = hooks.timeout;
        self.secret = hooks.secret.as_ref().map(|secret| secret.expose().as_bytes().to_vec());
        if self.address != hooks.url {
            self.address = hooks.url.clone();
            self.resolver = Resolver::default();
            self.dispatcher.forgive();
            self.links.iter_mut().flatten().for_each(|link| link.old = true);
            self.links
                .iter_mut()
                .filter(|link| link.as_ref().is_some_and(|link| link.call.is_none()))
                .for_each(|link| *link = None);
        }
    }

    /// When something is to be done, though nothing comes.
    pub fn deadline(&self) -> Time {
        let idle = self.links.iter().flatten().filter(|link| link.call.is_none()).map(|link| link.idle_until);
        let finding = self.resolver.finding_until().filter(|_| self.dispatcher.has_ready()).unwrap_or(Time::NEVER);
        // While the name is being found nothing can be sent.
        let dispatcher = match self.resolver.finding_until() {
            Some(_) => self.dispatcher.expiry(),
            None => self.dispatcher.deadline(),
        };
        idle.min().unwrap_or(Time::NEVER).min(dispatcher).min(finding)
    }

    /// The bytes of a call.
    fn request(&self, call: &Call, unix: u64) -> Vec<u8> {
        let Some(address) = &self.address else { return Vec::new() };
        let signature = self.secret.as_ref().map_or_else(String::new, |secret| {
            format!("X-Relay-Signature: sha256={}\r\n", hmac_hex(secret, call.body.as_bytes()))
        });
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             User-Agent: relay/{}\r\nIdempotency-Key: {}\r\nX-Relay-Timestamp: {unix}\r\n{signature}\r\n",
            address.target,
            address.host(),
            call.body.len(),
            env!("CARGO_PKG_VERSION"),
            call.id
        );
        [head.as_bytes(), call.body.as_bytes()].concat()
    }

    /// Where to connect; nothing while the name is being found.
    fn place(
        &mut self,
        now: Time,
        waker: &mut dyn FnMut() -> io::Result<Arc<Waker>>,
    ) -> Option<io::Result<SocketAddr>> {
        let Some(Place::Tcp(host, port)) = self.address.as_ref().map(|address| &address.place) else {
            return Some(Err(io::Error::other("hooks.url was taken away")));
        };
        self.resolver.find(host, *port, self.timeout, now, waker)
    }

    fn is_unix(&self) -> bool {
        matches!(self.address, Some(Address { place: Place::Unix(_), .. }))
    }
}

impl Server {
    /// Sends what the hub wants sent, as far as the backend takes it.
    pub(super) fn pump_backend(&mut self) {
        for call in self.hub.take_calls() {
            let number = call.number;
            if let Err(failure) = self.backend.dispatcher.submit(call, self.now.time) {
                self.hub.handle_answer(number, Err(failure), self.now);
            }
        }
        if self.backend.dispatcher.is_empty() {
            return;
        }
        while self.backend.dispatcher.can_send(self.now.time) {
            let idle = self.backend.links.iter().position(|link| link.as_ref().is_some_and(|link| link.call.is_none()));
            let place = match (idle, self.backend.is_unix()) {
                (Some(_), _) | (None, true) => None,
                (None, false) => {
                    let poll = &self.poll;
                    let waker = &mut self.waker;
                    match self.backend.place(self.now.time, &mut || super::waker(waker, poll)) {
                        None => break,
                        place => place,
                    }
                }
            };
            let Some(call) = self.backend.dispatcher.poll_send(self.now.time) else { break };
            let (number, call) = (call.number, call.clone());
            let output = self.backend.request(&call, self.now.unix);
            let opened = match (idle, place) {
                (Some(index), _) => Ok(index),
                (None, Some(Err(error))) => Err(error),
                (None, place) => self.open_link(place.and_then(Result::ok)),
            };
            match opened {
                Ok(index) => {
                    if let Some(link) = &mut self.backend.links[index] {
                        link.call = Some(number);
                        (link.output, link.written) = (output, 0);
                        link.reader = Reader::default();
                        self.drive_link(index);
                    }
                }
                Err(error) => self.trouble(number, Trouble::Unsent(error.to_string())),
            }
        }
    }

    fn open_link(&mut self, place: Option<SocketAddr>) -> io::Result<usize> {
        let mut socket = match (place, self.backend.address.as_ref().map(|address| &address.place)) {
            (Some(place), _) => {
                let stream = TcpStream::connect(place)?;
                let _ = stream.set_nodelay(true);
                Socket::Tcp(stream)
            }
            (None, Some(Place::Unix(path))) => Socket::Unix(UnixStream::connect(path)?),
            (None, _) => return Err(io::Error::other("hooks.url was taken away")),
        };
        let links = &mut self.backend.links;
        let index = links.iter().position(Option::is_none).unwrap_or_else(|| {
            links.push(None);
            links.len() - 1
        });
        socket.register(self.poll.registry(), Token(FIRST + index))?;
        self.backend.links[index] = Some(Link {
            socket,
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

    /// Something happened on a connection to the backend.
    pub(super) fn handle_backend(&mut self, event: &Event) {
        self.drive_link(event.token().0 - FIRST);
    }

    /// Writes and reads what can be.
    fn drive_link(&mut self, index: usize) {
        let Some(link) = self.backend.links.get_mut(index).and_then(Option::as_mut) else { return };
        match link.drive() {
            Ok(None) => {}
            Ok(Some(response)) => {
                let number = link.call.take();
                if response.reusable && !link.old {
                    link.reused = true;
                    link.idle_until = self.now.time.after(IDLE);
                } else {
                    self.backend.links[index] = None;
                }
                if let Some(number) = number {
                    self.take_response(number, response);
                }
            }
            Err(trouble) => {
                let number = link.call;
                self.backend.links[index] = None;
                if matches!(trouble, Trouble::Unsent(_)) {
                    // Perhaps another of its addresses answers, or it has moved.
                    self.backend.resolver.try_next();
                }
                if let Some(number) = number {
                    self.trouble(number, trouble);
                }
            }
        }
    }

    fn take_response(&mut self, number: u64, response: Response) {
        let told = self.backend.dispatcher.kind(number) == Some(Kind::Disconnect);
        if (200..300).contains(&response.status) && !told && !makes_sense(&response.body) {
            let finished = self.backend.dispatcher.reject(number, NONSENSE.into());
            return self.finish_calls(finished);
        }
        let finished = self.backend.dispatcher.handle_response(number, response, self.now.time);
        self.finish_calls(finished);
    }

    fn trouble(&mut self, number: u64, trouble: Trouble) {
        let finished = self.backend.dispatcher.handle_trouble(number, trouble, self.now.time);
        self.finish_calls(finished);
    }

    fn finish_calls(&mut self, finished: Vec<Finished>) {
        for (number, result) in finished {
            if let Err(failure) = &result {
                debug!("hooks: call {number} has no answer: {failure:?}");
            }
            self.hub.handle_answer(number, result, self.now);
        }
        let health = &self.backend.dispatcher.health;
        match (&self.hub.backend, health) {
            (Health::Fine, Health::Failing(why)) => error!("hooks: the backend does not answer: {why}"),
            (Health::Failing(_), Health::Fine) => info!("hooks: the backend answers again"),
            _ => {}
        }
        self.hub.backend.clone_from(health);
        let stats = self.backend.dispatcher.stats;
        self.hub.stats.hook_calls = stats.sent;
        self.hub.stats.hook_retries = stats.retried;
        self.hub.stats.hook_failures = stats.failed;
    }

    /// Gives up what takes too long, and connections that nobody needs.
    pub(super) fn expire_backend(&mut self) {
        let now = self.now.time;
        let finished = self.backend.dispatcher.expire_waiting(now);
        self.finish_calls(finished);
        while let Some(number) = self.backend.dispatcher.poll_expired(now) {
            let carries = |link: &Option<Link>| link.as_ref().is_some_and(|link| link.call == Some(number));
            let link = self.backend.links.iter_mut().find(|link| carries(link));
            let connected = link.as_ref().is_some_and(|link| link.as_ref().is_some_and(|link| link.connected));
            if let Some(link) = link {
                *link = None;
            }
            match connected {
                true => self.trouble(number, Trouble::Timeout),
                false => self.trouble(number, Trouble::Unsent("no connection in time".into())),
            }
        }
        let over = |link: &Link| link.call.is_none() && link.idle_until <= now;
        for link in self.backend.links.iter_mut().filter(|link| link.as_ref().is_some_and(over)) {
            *link = None;
        }
    }
}

impl Link {
    /// Writes what is left and reads what came; the response once it is whole.
    fn drive(&mut self) -> Result<Option<Response>, Trouble> {
        if !self.connected {
            match self.socket.is_connected() {
                Ok(true) => self.connected = true,
                Ok(false) => return Ok(None),
                Err(error) => return Err(Trouble::Unsent(error.to_string())),
            }
        }
        while self.written < self.output.len() {
            match self.socket.write(&self.output[self.written..]) {
                Ok(0) => return Err(self.cut("it takes nothing")),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.cut(&error.to_string())),
            }
        }
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) if self.call.is_none() => return Err(Trouble::Stale),
                Ok(0) if !self.reader.has_begun() => return Err(self.cut("the connection ended without a response")),
                Ok(0) => return self.reader.handle_end().map(Some).map_err(Trouble::Malformed),
                // Nobody asked.
                Ok(_) if self.call.is_none() => return Err(Trouble::Stale),
                Ok(length) => match self.reader.handle_input(&buffer[..length], LONGEST_ANSWER) {
                    Ok(Some(response)) => {
                        // What is not written of the call will never be.
                        let reusable = response.reusable && self.written == self.output.len();
                        self.output = Vec::new();
                        self.written = 0;
                        return Ok(Some(Response { reusable, ..response }));
                    }
                    Ok(None) => {}
                    Err(malformed) => return Err(Trouble::Malformed(malformed)),
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.cut(&error.to_string())),
            }
        }
    }

    /// The connection is gone before a response came.
    fn cut(&self, why: &str) -> Trouble {
        match (self.reader.has_begun(), self.reused, self.written) {
            (false, true, _) => Trouble::Stale,
            (false, false, 0) => Trouble::Unsent(why.to_owned()),
            _ => Trouble::Malformed(Malformed("the connection ended without a response")),
        }
    }
}

/// Tokens from here on are connections to the backend.
pub const FIRST: usize = usize::MAX / 2;
/// How long a connection waits for the next call: less than the 5 s of Node's servers.
const IDLE: Duration = Duration::from_secs(4);
/// Bytes of an answer.
const LONGEST_ANSWER: u64 = 1_000_000;
const NONSENSE: &str = "the answer makes no sense";
