//! TLS: hostile handshakes and records, and the other protocols inside TLS that keeps to its rules.

use std::{
    fs,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, OnceLock},
    time::Duration,
};

use relay::tls::testing::{Forger, PEM, client_with, config, sent};
use rustls::{
    ClientConfig, ClientConnection, ContentType,
    version::{TLS12, TLS13},
};

use crate::{
    engineio, http,
    mutate::mutate,
    random::Random,
    run::{self, Protocol},
    samples::NAMESPACES,
    socketio,
    support::{Relay, temp_file},
    websocket,
    wire::{Case, Layer},
};

const RAW: Protocol = Protocol {
    name: "tls",
    config: "",
    reaches: &["tls_failed", "tls_handshakes", "tls_resumed", "tls_errors", "requests", "bad_requests"],
    case: raw,
};

const INSIDE: Protocol = Protocol {
    name: "over_tls",
    config: NAMESPACES,
    reaches: &[
        "tls_handshakes",
        "tls_resumed",
        "tls_errors",
        "requests",
        "bad_requests",
        "logins",
        "notifies",
        "client_messages",
        "posted",
        "delivered",
        "events",
        "protocol_errors",
    ],
    case: inside,
};

/// Hostile handshakes, and hostile records after an honest one.
pub fn handshakes_and_records() {
    with_certificate(&RAW, |config| run::clients_at(&RAW, config, address, None));
}

/// The protocols of clients through TLS. Their bytes are hostile; their records are valid, nearly always.
pub fn protocols() {
    with_certificate(&INSIDE, |config| run::clients_at(&INSIDE, config, address, Some(open)));
}

/// Runs a protocol with a configuration that has a plain address, one with TLS, and a certificate.
fn with_certificate(protocol: &Protocol, run: impl FnOnce(&str)) {
    let file = temp_file("relay.pem");
    fs::write(&file, PEM).unwrap();
    let name = file.display();
    let config = protocol.config;
    run(&format!(
        "listen = [\"127.0.0.1:0\", \"tls://127.0.0.1:0\"]\n{config}\n\
         [[tls.certificates]]\ncert_file = \"{name}\"\nkey_file = \"{name}\"\n"
    ));
    fs::remove_file(file).unwrap();
}

fn address(relay: &Relay) -> SocketAddr {
    relay.addresses(2).iter().find_map(|address| address.strip_prefix("tls://")).unwrap().parse().unwrap()
}

/// A client of either version. Most continue the session of an earlier one.
fn client(random: &mut Random) -> ClientConnection {
    static CONFIGS: OnceLock<[Arc<ClientConfig>; 2]> = OnceLock::new();
    let configs = CONFIGS.get_or_init(|| [Arc::new(config(&TLS12)), Arc::new(config(&TLS13))]);
    match random.below(8) {
        0 => client_with(Arc::new(config(&TLS12))),
        1 => client_with(Arc::new(config(&TLS13))),
        number => client_with(configs[number % 2].clone()),
    }
}

/// Reads once and handles it. Fails with [`ErrorKind::WouldBlock`] if nothing comes in time.
fn receive(stream: &mut TcpStream, tls: &mut ClientConnection) -> io::Result<()> {
    if tls.read_tls(stream)? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    tls.process_new_packets().map(drop).map_err(io::Error::other)
}

/// Completes a handshake.
fn complete(stream: &mut TcpStream, tls: &mut ClientConnection) -> io::Result<()> {
    stream.set_read_timeout(Some(HANDSHAKE))?;
    loop {
        stream.write_all(&sent(tls))?;
        if !tls.is_handshaking() {
            return Ok(());
        }
        receive(stream, tls)?;
    }
}

/// One of the protocols of clients.
fn inside(case: &mut Case) -> Option<()> {
    let protocols = [&http::PROTOCOL, &websocket::PROTOCOL, &engineio::PROTOCOL, &socketio::PROTOCOL];
    (case.random.pick(&protocols).case)(case)
}

/// TLS around a conversation.
struct Tls(ClientConnection);

