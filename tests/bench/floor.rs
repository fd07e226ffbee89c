//! What the kernel alone costs for a fan-out: a server that only sends. No parsing, no signatures, no rooms, no limits.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd,
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use tungstenite::handshake::derive_accept_key;

/// The least a server can do: accept, and send prepared bytes to everybody for each request; with `coalesce` once for all
/// requests of a read.
pub fn serve(coalesce: bool) -> ! {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    eprintln!("listening on {}", listener.local_addr().unwrap());
    listener.set_nonblocking(true).unwrap();
    let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(1024));
    let watch = |poll: &Poll, fd: i32, token| {
        poll.registry().register(&mut SourceFd(&fd), Token(token), Interest::READABLE).unwrap();
    };
    watch(&poll, listener.as_raw_fd(), usize::MAX - 1);
    let mut streams: Vec<Option<TcpStream>> = Vec::new();
    let mut members: Vec<usize> = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        poll.poll(&mut events, None).unwrap();
        for event in &events {
            let token = event.token().0;
            if token == usize::MAX - 1 {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nodelay(true).unwrap();
                    stream.set_nonblocking(true).unwrap();
                    watch(&poll, stream.as_raw_fd(), streams.len());
                    streams.push(Some(stream));
                }
                continue;
            }
            let length = streams[token].as_mut().map_or(0, |stream| stream.read(&mut buffer).unwrap_or(0));
            if length == 0 {
                streams[token] = None;
                members.retain(|member| *member != token);
                continue;
            }
            if buffer.starts_with(b"GET ") {
                members.push(token);
                let key = derive_accept_key(b"dGhlIHNhbXBsZSBub25jZQ==");
                let answer = format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {key}\r\n\r\n");
                streams[token].as_mut().unwrap().write_all(answer.as_bytes()).unwrap();
                continue;
            }
            // A request's data, as it stands in the form, is the message.
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            let requests: Vec<&str> = text.split("data=").skip(1).map(|rest| rest.split('&').next().unwrap()).collect();
            let frame = |data: &&str| {
                let data = data.replace("%3D", "=").replace("%3B", ";");
                let mut frame = vec![0x81, 126];
                frame.extend_from_slice(&(data.len() as u16).to_be_bytes());
                frame.extend_from_slice(data.as_bytes());
                frame
            };
            let sends = match coalesce {
                true => vec![requests.iter().flat_map(frame).collect()],
                false => requests.iter().map(frame).collect::<Vec<_>>(),
            };
            for bytes in &sends {
                for member in &members {
                    streams[*member].as_mut().unwrap().write_all(bytes).unwrap();
                }
            }
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".repeat(requests.len());
            streams[token].as_mut().unwrap().write_all(answer.as_bytes()).unwrap();
        }
    }
}
