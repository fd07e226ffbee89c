//! The sessions of TLS in a table, what new ones are made of, and writing through them.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Write},
};

use crate::{
    clock::Time,
    config::Config,
    key::{ConnKey, Handle},
    server::{
        conn::{Conn, Socket},
        fatal::Fatal,
    },
    tls::{Acceptor, CertificateError, Sealed, ServerTls, Session, Tickets},
};

/// TLS for all connections that use it.
pub struct Tls {
    /// `None` without a certificate.
    pub(super) acceptor: Option<Acceptor>,
    /// Made with the first certificate.
    tickets: Option<Tickets>,
    pub(super) sessions: Sessions,
    /// Connections whose handshake has input, in the order of its arrival.
    pub(super) waiting: VecDeque<ConnKey>,
    /// When to warn about certificates that expire.
    pub(super) warning_due: Time,
}

/// The sessions, by the slots of their connections.
#[derive(Default)]
pub struct Sessions {
    slots: Vec<Option<Box<Session>>>,
    count: usize,
}

impl Sessions {
    pub(super) fn insert(&mut self, key: ConnKey, session: Session) {
        let index = key.key().index();
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        let before = self.slots[index].replace(Box::new(session));
        self.count += usize::from(before.is_none());
    }

    /// About how many bytes they take, without incomplete input and unsent output.
    fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Option<Box<Session>>>() + self.count * SESSION_BYTES
    }

    /// The session of a connection.
    pub fn get(&mut self, key: ConnKey) -> Option<&mut Session> {
        self.slots.get_mut(key.key().index())?.as_deref_mut()
    }

    fn peek(&self, key: ConnKey) -> Option<&Session> {
        self.slots.get(key.key().index())?.as_deref()
    }

    pub(super) fn remove(&mut self, key: ConnKey) {
        let session = self.slots.get_mut(key.key().index()).and_then(Option::take);
        self.count -= usize::from(session.is_some());
    }

    /// Where the protocol of a connection writes to.
    pub fn writer<'a>(&'a mut self, key: ConnKey, tls: bool, socket: &'a mut Socket) -> Writer<'a> {
        match self.get(key).filter(|_| tls) {
            Some(session) => Writer::Sealed(Sealed { session, out: socket }),
            None if tls => Writer::Nowhere,
            None => Writer::Plain(socket),
        }
    }

    /// Closes our side of a connection.
    pub fn shutdown(&mut self, key: ConnKey, conn: &mut Conn) {
        let session = self.get(key).filter(|_| conn.tls);
        if session.is_none_or(|session| session.close(&mut conn.socket)) {
            conn.socket.shutdown();
        }
    }
}

/// Where the protocol of a connection writes to.
pub enum Writer<'a> {
    /// The socket itself.
    Plain(&'a mut Socket),
    /// A session of TLS.
    Sealed(Sealed<'a, Socket>),
    /// Nowhere: the session is over.
    Nowhere,
}

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Writer::Plain(socket) => socket.write(bytes),
            Writer::Sealed(sealed) => sealed.write(bytes),
            Writer::Nowhere => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Writer::Plain(socket) => socket.write_vectored(slices),
            Writer::Sealed(sealed) => sealed.write_vectored(slices),
            Writer::Nowhere => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tls {
    /// With the certificates of a configuration.
    pub fn new(config: &Config) -> Result<Tls, Fatal> {
        let mut tls = Tls {
            acceptor: None,
            tickets: None,
            sessions: Sessions::default(),
            waiting: VecDeque::new(),
            warning_due: Time::NEVER,
        };
        tls.configure(&config.tls).map_err(|error| Fatal::Io("TLS", io::Error::other(error)))?;
        Ok(tls)
    }

    /// Uses other certificates for new connections. Tickets stay valid.
    pub(super) fn configure(&mut self, settings: &ServerTls) -> Result<(), CertificateError> {
        if !settings.is_used() {
            self.acceptor = None;
            return Ok(());
        }
        let tickets = match self.tickets.take() {
            Some(tickets) => tickets,
            None => Tickets::new()?,
        };
        self.acceptor = Some(settings.acceptor(self.tickets.insert(tickets))?);
        Ok(())
    }

    /// The sessions.
    pub fn sessions(&mut self) -> &mut Sessions {
        &mut self.sessions
    }

    /// Whether a handshake has input that was not read.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// When the warning about certificates that expire is due.
    pub fn warning_due(&self) -> Time {
        self.warning_due
    }

    /// Whether a connection's handshake is not complete.
    pub fn is_handshaking(&mut self, key: ConnKey) -> bool {
        self.sessions.get(key).is_some_and(|session| session.is_handshaking())
    }

    /// Bytes of memory that incomplete input of a connection takes.
    pub fn input_memory(&self, key: ConnKey) -> usize {
        self.sessions.peek(key).map_or(0, Session::input_memory)
    }

    /// About how many bytes the sessions take.
    pub fn bytes(&self) -> usize {
        self.sessions.bytes()
    }

    /// Bytes of memory that sealed bytes of a connection take which its socket did not accept.
    pub fn output_memory(&self, key: ConnKey) -> usize {
        self.sessions.peek(key).map_or(0, Session::output_memory)
    }
}

/// Bytes of a session with TLS 1.3, as `tests/bench/tls` measures them.
const SESSION_BYTES: usize = 2200;
