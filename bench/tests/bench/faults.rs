//! Servers that make a single mistake: relay-bench must find it, and find nothing else.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use relay_bench::member::ACCEPT;

use crate::{FAULTS, bench, hostile::hostile};

/// The mistake of a server.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    Lose,
    Double,
    Swap,
    Shorten,
    Change,
    Misroute,
    CutOff,
    Refuse,
    Close,
    /// The connection ends without a close frame, right after the message.
    HangUp,
    /// The notification gets no response.
    Silent,
    /// The notification gets two responses.
    RespondTwice,
}

/// A server for publishers, and for members that have plain WebSockets or streams. It makes its mistake with the fifth message, for the first member.
fn faulty(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let members: Arc<Mutex<Vec<Member>>> = Arc::default();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let members = members.clone();
            thread::spawn(move || serve(stream.unwrap(), &members, fault));
        }
    });
    addr
}

/// A member, with what it gets for a message.
type Member = (TcpStream, fn(&str) -> Vec<u8>);

fn serve(mut stream: TcpStream, members: &Mutex<Vec<Member>>, fault: Fault) {
    let (mut bytes, mut part, mut count, mut held) = (Vec::new(), [0; 4096], 0, None);
    loop {
        while let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
            if text.starts_with("GET ") {
                let form: fn(&str) -> Vec<u8> = if text.starts_with("GET /sse") {
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
                    write!(stream, "{head}retry: 2000\nid: 0\n\n").unwrap();
                    block
                } else {
                    write!(stream, "HTTP/1.1 101 x\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n").unwrap();
                    text_frame
                };
                members.lock().unwrap().push((stream.try_clone().unwrap(), form));
                // This thread ends; the list keeps the socket open.
                return;
            }
            let length: usize = text.split("Content-Length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
            let Some(form) = bytes.get(head + 4..head + 4 + length) else { break };
            let fields: Vec<String> = form_urlencoded::parse(form).map(|(_, value)| value.into_owned()).collect();
            bytes.drain(..head + 4 + length);
            count += 1;
            let wrong = count == 5;
            let code = if fault == Fault::Refuse && wrong { 0 } else { 1 };
            for (index, (member, form)) in members.lock().unwrap().iter_mut().enumerate() {
                let frame = |room: &str, data: &str| form(&message_text(room, data));
                let message = frame(&fields[1], &fields[2]);
                let bytes = match fault {
                    _ if !wrong || index > 0 => {
                        let late = if index == 0 { held.take() } else { None };
                        [message, late.unwrap_or_default()].concat()
                    }
                    Fault::Lose => continue,
                    Fault::Double => [&message[..], &message].concat(),
                    Fault::Swap => {
                        held = Some(message);
                        continue;
                    }
                    Fault::Shorten => frame(&fields[1], &fields[2][..fields[2].len() - 1]),
                    Fault::Change => frame(&fields[1], &fields[2].replacen('x', "y", 1)),
                    Fault::Misroute => frame("elsewhere", &fields[2]),
                    Fault::CutOff => {
                        let whole = message_text(&fields[1], &fields[2]);
                        form(&whole[..whole.len() - 4])
                    }
                    Fault::Close => {
                        let stream = b"event: disconnect\ndata: {\"code\":1013}\n\n";
                        let is_stream = message.starts_with(b"id");
                        [&message[..], if is_stream { &stream[..] } else { b"\x88\x02\x03\xf5" }].concat()
                    }
                    Fault::None | Fault::Refuse | Fault::HangUp | Fault::Silent | Fault::RespondTwice => message,
                };
                let _ = member.write_all(&bytes);
                if fault == Fault::HangUp && wrong && index == 0 {
                    member.shutdown(Shutdown::Both).unwrap();
                }
            }
            let body = format!("{{\"code\":{code},\"msg\":\"\",\"data\":\"\"}}");
            let times = match fault {
                Fault::Silent if wrong => 0,
                Fault::RespondTwice if wrong => 2,
                _ => 1,
            };
            let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(response.repeat(times).as_bytes()).unwrap();
        }
        match stream.read(&mut part) {
            Ok(length @ 1..) => bytes.extend_from_slice(&part[..length]),
            _ => return,
        }
    }
}

fn message_text(room: &str, data: &str) -> String {
    format!("{{\"event\":\"newMsg\",\"source\":\"demo\",\"data\":\"{data}\",\"room_id\":\"{room}\",\"id\":\"x\"}}")
}

/// A message of a stream as a server sends it.
fn block(text: &str) -> Vec<u8> {
    format!("id: x\ndata: {}\n\n", text.replacen("\"event\":\"newMsg\",", "", 1)).into_bytes()
}

