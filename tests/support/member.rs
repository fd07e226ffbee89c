//! Socket.IO clients of both generations and both transports.

use std::collections::VecDeque;

use serde_json::Value;

use super::{
    Client, Relay,
    engineio::{self, Polling, json, websocket},
    login,
};

pub const SIGHUP: i32 = 1;
pub const SIGTERM: i32 = 15;
pub const SIGCONT: i32 = 18;
pub const SIGSTOP: i32 = 19;

/// Generation and whether over a WebSocket.
pub const KINDS: [(u8, bool); 4] = [(3, false), (3, true), (4, false), (4, true)];

/// A Socket.IO client of any kind.
pub struct Member<'r> {
    /// Names the client in failures.
    pub kind: (u8, bool),
    pub carrier: Carrier<'r>,
    pub came: VecDeque<String>,
}

pub enum Carrier<'r> {
    Polling(Polling<'r>),
    Socket(Box<Client>),
}

impl<'r> Member<'r> {
    /// Opens a session with that query, and asks for `/` if the generation must.
    pub fn open(relay: &'r Relay, kind: (u8, bool), query: &str) -> Member<'r> {
        let query = format!("EIO={}&{query}", kind.0);
        let (carrier, came) = match kind.1 {
            true => (Carrier::Socket(websocket(relay, &query).0.into()), Vec::new()),
            false => {
                let (session, came) = Polling::open(relay, &query);
                (Carrier::Polling(session), came)
            }
        };
        let mut member = Member { kind, carrier, came: came.into() };
        if kind.0 == 4 {
            member.send(&["40"]);
        }
        member
    }

    /// A member of source `demo`.
    pub fn join(relay: &'r Relay, kind: (u8, bool), fields: &[(&str, &str)]) -> Member<'r> {
        let mut member = Member::open(relay, kind, &login(fields));
        let answer = member.text();
        match kind.0 {
            3 => assert_eq!(answer, "40"),
            _ => assert!(json(&answer, "40")["sid"].is_string(), "{answer}"),
        }
        member
    }

    pub fn room(relay: &'r Relay, kind: (u8, bool), room_ids: &str) -> Member<'r> {
        Member::join(relay, kind, &[("room_ids", room_ids)])
    }

    /// The next packet.
    pub fn text(&mut self) -> String {
        while self.came.is_empty() {
            match &mut self.carrier {
                Carrier::Polling(session) => self.came.extend(session.poll()),
                Carrier::Socket(socket) => self.came.push_back(socket.text()),
            }
        }
        self.came.pop_front().unwrap()
    }

    /// The next `newMsg`.
    pub fn message(&mut self) -> Value {
        let text = self.text();
        let list = json(&text, "42");
        assert_eq!((&list[0], list.as_array().unwrap().len()), (&"newMsg".into(), 2), "{:?}: {text}", self.kind);
        list[1].clone()
    }

    pub fn data(&mut self) -> Value {
        self.message()["data"].clone()
    }

    /// Packets, by polling in one body.
    pub fn send(&mut self, packets: &[&str]) {
        match &mut self.carrier {
            Carrier::Polling(session) => session.post(packets),
            Carrier::Socket(socket) => engineio::send_together(socket, packets),
        }
    }

    /// Asks for an acknowledgement and returns its argument. Packets that come before it are kept.
    pub fn ask(&mut self, packet: &str) -> Value {
        self.send(&[&packet.replacen("42", "4277", 1)]);
        let mut others = VecDeque::new();
        loop {
            let text = self.text();
            if text.starts_with("4377") {
                others.append(&mut self.came);
                self.came = others;
                let list = json(&text, "4377");
                assert_eq!(list.as_array().unwrap().len(), 1);
                return list[0].clone();
            }
            others.push_back(text);
        }
    }

    /// Asserts that nothing comes before the answer to something.
    pub fn nothing(&mut self) {
        assert_eq!(self.ask("42[\"postMsg\"]")["code"], 0);
        assert_eq!(self.came, [""; 0], "{:?}", self.kind);
    }

    pub fn sys_error(&mut self, text: &str) {
        assert_eq!(self.text(), format!("42[\"sys_error\",\"{text}\"]"), "{:?}", self.kind);
    }

    pub fn socket(&mut self) -> &mut Client {
        match &mut self.carrier {
            Carrier::Socket(socket) => socket,
            Carrier::Polling(_) => panic!("it polls"),
        }
    }

    pub fn polling(&self) -> &Polling<'r> {
        match &self.carrier {
            Carrier::Polling(session) => session,
            Carrier::Socket(_) => panic!("it has a WebSocket"),
        }
    }
}

pub fn members<'r>(relay: &'r Relay, room_ids: &str) -> Vec<Member<'r>> {
    KINDS.into_iter().map(|kind| Member::room(relay, kind, room_ids)).collect()
}

/// An event with its arguments.
pub fn event(name: &str, args: &[Value]) -> String {
    format!("42{}", Value::Array([&[name.into()], args].concat()))
}