fn open(stream: &mut TcpStream, random: &mut Random) -> Option<Box<dyn Layer>> {
    let mut tls = client(random);
    // Records that wait together can be long.
    tls.set_buffer_limit(None);
    complete(stream, &mut tls).ok()?;
    Some(Box::new(Tls(tls)))
}

impl Layer for Tls {
    /// Seals bytes in records of random lengths, which may reach the relay together or in parts.
    fn write(&mut self, stream: &mut TcpStream, mut bytes: &[u8], random: &mut Random) -> io::Result<()> {
        let usual = *random.pick(&[&1, &1, &50, &1500, &MAX_DATA, &MAX_DATA]);
        let (mut sealed, mut records) = (Vec::new(), 0);
        while !bytes.is_empty() {
            let longest = if records < MOST_SHORT { usual } else { MAX_DATA };
            let (data, rest) = bytes.split_at(random.length(longest).min(bytes.len()));
            self.0.writer().write_all(data)?;
            (bytes, records) = (rest, records + 1);
            if random.once_in(200) {
                // TLS 1.2 has no new keys.
                let _ = self.0.refresh_traffic_keys();
            }
            sealed.append(&mut sent(&mut self.0));
        }
        if random.once_in(400) {
            mutate(&mut sealed, &[], random);
        }
        let most = if random.once_in(3) { random.length(4096) } else { sealed.len() };
        sealed.chunks(most.max(sealed.len() / 64).max(1)).try_for_each(|part| stream.write_all(part))
    }

    fn read(&mut self, stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
            receive(stream, &mut self.0)?;
            // Answers to new keys.
            stream.write_all(&sent(&mut self.0))?;
        }
    }

    fn end(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        self.0.send_close_notify();
        stream.write_all(&sent(&mut self.0))
    }
}

/// A connection whose handshake is hostile from the first byte or in the middle, or whose records are afterwards.
fn raw(case: &mut Case) -> Option<()> {
    let mut wire = case.connect()?;
    let mut tls = client(&mut case.random);
    let hello = sent(&mut tls);
    match case.random.below(4) {
        0 => {
            wire.stream.write_all(&hello).ok()?;
            wire.stream.set_read_timeout(Some(HANDSHAKE)).ok()?;
            while tls.is_handshaking() && !tls.wants_write() {
                receive(&mut wire.stream, &mut tls).ok()?;
            }
            let mut flight = sent(&mut tls);
            case.mutate(&mut flight, &hello, 1);
            wire.send(case, "second flight", &flight)?;
            wire.skim()?;
        }
        1 => {
            wire.stream.write_all(&hello).ok()?;
            complete(&mut wire.stream, &mut tls).ok()?;
            let mut forger = Forger::new(tls);
            for _ in 0..case.random.length(8) {
                let records: Vec<_> = (0..case.random.length(40)).map(|_| record(case, &mut forger, &hello)).collect();
                wire.send(case, "records", &records.concat())?;
                wire.skim()?;
            }
        }
        _ => {
            for _ in 0..case.random.length(4) {
                let bytes = BEFORE[case.random.below(BEFORE.len())](case, &hello);
                wire.send(case, "handshake", &bytes)?;
                if case.random.once_in(2) {
                    wire.skim()?;
                }
            }
        }
    }
    case.end(wire);
    Some(())
}

/// A sealed record: mostly a request, or what does not belong between requests.
fn record(case: &mut Case, forger: &mut Forger, hello: &[u8]) -> Vec<u8> {
    let long = vec![b'x'; case.random.length(20_000)];
    let (typ, payload): (_, &[u8]) = match case.random.below(24) {
        0 => (ContentType::Handshake, &hello[HEADER..]),
        // New keys: the records behind them are sealed with the old ones.
        1 => (ContentType::Handshake, case.random.pick(&[&[24, 0, 0, 1, 0][..], &[24, 0, 0, 1, 1], &[24, 0, 0, 1, 2]])),
        2 => (ContentType::Handshake, case.random.pick(&[&b""[..], b"\x18", b"\x18\0\0\x01", b"\x01\xff\xff\xff"])),
        3 => {
            (ContentType::Alert, case.random.pick(&[&b"\x01\0"[..], b"\x02\0", b"\x01\x5a", b"\x02\x28", b"\x01", b""]))
        }
        4 => (ContentType::from(case.random.below(256) as u8), b"\x01"),
        5 => (ContentType::ApplicationData, &long),
        6..12 => (ContentType::ApplicationData, b""),
        _ => (ContentType::ApplicationData, REQUEST),
    };
    forger.seal(typ, payload)
}

