//! Two ends of a TLS connection in memory, for tests and fuzzers.

use std::{
    io::{self, ErrorKind, Read, Write},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, ContentType, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme,
    SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{
        cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage},
        ring,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{
    acceptor::{Acceptor, Tickets},
    identity::Identity,
    records::sealer,
    session::Session,
};
use crate::tls::{
    error::{HandshakeError, RecordError},
    version::Oldest,
};

/// A certificate for `relay.example` with its key.
pub const PEM: &str = include_str!("testing.pem");

/// A socket that accepts `room` bytes, then blocks.
#[derive(Default)]
pub struct Pipe {
    /// The bytes that were written to it.
    pub bytes: Vec<u8>,
    /// How many bytes it accepts.
    pub room: usize,
}

impl Pipe {
    /// A socket that accepts everything.
    pub fn wide() -> Pipe {
        Pipe { bytes: Vec::new(), room: usize::MAX }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.room);
        if taken == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= taken;
        self.bytes.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What servers of tests offer.
pub fn acceptor() -> Acceptor {
    let identity = Identity::new("test.pem", PEM, PEM).expect("a valid certificate");
    Acceptor::new(&[identity], Oldest::Tls12, &Tickets::new().expect("random numbers")).expect("valid settings")
}

/// The settings of a client that accepts any certificate.
pub fn config(version: &'static SupportedProtocolVersion) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .expect("a version that ring supports")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    config
}

/// A client that accepts any certificate.
pub fn client(version: &'static SupportedProtocolVersion) -> ClientConnection {
    client_with(Arc::new(config(version)))
}

/// A client with these settings. Those that share their settings continue their sessions.
pub fn client_with(config: Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from("relay.example").expect("a host name");
    ClientConnection::new(config, name).expect("valid settings")
}

/// What a client has to send.
pub fn sent(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("writing to memory succeeds");
    }
    bytes
}

/// Gives bytes to a client. Returns the data in them.
pub fn receive(client: &mut ClientConnection, mut bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut data = Vec::new();
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).expect("reading from memory succeeds");
        client.process_new_packets()?;
        let _ = client.reader().read_to_end(&mut data);
    }
    Ok(data)
}

/// The sending side of a client that seals any record, also those that rustls does not send.
pub struct Forger {
    sealer: Box<dyn MessageEncrypter>,
    sealed: u64,
}

impl Forger {
    /// Takes over from a client after its handshake.
    pub fn new(client: ClientConnection) -> Forger {
        let suite = client.negotiated_cipher_suite().expect("the handshake is complete");
        let (sealed, secrets) = client.dangerous_extract_secrets().expect("it is enabled").tx;
        Forger { sealer: sealer(suite, secrets), sealed }
    }

    /// Seals a record.
    pub fn seal(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let payload = OutboundChunks::Single(payload);
        let plain = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload };
        let record = self.sealer.encrypt(plain, self.sealed).expect("a key that is not used up").encode();
        self.sealed += 1;
        record
    }
}

/// A server's connection, and what it has received.
pub struct Server {
    /// The session.
    pub session: Session,
    /// The data.
    pub data: Vec<u8>,
    /// Whether the end was announced.
    pub ended: bool,
}

/// Why a connection of [`Server`] is over.
#[derive(Debug, PartialEq)]
pub enum Failure {
    /// In the handshake.
    Handshake(HandshakeError),
    /// After it.
    Record(RecordError),
}

impl Server {
    /// A connection on which nothing has arrived.
    pub fn new(acceptor: Acceptor) -> Server {
        Server { session: Session::new(acceptor), data: Vec::new(), ended: false }
    }

    /// Handles bytes that arrived together.
    pub fn receive(&mut self, bytes: &[u8], out: &mut Pipe) -> Result<(), Failure> {
        let mut bytes = bytes;
        if self.session.is_handshaking() {
            if self.session.handshake(bytes, out).map_err(Failure::Handshake)?.is_none() {
                return Ok(());
            }
            bytes = &[];
        }
        let mut buffer = vec![0; 64 * 1024 + bytes.len()];
        let kept = self.session.restore(&mut buffer);
        buffer[kept..kept + bytes.len()].copy_from_slice(bytes);
        let (length, result) = self.session.open(&mut buffer[..kept + bytes.len()]);
        self.data.extend_from_slice(&buffer[..length]);
        result.map_err(Failure::Record)?;
        self.ended |= self.session.take_end();
        self.session.flush(out).expect("a pipe does not break");
        Ok(())
    }
}

/// A client and a server after the handshake.
pub fn connected(version: &'static SupportedProtocolVersion) -> (ClientConnection, Server) {
    let (mut client, mut server) = (client(version), Server::new(acceptor()));
    while !server.session.is_open() || client.is_handshaking() {
        let mut out = Pipe::wide();
        let bytes = sent(&mut client);
        server.receive(&bytes, &mut out).expect("a valid handshake");
        receive(&mut client, &out.bytes).expect("a valid handshake");
    }
    (client, server)
}

#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
