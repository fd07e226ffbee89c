use rustls::{
    ClientConnection, ContentType, SupportedProtocolVersion,
    version::{TLS12, TLS13},
};

use super::*;
use crate::tls::provided::{
    records::MOST_IDLE,
    testing::{Failure, Forger, Pipe, Server, acceptor, client, connected, receive, sent},
};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// Writes all of `bytes` as the outbox of a client does: what is not accepted is presented again when there is room.
fn write_all(session: &mut Session, out: &mut Pipe, mut bytes: &[u8], rooms: &[usize]) {
    for room in rooms.iter().chain([&usize::MAX]) {
        out.room = *room;
        while !bytes.is_empty() {
            match (Sealed { session, out }).write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    break;
                }
            }
        }
    }
    assert!(bytes.is_empty());
    assert_eq!(session.output_memory(), 0, "all that was reported as written is sent");
}

/// The handshake and the first data, cut at every byte.
#[test]
fn a_cut_changes_nothing() {
    let acceptor = acceptor();
    for version in VERSIONS {
        let mut cut = 0;
        loop {
            let (mut client, mut server, mut at) = (client(version), Server::new(acceptor.clone()), 0);
            let mut passed = false;
            while server.data.is_empty() {
                if !client.is_handshaking() {
                    client.writer().write_all(b"hello").unwrap();
                }
                let bytes = sent(&mut client);
                assert!(!bytes.is_empty());
                let mut out = Pipe::wide();
                let middle = cut.clamp(at, at + bytes.len()) - at;
                passed |= cut < at + bytes.len();
                for part in [&bytes[..middle], &bytes[middle..]] {
                    server.receive(part, &mut out).unwrap();
                }
                at += bytes.len();
                assert_eq!(receive(&mut client, &out.bytes).unwrap(), b"");
            }
            assert_eq!(server.data, b"hello");
            if !passed {
                break;
            }
            cut += 1;
        }
        assert!(cut > 200, "{cut}");
    }
}

/// Wherever the socket blocks, no byte is lost or sent twice.
#[test]
fn no_byte_is_lost_wherever_the_socket_blocks() {
    for version in VERSIONS {
        let (mut client, mut server) = connected(version);
        let data: Vec<u8> = (0..100).collect();
        for room in 0..150 {
            for second in [0, 1, 30] {
                let mut out = Pipe::default();
                write_all(&mut server.session, &mut out, &data, &[room, second]);
                assert_eq!(receive(&mut client, &out.bytes).unwrap(), data);
            }
        }
        // Several records, one byte, and what a caller that discards its queue still has to send.
        let large: Vec<u8> = (0..50_000_u32).map(|n| n as u8).collect();
        for (length, room) in [(50_000, 20_000), (50_000, 16_384), (16_385, 16_390), (1, 0), (1, 10), (2, 5), (0, 0)] {
            let mut out = Pipe::default();
            write_all(&mut server.session, &mut out, &large[..length], &[room, 1, 0, 7]);
            assert_eq!(receive(&mut client, &out.bytes).unwrap(), large[..length]);
        }
    }
}