/// Bytes that come in place of a handshake, or as a part of it.
type Before = fn(&mut Case, &[u8]) -> Vec<u8>;

const BEFORE: [Before; 8] =
    [whole_hello, cut_hello, changed_hello, changed_hello, hostile_length, empty_records, long_message, no_tls];

fn whole_hello(_: &mut Case, hello: &[u8]) -> Vec<u8> {
    hello.to_vec()
}

fn cut_hello(case: &mut Case, hello: &[u8]) -> Vec<u8> {
    hello[..case.random.below(hello.len())].to_vec()
}

/// A changed message whose lengths outside are right, in records of any length, of a byte too.
fn changed_hello(case: &mut Case, hello: &[u8]) -> Vec<u8> {
    let mut message = hello[HEADER..].to_vec();
    case.mutate(&mut message, hello, 1);
    if let Some(length) = message.len().checked_sub(4).filter(|_| !case.random.once_in(4)) {
        message[1..4].copy_from_slice(&(length as u32).to_be_bytes()[1..]);
    }
    let longest = *case.random.pick(&[&1, &100, &MAX_DATA, &MAX_DATA]);
    let longest = longest.max(message.len() / 2000);
    message.chunks(longest).flat_map(|part| plain_record(22, part)).collect()
}

fn plain_record(typ: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (payload.len() as u16).to_be_bytes();
    [&[typ, 3, 1, high, low], payload].concat()
}

/// A record that announces another length than it has.
fn hostile_length(case: &mut Case, _: &[u8]) -> Vec<u8> {
    let [high, low] = case.random.pick(&[&0_u16, &1, &16_384, &16_385, &18_432, &18_433, &65_535]).to_be_bytes();
    let typ = *case.random.pick(&[&20, &21, &22, &22, &22, &23, &24, &255]);
    let payload = vec![1; case.random.length(40_000)];
    [&[typ, 3, 3, high, low], &payload[..]].concat()
}

fn empty_records(case: &mut Case, _: &[u8]) -> Vec<u8> {
    let payload: &[u8] = case.random.pick(&[&b""[..], b"\x01", b"\x01\0", b"\x01\x5a"]);
    plain_record(case.random.pick(&[&[20], &[21], &[22]])[0], payload).repeat(case.random.length(2000))
}

/// A message that announces 16 MiB, and the first part of it.
fn long_message(case: &mut Case, _: &[u8]) -> Vec<u8> {
    let mut bytes = plain_record(22, b"\x01\xff\xff\xff");
    bytes.extend(plain_record(22, &vec![0; case.random.length(MAX_DATA)]).repeat(case.random.length(4)));
    bytes
}

fn no_tls(case: &mut Case, _: &[u8]) -> Vec<u8> {
    let ssl2 = b"\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10";
    let proxy = b"PROXY TCP4 203.0.113.9 192.0.2.1 51234 443\r\n";
    case.random.pick(&[REQUEST, REQUEST, ssl2, proxy, b"\0", b"\xff", b"\r\n\r\n"]).to_vec()
}

const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n";
const HEADER: usize = 5;
/// Bytes of data in one record.
const MAX_DATA: usize = 16 * 1024;
/// Records of one piece that may be short: each costs 22 bytes more than its data.
const MOST_SHORT: usize = 1000;
/// How long to wait for a part of a handshake.
const HANDSHAKE: Duration = Duration::from_millis(500);