/// A text message as a server sends it.
pub fn text_frame(text: &str) -> Vec<u8> {
    let length = (text.len() as u16).to_be_bytes();
    let head = if text.len() < 126 { vec![0x81, length[1]] } else { vec![0x81, 126, length[0], length[1]] };
    [&head, text.as_bytes()].concat()
}

#[test]
fn every_kind_of_fault_is_found() {
    let faults = [
        (Fault::None, "", [0, 0, 0, 0, 0, 0, 0]),
        (Fault::Lose, "never arrived", [1, 0, 0, 0, 0, 0, 0]),
        (Fault::Double, "arrived twice", [0, 1, 0, 0, 0, 0, 0]),
        (Fault::Swap, "out of order", [0, 0, 1, 0, 0, 0, 0]),
        (Fault::Shorten, "127 bytes of data instead of 128", [1, 0, 0, 1, 0, 0, 0]),
        (Fault::Change, "data that was not sent", [1, 0, 0, 1, 0, 0, 0]),
        (Fault::Misroute, "elsewhere", [1, 0, 0, 1, 0, 0, 0]),
        (Fault::CutOff, "invalid JSON", [1, 0, 0, 1, 0, 0, 0]),
        (Fault::Refuse, "refused", [0, 0, 0, 0, 0, 1, 0]),
        (Fault::Close, "closed with 1013", [0, 0, 0, 0, 1, 0, 0]),
        (Fault::HangUp, "closed by the server", [0, 0, 0, 0, 1, 0, 0]),
        (Fault::Silent, "got no response", [0, 0, 0, 0, 0, 0, 1]),
    ];
    for ((fault, text, counts), kind) in faults.iter().flat_map(|row| ["ws", "sse"].map(|kind| (*row, kind))) {
        let text = match (fault, kind) {
            (Fault::Close, "sse") => "event disconnect: {\\\"code\\\":1013}",
            _ => text,
        };
        let line = "fan-out --members 3 --messages 20 --window 4 --stall 0.5 --timeout 20 --json";
        let ran = bench(&format!("{line} --client {kind} --addr {}", faulty(fault)));
        let json = ran.json();
        let mut found = FAULTS.map(|key| json[key].as_u64().unwrap_or_else(|| panic!("{key} in {json}")));
        assert_eq!(json["deliveries"], json["owed"].as_u64().unwrap() - found[0], "{fault:?}: {json}");
        if [Fault::Close, Fault::HangUp].contains(&fault) {
            // The member loses the messages in flight, at most one window; the others continue. All four can be messages after the
            // faulty one if the end of the connection arrives later than that message.
            assert!(found[0] <= 4 && json["owed"].as_u64().unwrap() >= 45, "{json}");
            found[0] = 0;
        }
        assert_eq!(found, counts, "{fault:?}: {json}");
        assert_eq!((ran.code, &json["ok"]), (i32::from(fault != Fault::None), &(fault == Fault::None).into()));
        assert!(json["faults"].to_string().contains(text), "{fault:?}: {json}");
    }
    // The table names the fault too.
    let ran =
        bench(&format!("fan-out --members 3 --messages 20 --window 4 --stall 0.5 --addr {}", faulty(Fault::Lose)));
    assert!(ran.code == 1 && ran.out.contains("1 lost") && ran.out.contains("never arrived"), "{}", ran.out);
}

/// A superfluous response is an error, and a missing one is a fault.
#[test]
fn responses_are_counted() {
    let load = "--messages 20 --stall 0.5 --timeout 20 --json";
    for window in [1, 4] {
        let ran =
            bench(&format!("ingest --connections 1 --window {window} {load} --addr {}", faulty(Fault::RespondTwice)));
        assert!(ran.code == 1 && ran.err.contains("a response without a request"), "{window}: {} {}", ran.out, ran.err);
    }
    let ran = bench(&format!("ingest --connections 1 --window 4 {load} --addr {}", faulty(Fault::Silent)));
    assert_eq!((ran.code, &ran.json()["ok"]), (1, &false.into()), "{}", ran.out);
    // Without any response the latency is null, not 0.
    let ran = bench(&format!(
        "ingest {load} --addr {}",
        hostile(|mut stream| while stream.read(&mut [0; 4096]).unwrap() > 0 {})
    ));
    let json = ran.json();
    assert_eq!((ran.code, &json["accepted"], &json["unanswered"]), (1, &0.into(), &16.into()), "{json}");
    assert!(json["latency_p50_us"].is_null() && json["latency_max_us"].is_null(), "{json}");
}
