//! What the kernel alone costs: a server that only accepts, reads and sends, with as few calls as that takes. No
//! signatures, no limits, and nothing read of a request but its room, its data, its key and its length.

use std::{
    collections::HashMap,
    io::{Read, Write},
};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use socket2::SockRef;
use tungstenite::handshake::derive_accept_key;

/// The least a server can do: accept, and send prepared bytes to everybody in a room for each request; with `coalesce` once
/// for all requests of a read.
pub fn serve(coalesce: bool) -> ! {
    let mut listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    eprintln!("listening on {}", listener.local_addr().unwrap());
    // Whom it accepts has that too.
    SockRef::from(&listener).set_tcp_nodelay(true).unwrap();
    let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(1024));
    poll.registry().register(&mut listener, Token(LISTENER), Interest::READABLE).unwrap();
    // A stream, and the beginning of a request that is not whole.
    let mut streams: Vec<Option<(TcpStream, Vec<u8>)>> = Vec::new();
    let mut rooms: HashMap<String, Vec<usize>> = HashMap::new();
    let mut buffer = vec![0; 1 << 18];
    let (mut gone, mut free) = (Vec::new(), Vec::new());
    loop {
        poll.poll(&mut events, None).unwrap();
        for event in &events {
            let token = event.token().0;
            if token == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    let place = free.pop().unwrap_or(streams.len());
                    poll.registry().register(&mut stream, Token(place), Interest::READABLE).unwrap();
                    streams.resize_with(streams.len().max(place + 1), || None);
                    streams[place] = Some((stream, Vec::new()));
                }
                continue;
            }
            let Some((stream, begun)) = &mut streams[token] else { continue };
            let length = stream.read(&mut buffer).unwrap_or(0);
            if length == 0 {
                streams[token] = None;
                gone.push(token);
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
                let key = text.split_once("Sec-WebSocket-Key: ").map_or("", |(_, key)| key.lines().next().unwrap());
                let answer = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Accept: {}\r\n\r\n",
                    derive_accept_key(key.as_bytes())
                );
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
            streams[token].as_mut().unwrap().0.write_all(ANSWER.repeat(bodies.len()).as_bytes()).unwrap();
        }
        if !gone.is_empty() {
            rooms.values_mut().for_each(|members| members.retain(|member| !gone.contains(member)));
            free.append(&mut gone);
        }
    }
}

const LISTENER: usize = usize::MAX - 1;
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 54\r\n\r\n\
                      {\"code\":1,\"msg\":\"message notify successed!\",\"data\":\"\"}";

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
