//! Targets of TLS.

use rustls::{
    SupportedProtocolVersion,
    version::{TLS12, TLS13},
};

use crate::tls::testing::{Pipe, Server, acceptor, connected, sent};

/// Any input ends the handshake or waits for more, and its memory is bounded.
pub fn tls_handshake(bytes: &[u8]) {
    let mut server = Server::new(acceptor());
    for piece in bytes.chunks(700) {
        let mut out = Pipe::wide();
        if server.receive(piece, &mut out).is_err() {
            return;
        }
        assert!(server.session.input_memory() <= 64 * 1024);
    }
    assert!(server.data.is_empty() && !server.session.is_open(), "nobody can guess a key");
}

/// No input that is not sealed by the client is taken for data, behind data that are; the connection ends with an alert.
pub fn tls_records(bytes: &[u8]) {
    for version in [&TLS12, &TLS13] as [&SupportedProtocolVersion; 2] {
        let (mut client, mut server) = connected(version);
        std::io::Write::write_all(&mut client.writer(), b"data").expect("there is room");
        let record = sent(&mut client);
        let mut out = Pipe::wide();
        let mut failed = server.receive(&record, &mut out).is_err();
        for piece in bytes.chunks(700) {
            failed = failed || server.receive(piece, &mut out).is_err();
        }
        assert_eq!(server.data, b"data");
        assert!(server.session.input_memory() <= 32 * 1024);
        assert!(failed != server.session.is_open());
    }
}
