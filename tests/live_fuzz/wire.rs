//! A connection of a hostile client: sends its bytes in pieces and ends somehow.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, SockRef, Socket, Type};

use crate::{journal::Journal, mutate::mutate, random::Random};

/// One case: a conversation with the relay, on one connection or several.
pub struct Case<'a> {
    pub number: u64,
    pub random: Random,
    /// How many times rarer than usual mutations are; 0: there are none.
    pub rarity: usize,
    pub addr: SocketAddr,
    pub journal: &'a Journal,
    /// Connections that are left open, and not read, for a while.
    pub left: &'a mut Vec<TcpStream>,
    /// Opens what each connection of the case goes through.
    pub layer: Option<Open>,
}

/// What a conversation goes through on its way to the socket and back.
pub trait Layer {
    fn write(&mut self, stream: &mut TcpStream, bytes: &[u8], random: &mut Random) -> io::Result<()>;
    fn read(&mut self, stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize>;
    /// Tells the relay that no more follows.
    fn end(&mut self, stream: &mut TcpStream) -> io::Result<()>;
}

/// Opens a layer on a new connection.
pub type Open = fn(&mut TcpStream, &mut Random) -> Option<Box<dyn Layer>>;

/// A connection. `None` from its methods means that it has ended, and so the conversation.
pub struct Wire {
    pub stream: TcpStream,
    layer: Option<Box<dyn Layer>>,
    /// Whether what is sent may be mutated, and how rarely.
    rarity: Option<usize>,
}

/// How a connection ends.
const ENDS: [fn(&mut Case, TcpStream); 5] = [close, reset, half_close, leave, leave];

impl Case<'_> {
    pub fn connect(&mut self) -> Option<Wire> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).ok()?;
        // Many addresses: connections that end leave their ports unusable for a while.
        let from: SocketAddr = ([127, 0, 1, 1 + (self.number % 250) as u8], 0).into();
        socket.bind(&from.into()).ok()?;
        if self.random.once_in(4) {
            let _ = socket.set_recv_buffer_size(4096);
        }
        socket.connect(&self.addr.into()).ok()?;
        let mut stream = TcpStream::from(socket);
        stream.set_nodelay(true).ok()?;
        stream.set_write_timeout(Some(ANSWER)).ok()?;
        // Half of the conversations are mutated as bytes. The others are mutated by those who write them, at most.
        let rarity = (self.rarity > 0 && self.random.once_in(2)).then(|| 1 + self.random.below(12));
        let layer = match self.layer {
            Some(open) => Some(open(&mut stream, &mut self.random)?),
            None => None,
        };
        Some(Wire { stream, layer, rarity })
    }

    /// Ends a connection in a random way.
    pub fn end(&mut self, mut wire: Wire) {
        if let Some(layer) = wire.layer.as_mut().filter(|_| self.random.once_in(2)) {
            let _ = layer.end(&mut wire.stream);
        }
        ENDS[self.random.below(ENDS.len())](self, wire.stream);
    }

    /// Whether to make a mistake, once in `rarity` times.
    pub fn errs(&mut self, rarity: usize) -> bool {
        self.rarity > 0 && self.random.once_in(rarity * self.rarity)
    }

    /// Changes a part of a message once in `rarity` times.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>, other: &[u8], rarity: usize) {
        if self.errs(rarity) {
            mutate(bytes, other, &mut self.random);
        }
    }

    /// A sample, perhaps mutated, as text.
    pub fn text(&mut self, samples: &[&str], rarity: usize) -> String {
        let mut bytes = self.random.pick(samples).as_bytes().to_vec();
        let other = self.random.pick(samples).as_bytes();
        self.mutate(&mut bytes, other, rarity);
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

impl Wire {
    /// Sends bytes, perhaps mutated, cut at random places.
    pub fn send(&mut self, case: &mut Case, what: &'static str, bytes: &[u8]) -> Option<()> {
        let mut bytes = bytes.to_vec();
        if let Some(rarity) = self.rarity {
            let other = bytes.clone();
            case.mutate(&mut bytes, &other, rarity);
        }
        case.journal.add(case.number, what, &bytes);
        let mut rest = bytes.as_slice();
        let pieces = match case.random.below(4) {
            0 => 1 + case.random.below(4),
            1 => case.random.length(64),
            _ => 1,
        };
        for piece in (1..=pieces).rev() {
            let length = if piece == 1 { rest.len() } else { case.random.below(rest.len() * 2 / piece + 1) };
            let (now, later) = rest.split_at(length.min(rest.len()));
            match &mut self.layer {
                Some(layer) => layer.write(&mut self.stream, now, &mut case.random).ok()?,
                None => self.stream.write_all(now).ok()?,
            }
            rest = later;
            if piece > 1 && case.random.once_in(4) {
                thread::sleep(Duration::from_micros(200));
            }
        }
        Some(())
    }

    /// Reads what has come, if anything has.
    pub fn skim(&mut self) -> Option<()> {
        self.read(PAUSE, |bytes| !bytes.is_empty()).map(drop)
    }

    /// Reads until `enough` says so, for this time. What came may be less.
    fn read(&mut self, patience: Duration, enough: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        self.stream.set_read_timeout(Some(patience)).ok()?;
        let (begin, mut bytes) = (Instant::now(), Vec::new());
        let mut buffer = [0; 16 * 1024];
        while !enough(&bytes) && begin.elapsed() < patience {
            let read = match &mut self.layer {
                Some(layer) => layer.read(&mut self.stream, &mut buffer),
                None => self.stream.read(&mut buffer),
            };
            match read {
                Ok(0) => return None,
                Ok(length) => bytes.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        Some(bytes)
    }

    /// Reads the head of an HTTP answer and what comes with it.
    pub fn answer(&mut self) -> Option<String> {
        let bytes = self.read(ANSWER, |bytes| bytes.windows(4).any(|part| part == b"\r\n\r\n"))?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn close(_: &mut Case, stream: TcpStream) {
    drop(stream);
}

fn reset(_: &mut Case, stream: TcpStream) {
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

/// Ends the sending side, and reads a little.
fn half_close(_: &mut Case, mut stream: TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.set_read_timeout(Some(PAUSE));
    let _ = stream.read(&mut [0; 4096]);
}

/// Stays for a while, without reading.
fn leave(case: &mut Case, stream: TcpStream) {
    if case.left.len() >= MOST_LEFT {
        let oldest = case.left.swap_remove(case.random.below(MOST_LEFT));
        reset(case, oldest);
    }
    case.left.push(stream);
}

/// How long to wait for an answer. A conversation goes on without one.
const ANSWER: Duration = Duration::from_millis(40);
/// How long to read what may come.
const PAUSE: Duration = Duration::from_millis(3);
/// Connections that one worker leaves open.
pub const MOST_LEFT: usize = 16;