/// The last byte is reported only when the whole record is sent.
#[test]
fn what_waits_is_known_to_the_caller() {
    let (mut client, mut server) = connected(&TLS13);
    let mut out = Pipe { room: 10, ..Pipe::default() };
    let mut sealed = Sealed { session: &mut server.session, out: &mut out };
    assert_eq!(sealed.write(b"hello").unwrap(), 4);
    assert_eq!(sealed.write(b"o").unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(server.session.output_memory() > 0);
    out.room = usize::MAX;
    let mut sealed = Sealed { session: &mut server.session, out: &mut out };
    assert_eq!(sealed.write(b"o, world").unwrap(), 8);
    assert_eq!(receive(&mut client, &out.bytes).unwrap(), b"hello, world");
}

#[test]
fn slices_are_joined() {
    let (mut client, mut server) = connected(&TLS13);
    let (a, b) = (vec![b'a'; 20_000], vec![b'b'; 3]);
    let slices: Vec<IoSlice<'_>> = [&b"x"[..], b"", &b, &a, &b].map(IoSlice::new).into();
    let mut out = Pipe::wide();
    let mut sealed = Sealed { session: &mut server.session, out: &mut out };
    assert_eq!(sealed.write_vectored(&slices).unwrap(), MAX_DATA);
    let data = receive(&mut client, &out.bytes).unwrap();
    assert_eq!(data, [&b"xbbb"[..], &a[..MAX_DATA - 4]].concat());
}

/// A key that has sealed as many records as it may is replaced; TLS 1.2 ends.
#[test]
fn keys_are_used_up() {
    let (mut client, mut server) = connected(&TLS13);
    let Stage::Open(records) = &mut server.session.stage else { panic!("it is open") };
    records.set_limit(5);
    let mut out = Pipe::wide();
    for number in 0..40_u8 {
        (Sealed { session: &mut server.session, out: &mut out }).write_all(&[number]).unwrap();
    }
    assert_eq!(receive(&mut client, &out.bytes).unwrap(), (0..40).collect::<Vec<u8>>());

    let (mut client, mut server) = connected(&TLS12);
    let Stage::Open(records) = &mut server.session.stage else { panic!("it is open") };
    records.set_limit(5);
    let mut out = Pipe::wide();
    let mut written = Vec::new();
    let error = loop {
        match (Sealed { session: &mut server.session, out: &mut out }).write_all(b"a") {
            Ok(()) => written.push(b'a'),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("used up"), "{error}");
    assert!(written.len() < 5 && written.len() > 1);
    assert_eq!(receive(&mut client, &out.bytes).unwrap(), written);
    // The announcement of the end was the last record of the key.
    assert!(client.process_new_packets().unwrap().peer_has_closed());
}

/// New keys of the client, and its requests for new ones.
#[test]
fn keys_are_updated() {
    let (mut client, mut server) = connected(&TLS13);
    for number in 0..100_u8 {
        client.refresh_traffic_keys().unwrap();
        client.writer().write_all(&[number]).unwrap();
        let mut out = Pipe::wide();
        server.receive(&sent(&mut client), &mut out).unwrap();
        (Sealed { session: &mut server.session, out: &mut out }).write_all(&[number]).unwrap();
        assert_eq!(receive(&mut client, &out.bytes).unwrap(), [number]);
    }
    assert_eq!(server.data, (0..100).collect::<Vec<u8>>());
    // A client that reads nothing gets one answer to all of its requests.
    let mut out = Pipe::default();
    for _ in 0..1000 {
        client.refresh_traffic_keys().unwrap();
        client.writer().write_all(b"x").unwrap();
        server.receive(&sent(&mut client), &mut out).unwrap();
    }
    assert!(server.session.output_memory() < 100);
    out.room = usize::MAX;
    (Sealed { session: &mut server.session, out: &mut out }).write_all(b"late").unwrap();
    assert_eq!(receive(&mut client, &out.bytes).unwrap(), b"late");
}

/// Records without data are allowed, but not many in a row.
#[test]
fn floods_of_records_without_data_end() {
    let user_canceled = [1, 90];
    for (version, typ, payload) in [
        (&TLS12, ContentType::ApplicationData, &b""[..]),
        (&TLS12, ContentType::Alert, &user_canceled),
        // A renegotiation.
        (&TLS12, ContentType::Handshake, &[1, 0, 0, 0]),
        (&TLS13, ContentType::ApplicationData, b""),
        (&TLS13, ContentType::Alert, &user_canceled),
    ] {
        let (client, mut server) = connected(version);
        let (mut client, mut out) = (Forger::new(client), Pipe::wide());
        for number in 1..5 {
            for _ in 0..MOST_IDLE {
                server.receive(&client.seal(typ, payload), &mut out).unwrap();
            }
            server.receive(&client.seal(ContentType::ApplicationData, b"x"), &mut out).unwrap();
            assert_eq!(server.data.len(), number);
        }
        let flood: Vec<u8> = (0..=MOST_IDLE).flat_map(|_| client.seal(typ, payload)).collect();
        assert_eq!(server.receive(&flood, &mut out), Err(Failure::Record(RecordError::Flood)));
    }
    // A client that reads nothing cannot make the answers to renegotiations pile up.
    let (client, mut server) = connected(&TLS12);
    let (mut client, mut out) = (Forger::new(client), Pipe { room: 0, bytes: Vec::new() });
    for _ in 0..100 {
        for _ in 0..MOST_IDLE {
            server.receive(&client.seal(ContentType::Handshake, &[1, 0, 0, 0]), &mut out).unwrap();
        }
        server.receive(&client.seal(ContentType::ApplicationData, b"x"), &mut out).unwrap();
    }
    assert!(server.session.output_memory() < 200, "{}", server.session.output_memory());
    // New keys. rustls announces one with the next write, also with an empty one.
    let (mut client, mut server) = connected(&TLS13);
    let update = |client: &mut ClientConnection| {
        client.refresh_traffic_keys().unwrap();
        assert_eq!(client.writer().write(b"").unwrap(), 0);
        sent(client)
    };
    for _ in 0..MOST_IDLE {
        server.receive(&update(&mut client), &mut Pipe::wide()).unwrap();
    }
    let failure = server.receive(&update(&mut client), &mut Pipe::wide());
    assert_eq!(failure, Err(Failure::Record(RecordError::Flood)));
}

/// The announcement of a new key in several records.
#[test]
fn parts_of_an_update() {
    const UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
    let (handshake, data) = (ContentType::Handshake, ContentType::ApplicationData);
    let run = |records: &[(ContentType, &[u8])]| {
        let (client, mut server) = connected(&TLS13);
        let mut client = Forger::new(client);
        let mut receive = |(typ, payload)| server.receive(&client.seal(typ, payload), &mut Pipe::wide());
        let done = records.iter().try_for_each(|record| receive(*record));
        (done, server.data)
    };
    // What follows under the old key cannot be opened.
    let changed = (Err(Failure::Record(RecordError::Damaged)), b"old".to_vec());
    for cut in 1..5 {
        let (begin, end) = UPDATE.split_at(cut);
        assert_eq!(run(&[(data, b"old"), (handshake, begin), (handshake, end), (data, b"new")]), changed);
        // Nothing may come between the parts.
        for other in
            [(data, &b"x"[..]), (data, b""), (handshake, b""), (handshake, &UPDATE), (ContentType::Alert, &[1, 90])]
        {
            let (done, _) = run(&[(handshake, begin), other, (handshake, end)]);
            assert_eq!(done, Err(Failure::Record(RecordError::Unexpected)), "{cut}, {other:?}");
        }
        assert_eq!(run(&[(handshake, begin)]), (Ok(()), Vec::new()));
    }
    let bytes = UPDATE.each_ref().map(|byte| (handshake, core::slice::from_ref(byte)));
    assert_eq!(run(&[&[(data, &b"old"[..])], &bytes[..], &[(data, b"new")]].concat()), changed);
    for (message, error) in [
        (&[24, 0, 0, 1, 2][..], RecordError::Malformed),
        (&[24, 0, 0, 1, 0, 24], RecordError::Unexpected),
        (&[24, 0, 0, 2, 0, 0], RecordError::Unexpected),
        (&[4], RecordError::Unexpected),
        (&[], RecordError::Unexpected),
    ] {
        assert_eq!(run(&[(handshake, message)]).0, Err(Failure::Record(error)), "{message:?}");
    }
}

/// A record that was changed at any byte, or repeated, ends the connection, and the client learns why.
#[test]
fn damaged_records() {
    for version in VERSIONS {
        let record = {
            let (mut client, _) = connected(version);
            client.writer().write_all(b"hello").unwrap();
            sent(&mut client)
        };
        for at in 0..record.len() {
            if *version == TLS13 && (1..3).contains(&at) {
                // These bytes have no meaning (RFC 8446 section 5.2).
                continue;
            }
            let (mut client, mut server) = connected(version);
            client.writer().write_all(b"hello").unwrap();
            let mut record = sent(&mut client);
            record[at] ^= 1;
            record.extend([0; 300]);
            let mut out = Pipe::wide();
            let Err(Failure::Record(error)) = server.receive(&record, &mut out) else {
                panic!("byte {at} can be changed");
            };
            assert!(server.data.is_empty());
            assert!(!server.session.is_open());
            server.session.flush(&mut out).unwrap();
            let learned = receive(&mut client, &out.bytes).unwrap_err();
            assert!(matches!(learned, rustls::Error::AlertReceived(_)), "{error}: {learned}");
        }
        let (mut client, mut server) = connected(version);
        client.writer().write_all(b"hello").unwrap();
        let record = sent(&mut client);
        let mut out = Pipe::wide();
        server.receive(&record, &mut out).unwrap();
        assert_eq!(server.receive(&record, &mut out), Err(Failure::Record(RecordError::Damaged)));
        assert_eq!(server.data, b"hello");
    }
}

/// Both sides announce their end, and the other side may still send.
#[test]
fn ends() {
    for version in VERSIONS {
        let (mut client, mut server) = connected(version);
        let mut out = Pipe::wide();
        client.writer().write_all(b"last").unwrap();
        client.send_close_notify();
        let bytes = sent(&mut client);
        server.receive(&[bytes, vec![0xff; 100]].concat(), &mut out).unwrap();
        assert_eq!((&*server.data, server.ended), (&b"last"[..], true));
        (Sealed { session: &mut server.session, out: &mut out }).write_all(b"answer").unwrap();
        assert!(server.session.close(&mut out));
        assert!(server.session.close(&mut out), "it is announced once");
        assert!((Sealed { session: &mut server.session, out: &mut out }).write(b"more").is_err());
        assert_eq!(receive(&mut client, &out.bytes).unwrap(), b"answer");
        assert!(client.process_new_packets().unwrap().peer_has_closed());
        // An announcement that the socket does not accept waits.
        let (mut client, mut server) = connected(version);
        let mut out = Pipe { room: 3, ..Pipe::default() };
        assert!(!server.session.close(&mut out));
        assert!(server.session.is_closed());
        out.room = usize::MAX;
        assert!(server.session.flush(&mut out).unwrap());
        assert!(server.session.take_finish());
        assert!(!server.session.take_finish(), "once");
        receive(&mut client, &out.bytes).unwrap();
        assert!(client.process_new_packets().unwrap().peer_has_closed());
    }
}

#[test]
fn what_is_not_tls_is_refused() {
    for (bytes, error) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], HandshakeError::NotTls),
        (b"\x00", HandshakeError::NotTls),
        (b"\x16\x03\x01\xff\xff", HandshakeError::TooLong),
    ] {
        let mut server = Server::new(acceptor());
        let mut out = Pipe::wide();
        assert_eq!(server.receive(bytes, &mut out), Err(Failure::Handshake(error)));
        assert!(out.bytes.is_empty());
    }
    // A first message that does not end.
    let mut server = Server::new(acceptor());
    let mut out = Pipe::wide();
    let record = [&[22, 3, 1, 0x40, 0][..], &[1, 0, 0xff, 0xff], &[0; 0x4000 - 4]].concat();
    server.receive(&record, &mut out).unwrap();
    assert!(server.session.input_memory() >= 0x4000);
    let more = [&[22, 3, 1, 0x40, 0][..], &[0; 0x4000]].concat();
    let failure = (0..10).find_map(|_| server.receive(&more, &mut out).err());
    assert_eq!(failure, Some(Failure::Handshake(HandshakeError::TooLong)));
}

/// What a client holds while nothing happens, and what it holds in the handshake.
#[test]
fn sizes() {
    assert!(size_of::<Session>() <= 200, "{}", size_of::<Session>());
}
