//! What stands for TLS in a build without it: the items of `provided`, of which no value can be made. Those that other code
//! makes are structs: of an empty enum the compiler would know that no code follows, and warn.

use std::{
    convert::Infallible,
    io::{self, Write},
    marker::PhantomData,
};

use super::{
    error::{CertificateError, HandshakeError, RecordError},
    version::Oldest,
};

/// Whether this build has TLS.
pub const SUPPORTED: bool = false;

/// Fails: this build has no TLS.
pub fn certificates(_: &str) -> Result<Infallible, CertificateError> {
    Err(CertificateError::NoTls)
}

/// Fails: this build has no TLS.
pub fn private_key(_: &str) -> Result<Infallible, CertificateError> {
    Err(CertificateError::NoTls)
}

/// Fails: this build has no TLS.
pub fn authorities(_: &str) -> Result<Infallible, CertificateError> {
    Err(CertificateError::NoTls)
}

/// Whether a host can be the name of a server in a certificate. Any may: TLS is refused later.
pub fn is_server_name(_: &str) -> bool {
    true
}

/// The settings of a TLS client.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientTls {}

/// A certificate authority.
#[derive(Debug)]
pub enum Authority {}

impl Authority {
    /// Fails: this build has no TLS.
    pub fn new(_: &[String], _: u64) -> Result<Authority, CertificateError> {
        Err(CertificateError::NoTls)
    }

    /// Fails: this build has no TLS.
    pub fn open(_: &str, _: &str) -> Result<Authority, CertificateError> {
        Err(CertificateError::NoTls)
    }

    /// Its name.
    pub fn name(&self) -> String {
        match *self {}
    }

    /// Its certificate.
    pub fn certificate(&self) -> &str {
        match *self {}
    }

    /// Its key.
    pub fn key(&self) -> String {
        match *self {}
    }

    /// The certificate of a server.
    pub fn issue(&self, _: &str, _: &[String], _: u64, _: u32) -> Result<String, CertificateError> {
        match *self {}
    }
}

/// A public key for signatures.
#[derive(Clone, Debug, PartialEq)]
pub enum PublicKey {}

impl PublicKey {
    /// Fails: this build has no TLS, and no other cryptography for it.
    pub fn from_pem(_: &str) -> Result<PublicKey, CertificateError> {
        Err(CertificateError::NoTls)
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> &'static str {
        match *self {}
    }

    /// Whether `signature` is one of `signed`.
    pub fn verify(&self, _: &[u8], _: &[u8]) -> bool {
        match *self {}
    }
}

/// Fails: this build has no TLS.
pub fn new_key() -> Result<String, CertificateError> {
    Err(CertificateError::NoTls)
}

/// The TLS of one connection of a client.
#[derive(Debug)]
pub enum ClientConnection {}

impl ClientTls {
    /// Fails: this build has no TLS.
    pub fn new(_: Option<String>, _: Option<(String, String)>) -> Result<ClientTls, CertificateError> {
        Err(CertificateError::NoTls)
    }

    /// Fails: this build has no TLS.
    pub fn pinned(_: &[Identity]) -> Result<ClientTls, CertificateError> {
        Err(CertificateError::NoTls)
    }

    /// Fails: this build has no TLS.
    pub fn unverified() -> Result<ClientTls, CertificateError> {
        Err(CertificateError::NoTls)
    }

    /// Whether [`ClientTls::load_system_authorities`] must be called.
    pub fn needs_system_authorities(&self) -> bool {
        match *self {}
    }

    /// Reads the authorities of the system.
    pub fn load_system_authorities(&mut self) -> Result<(), CertificateError> {
        match *self {}
    }

    /// A new connection to a host.
    pub fn connect(&self, _: &str) -> Result<ClientConnection, CertificateError> {
        match *self {}
    }
}

/// A TLS connection and its socket.
pub struct Stream<S>(Infallible, PhantomData<S>);

impl<S> Stream<S> {
    /// A connection over a new socket.
    pub fn new(_: S, tls: ClientConnection) -> Stream<S> {
        match tls {}
    }

    /// The socket.
    pub fn socket(&self) -> &S {
        match self.0 {}
    }

    /// The socket.
    pub fn socket_mut(&mut self) -> &mut S {
        match self.0 {}
    }

    /// The certificates of the peer.
    pub fn peer_certificates(&self) -> Option<(usize, u64)> {
        match self.0 {}
    }

    /// Continues the handshake.
    pub fn handshake(&mut self) -> io::Result<bool> {
        match self.0 {}
    }

