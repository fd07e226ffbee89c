//! What stands for TLS in a build without it: the items of `provided`, of which no value can be made.

use std::{convert::Infallible, io, marker::PhantomData};

use super::error::CertificateError;

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

/// The TLS of one connection of a client.
#[derive(Debug)]
pub enum ClientConnection {}

impl ClientTls {
    /// Fails: this build has no TLS.
    pub fn new(_: Option<String>, _: Option<(String, String)>) -> Result<ClientTls, CertificateError> {
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
