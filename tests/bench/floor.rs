//! What the kernel alone costs for a fan-out: a server that only sends. No signatures, no limits, and nothing read of a
//! request but its room and its data.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd,
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use tungstenite::handshake::derive_accept_key;

/// The least a server can do: accept, and send prepared bytes to everybody in a room for each request; with `coalesce` once
/// for all requests of a read.
pub fn serve(coalesce: bool) -> ! {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    eprintln!("listening on {}", listener.local_addr().unwrap());
    listener.set_nonblocking(true).unwrap();
    let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(1024));
    let watch = |poll: &Poll, fd: i32, token| {
        poll.registry().register(&mut SourceFd(&fd), Token(token), Interest::READABLE).unwrap();
    };
    watch(&poll, listener.as_raw_fd(), usize::MAX - 1);
    // A stream, and the beginning of a request that is not whole.
    let mut streams: Vec<Option<(TcpStream, Vec<u8>)>> = Vec::new();
    let mut rooms: HashMap<String, Vec<usize>> = HashMap::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        poll.poll(&mut events, None).unwrap();
        for event in &events {
            let token = event.token().0;
            if token == usize::MAX - 1 {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nodelay(true).unwrap();
                    stream.set_nonblocking(true).unwrap();
                    watch(&poll, stream.as_raw_fd(), streams.len());
                    streams.push(Some((stream, Vec::new())));
                }
                continue;
            }
            let Some((stream, begun)) = &mut streams[token] else { continue };
            let length = stream.read(&mut buffer).unwrap_or(0);
            if length == 0 {
                streams[token] = None;
                rooms.values_mut().for_each(|members| members.retain(|member| *member != token));
                continue;
            }
            let mut text = std::mem::take(begun);
            text.extend_from_slice(&buffer[..length]);
            let text = String::from_utf8(text).unwrap();
            if !text.contains("\r\n\r\n") {
                *begun = text.into_bytes();
                continue;
            }
            if text.starts_with("GET ") {
                rooms.entry(value(&text, "room_ids=").to_owned()).or_default().push(token);
                let key = derive_accept_key(b"dGhlIHNhbXBsZSBub25jZQ==");
                let answer = format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {key}\r\n\r\n");
                stream.write_all(answer.as_bytes()).unwrap();
                continue;
            }
            let (bodies, rest) = requests(&text);
            *begun = rest.as_bytes().to_vec();
            // What each room gets.
            let mut sends: Vec<(&str, Vec<u8>)> = Vec::new();
            for body in &bodies {
                let (room, frame) = (value(body, "room_id="), frame(value(body, "data=")));
                match sends.iter_mut().find(|(known, _)| coalesce && *known == room) {
                    Some((_, bytes)) => bytes.extend(frame),
                    None => sends.push((room, frame)),
                }
            }
            for (room, bytes) in &sends {
                for member in rooms.get(*room).into_iter().flatten() {
                    streams[*member].as_mut().unwrap().0.write_all(bytes).unwrap();
                }
            }
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".repeat(bodies.len());
            streams[token].as_mut().unwrap().0.write_all(answer.as_bytes()).unwrap();
        }
    }
}

/// The bodies of whole requests, and what is left over.
fn requests(mut text: &str) -> (Vec<&str>, &str) {
    let mut bodies = Vec::new();
    while let Some((head, behind)) = text.split_once("\r\n\r\n") {
        let length = head.split_once("Content-Length: ").unwrap().1.lines().next().unwrap().parse().unwrap();
        let Some(body) = behind.get(..length) else { break };
        bodies.push(body);
        text = &behind[length..];
    }
    (bodies, text)
}

/// A field of a form or query. (All that is sent here has nothing to decode but what `frame` does.)
fn value<'a>(text: &'a str, name: &str) -> &'a str {
    text.split_once(name).map_or("", |(_, rest)| rest.split(['&', ' ']).next().unwrap())
}

/// A request's data, as it stands in the form, is the message.
fn frame(data: &str) -> Vec<u8> {
    let data = data.replace("%3D", "=").replace("%3B", ";");
    let mut frame = vec![0x81, 126];
    frame.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(data.as_bytes());
    frame
}