    /// Whether the end that [`Stream::read`] returned was not announced by the peer's TLS.
    pub fn is_truncated(&self) -> bool {
        match self.0 {}
    }

    /// Reads.
    pub fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }

    /// Writes a part.
    pub fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    /// Writes what TLS has accepted.
    pub fn flush(&mut self) -> io::Result<()> {
        match self.0 {}
    }

    /// Announces the end to the peer.
    pub fn close(&mut self) {
        match self.0 {}
    }
}

/// The certificate of a server.
#[derive(Clone, Debug, PartialEq)]
pub enum Identity {}

impl Identity {
    /// Fails: this build has no TLS.
    pub fn new(_: &str, _: &str, _: &str) -> Result<Identity, CertificateError> {
        Err(CertificateError::NoTls)
    }

    /// The host names that it is for.
    pub fn names(&self) -> &[String] {
        match *self {}
    }

    /// Until when it is valid.
    pub fn not_after(&self) -> u64 {
        match *self {}
    }

    /// What should be done about it.
    pub fn warnings(&self, _: u64) -> Vec<String> {
        match *self {}
    }
}

/// The keys of tickets.
pub enum Tickets {}

impl Tickets {
    /// Fails: this build has no TLS.
    pub fn new() -> Result<Tickets, CertificateError> {
        Err(CertificateError::NoTls)
    }
}

/// What a server offers to a client.
#[derive(Clone)]
pub struct Acceptor(Infallible);

impl Acceptor {
    /// Fails: this build has no TLS.
    pub fn new(_: &[Identity], _: Oldest, tickets: &Tickets) -> Result<Acceptor, CertificateError> {
        match *tickets {}
    }
}

/// The TLS side of one connection of a server.
pub struct Session(Infallible);

impl Session {
    /// A connection on which nothing has arrived.
    pub fn new(acceptor: Acceptor) -> Session {
        match acceptor.0 {}
    }

    /// Whether data can be exchanged.
    pub fn is_open(&self) -> bool {
        match self.0 {}
    }

    /// Whether the handshake is not complete.
    pub fn is_handshaking(&self) -> bool {
        match self.0 {}
    }

    /// Whether the peer has announced that no more follows.
    pub fn has_ended(&self) -> bool {
        match self.0 {}
    }

    /// Whether the peer has announced that no more follows, once.
    pub fn take_end(&mut self) -> bool {
        match self.0 {}
    }

    /// Whether our side of the connection is to be closed.
    pub fn is_closed(&self) -> bool {
        match self.0 {}
    }

    /// Bytes of memory that incomplete input takes.
    pub fn input_memory(&self) -> usize {
        match self.0 {}
    }

    /// Bytes of memory that unsent output takes.
    pub fn output_memory(&self) -> usize {
        match self.0 {}
    }

    /// Handles bytes of a handshake.
    pub fn handshake(&mut self, _: &[u8], _: &mut impl Write) -> Result<Option<bool>, HandshakeError> {
        match self.0 {}
    }

    /// Puts the incomplete record at the start of a buffer.
    pub fn restore(&mut self, _: &mut [u8]) -> usize {
        match self.0 {}
    }

    /// Opens records.
    pub fn open(&mut self, _: &mut [u8]) -> (usize, Result<(), RecordError>) {
        match self.0 {}
    }

    /// Whether the last byte that was presented is sealed, but counts as not written.
    pub fn holds_byte(&self) -> bool {
        match self.0 {}
    }

    /// Keeps input.
    pub fn keep(&mut self, _: &[u8]) {
        match self.0 {}
    }

    /// Takes input of the handshake that was kept.
    pub fn take_input(&mut self) -> Vec<u8> {
        match self.0 {}
    }

    /// Writes sealed bytes that wait.
    pub fn flush(&mut self, _: &mut impl Write) -> io::Result<bool> {
        match self.0 {}
    }

    /// Whether our side of the connection is to be closed now, once.
    pub fn take_finish(&mut self) -> bool {
        match self.0 {}
    }

    /// Announces to the peer that no more follows.
    pub fn close(&mut self, _: &mut impl Write) -> bool {
        match self.0 {}
    }
}

/// A session with its socket.
pub struct Sealed<'a, W> {
    /// The session.
    pub session: &'a mut Session,
    /// The socket.
    pub out: &'a mut W,
}

impl<W> Write for Sealed<'_, W> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        match self.session.0 {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.session.0 {}
    }
}
