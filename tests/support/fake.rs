//! A server in place of a relay, or of a proxy in front of one, that answers as a test says.

use std::{
    io::{BufRead, BufReader, Read},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

/// Starts a server that calls `answer` for each request, on a thread of its own, with the first line and the connection, which
/// ends when `answer` returns. Returns its URL. It runs until the process ends.
pub fn server(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for mut stream in listener.incoming().map(Result::unwrap) {
            let answer = answer.clone();
            thread::spawn(move || {
                if let Some(first) = read_request(&stream) {
                    answer(&first, &mut stream);
                }
            });
        }
    });
    url
}

/// Reads a request to its end; its first line.
fn read_request(stream: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().unwrap();
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()?;
    Some(first.trim_end().to_owned())
}

/// An answer with status 200 and a `Content-Length`.
pub fn whole(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// An answer in chunks of seven bytes.
pub fn chunked(body: &str) -> Vec<u8> {
    let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for piece in body.as_bytes().chunks(7) {
        answer.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        answer.extend(piece);
        answer.extend(b"\r\n");
    }
    answer.extend(b"0\r\n\r\n");
    answer
}
