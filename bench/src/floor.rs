//! A server that does as little as possible: it accepts, reads and sends with as few system calls as that takes. Its cost is
//! the lower bound that `cargo bench` and `tests/bench/` compare with.
//!
//! It checks no signatures and no limits, and reads nothing of a request but the room, the data and the length. It is not a
//! WebSocket server for general use: every handshake gets the `Sec-WebSocket-Accept` of the one key that this crate's clients
//! send, and an unexpected request ends it.

use std::{
    collections::HashMap,
    convert::Infallible,
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr},
};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use socket2::SockRef;

use crate::member::ACCEPT;

/// Listens on a free port of the loopback network, logs `listening on ADDRESS`, and sends the data of every request to every
/// member of its room. With `coalesce` the messages of one read go out with one write per member, otherwise with one write per
/// message and member. Returns only if it fails.
pub fn serve(coalesce: bool) -> io::Result<Infallible> {
    let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    eprintln!("listening on {}", listener.local_addr()?);
    // Accepted connections inherit the option.
    SockRef::from(&listener).set_tcp_nodelay(true)?;
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
    poll.registry().register(&mut listener, Token(LISTENER), Interest::READABLE)?;
    // A stream, and the beginning of an incomplete request.
    let mut streams: Vec<Option<(TcpStream, Vec<u8>)>> = Vec::new();
    let mut rooms: HashMap<String, Vec<usize>> = HashMap::new();
    let mut buffer = vec![0; 1 << 18];
    let (mut closed, mut free) = (Vec::new(), Vec::new());
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            let token = event.token().0;
            if token == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    let slot = free.pop().unwrap_or(streams.len());
                    poll.registry().register(&mut stream, Token(slot), Interest::READABLE)?;
                    streams.resize_with(streams.len().max(slot + 1), || None);
                    streams[slot] = Some((stream, Vec::new()));
                }
                continue;
            }
            let Some((stream, rest)) = &mut streams[token] else { continue };
            let length = stream.read(&mut buffer).unwrap_or(0);
            if length == 0 {
                streams[token] = None;
                closed.push(token);
                continue;
            }
            let mut text = std::mem::take(rest);
            text.extend_from_slice(&buffer[..length]);
            let text = String::from_utf8(text).map_err(|_| invalid("a request is not UTF-8"))?;
            if !text.contains("\r\n\r\n") {
                *rest = text.into_bytes();
                continue;
            }
            if text.starts_with("GET ") {
                rooms.entry(value(&text, "room_ids=").to_owned()).or_default().push(token);
                let response = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
                );
                stream.write_all(response.as_bytes())?;
                continue;
            }
            let (bodies, incomplete) = requests(&text)?;
            *rest = incomplete.as_bytes().to_vec();
            // The bytes for each room.
            let mut sends: Vec<(&str, Vec<u8>)> = Vec::new();
            for body in &bodies {
                let (room, frame) = (value(body, "room_id="), frame(value(body, "data="))?);
                match sends.iter_mut().find(|(known, _)| coalesce && *known == room) {
                    Some((_, bytes)) => bytes.extend(frame),
                    None => sends.push((room, frame)),
                }
            }
            for (room, bytes) in &sends {
                for member in rooms.get(*room).into_iter().flatten() {
                    let Some((stream, _)) = &mut streams[*member] else { continue };
                    stream.write_all(bytes)?;
                }
            }
            if let Some((stream, _)) = &mut streams[token] {
                stream.write_all(RESPONSE.repeat(bodies.len()).as_bytes())?;
            }
        }
        if !closed.is_empty() {
            rooms.values_mut().for_each(|members| members.retain(|member| !closed.contains(member)));
            free.append(&mut closed);
        }
    }
}

const LISTENER: usize = usize::MAX - 1;
const RESPONSE: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 54\r\n\r\n\
                        {\"code\":1,\"msg\":\"message notify successed!\",\"data\":\"\"}";

fn invalid(text: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text)
}

/// The bodies of the complete requests, and the rest.
fn requests(mut text: &str) -> io::Result<(Vec<&str>, &str)> {
    let mut bodies = Vec::new();
    while let Some((head, rest)) = text.split_once("\r\n\r\n") {
        let length = head.split_once("Content-Length: ").and_then(|(_, length)| length.lines().next()?.parse().ok());
        let length: usize = length.ok_or_else(|| invalid("a request has no valid Content-Length"))?;
        let Some(body) = rest.get(..length) else { break };
        bodies.push(body);
        text = &rest[length..];
    }
    Ok((bodies, text))
}

/// The value of a field in a form or a query string. This crate's clients send nothing that needs decoding but what [`frame`]
/// decodes.
fn value<'a>(text: &'a str, name: &str) -> &'a str {
    text.split_once(name).and_then(|(_, rest)| rest.split(['&', ' ']).next()).unwrap_or_default()
}

/// A WebSocket frame with the data of a request.
fn frame(data: &str) -> io::Result<Vec<u8>> {
    let data = data.replace("%3D", "=").replace("%3B", ";");
    let length = u16::try_from(data.len()).map_err(|_| invalid("the data is longer than 65535 bytes"))?;
    let mut frame = vec![0x81, 126];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(data.as_bytes());
    Ok(frame)
}
