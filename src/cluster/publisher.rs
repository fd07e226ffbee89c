//! Numbers and signs the publications of this relay, and keeps them until
//! [`Connections`](super::connections::Connections) takes them.

use std::{collections::BTreeMap, io::Write, mem};

use super::{
    channel::Channel,
    seal::{Opened, Seal},
};
use crate::{
    json::{ObjectWriter, write_string},
    message::{Author, Data, MessageId, bytes::pack},
    state::State,
};

/// Encodes the publications of this relay. Drops them while the cluster is off.
#[derive(Default)]
pub struct Publisher {
    seal: Option<Seal>,
    node: Box<str>,
    ip: Box<str>,
    last_number: u64,
    waiting: Vec<Publication>,
    /// The numbers of the last changes of who is in which room, by source. Not by
    /// [`TenantId`](crate::state::TenantId): a reload may give that to another source.
    pub(super) changes: BTreeMap<Box<str>, u64>,
}

/// A message or command to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The channel.
    pub channel: Channel,
    /// A JSON object.
    pub payload: Vec<u8>,
    /// Whether it is useless if it is late: it is dropped if there is no connection.
    pub volatile: bool,
}

impl Publisher {
    /// Sets this relay's name, and the IP address that it reports.
    pub fn introduce(&mut self, node: String, ip: &str) {
        self.node = node.into();
        self.ip = ip.into();
    }

    /// Sets `redis.secret`, and by how many seconds a signature's time may be off. `None` switches the cluster off. The
    /// numbering continues, because other relays remember the last number.
    pub fn configure(&mut self, settings: Option<(Option<&[u8]>, u64)>) {
        self.seal = settings.map(|(secret, window)| Seal::new(&self.node, secret, window));
        if self.seal.is_none() {
            self.waiting.clear();
        }
    }

    /// Whether the cluster is on.
    pub fn is_on(&self) -> bool {
        self.seal.is_some()
    }

    /// Whether relays sign their publications.
    pub fn signs(&self) -> bool {
        self.seal.as_ref().is_some_and(Seal::signs)
    }

    /// This relay's name.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The IP address that it reports.
    pub fn ip(&self) -> &str {
        &self.ip
    }

    /// Takes the publications, oldest first.
    pub fn take(&mut self) -> Vec<Publication> {
        mem::take(&mut self.waiting)
    }

    /// Checks the origin of a publication on a channel. `None` if the cluster is off.
    pub fn open<'a>(&self, channel: &Channel, payload: &'a [u8], unix: u64) -> Option<Opened<'a>> {
        let place = match channel {
            Channel::Messages | Channel::Commands => channel.place(),
            Channel::Relay(_) => &self.node,
        };
        Some(self.seal.as_ref()?.open(payload, place, unix))
    }

    /// Publishes a JSON object, which must not have its closing brace yet.
    fn publish(&mut self, state: &mut State, channel: Channel, mut payload: Vec<u8>, volatile: bool) {
        let Some(seal) = &self.seal else { return };
        state.stats.redis_published += 1;
        // Relays use the numbers to detect duplicates and gaps. A volatile publication is never sent twice, so it needs
        // none; an answer to one relay would be a gap for all others.
        let number = match channel {
            Channel::Messages | Channel::Commands if !volatile => {
                self.last_number += 1;
                self.last_number
            }
            _ => 0,
        };
        seal.close(&mut payload, number, channel.place(), state.now.unix);
        self.waiting.push(Publication { channel, payload, volatile });
    }

    /// Publishes a message for rooms of a source. `filename` is the message log file that a backend's message names.
    pub fn message(
        &mut self,
        state: &mut State,
        (source, rooms): (&str, &[&str]),
        data: Data<'_>,
        (filename, author): (&str, Author<'_>),
        id: MessageId,
    ) {
        if self.is_on() {
            let payload = message(source, &rooms.join(","), data, (filename, &self.ip, author), id);
            self.publish(state, Channel::Messages, payload, false);
        }
    }

    /// Publishes a command with the fields that `fill` writes.
    pub fn command(
        &mut self,
        state: &mut State,
        name: &'static str,
        channel: Channel,
        volatile: bool,
        fill: impl FnOnce(&mut ObjectWriter<'_>),
    ) {
        if self.is_on() {
            let mut payload = b"{".to_vec();
            let mut line = ObjectWriter::within(&mut payload);
            line.text("do", name);
            fill(&mut line);
            self.publish(state, channel, payload, volatile);
        }
    }

    /// Publishes `hello`: this relay is alive. Includes the number of its last publication.
    pub fn hello(&mut self, state: &mut State) {
        let last = self.last_number;
        self.command(state, "hello", Channel::Commands, true, |line| line.display("last", last));
    }

    /// Publishes `bye`: this relay is stopping.
    pub fn bye(&mut self, state: &mut State) {
        let last = self.last_number;
        self.command(state, "bye", Channel::Commands, true, |line| line.display("last", last));
    }

    /// Publishes a command without effect to this relay itself, to find out whether Redis permits publishing.
    pub fn probe(&mut self, state: &mut State) {
        let own = Channel::Relay(self.node.clone());
        self.command(state, "try", own, true, |_| {});
    }
}

/// Encodes a message with the fields of node-socket-im in its order, then the id that relays add, without the closing
/// brace. Only messages of backends have the fields `filename` and `ip`.
fn message(
    source: &str,
    rooms: &str,
    data: Data<'_>,
    (filename, ip, author): (&str, &str, Author<'_>),
    id: MessageId,
) -> Vec<u8> {
    let mut out = b"{\"source\":".to_vec();
    write_string(&mut out, source);
    out.extend_from_slice(b",\"data\":");
    match data {
        Data::Mixed { json, attachments } => pack(&mut out, json, attachments),
        data => data.write_json(&mut out),
    }
    out.extend_from_slice(b",\"room_id\":");
    write_string(&mut out, rooms);
    // Other relays recognize a client's message by the missing file name.
    if author == Author::Backend {
        out.extend_from_slice(b",\"filename\":");
        write_string(&mut out, filename);
    }
    out.extend_from_slice(b",\"from_sys\":true");
    match author {
        Author::Backend => {
            out.extend_from_slice(b",\"ip\":");
            write_string(&mut out, ip);
        }
        Author::Client("") => {}
        Author::Client(from) => {
            out.extend_from_slice(b",\"from\":");
            out.extend_from_slice(from.as_bytes());
        }
    }
    if matches!(data, Data::Binary(_) | Data::Mixed { .. }) {
        out.extend_from_slice(b",\"binary\":true");
    }
    write!(out, ",\"id\":\"{id}\"").expect("writing to memory succeeds");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> MessageId {
        MessageId::parse("1km9g41o7vkabc123").unwrap()
    }

    #[test]
    fn a_backend_s_message() {
        let mut out = message("demo", "r1,r2", Data::Text("hi \"ü\""), ("", "192.0.2.7", Author::Backend), id());
        Seal::new("abc123", None, 300).close(&mut out, 12, "here", 1000);
        // Up to ip: as node-socket-im wrote it, byte for byte.
        let old =
            r#"{"source":"demo","data":"hi \"ü\"","room_id":"r1,r2","filename":"","from_sys":true,"ip":"192.0.2.7""#;
        let expected = format!(r#"{old},"id":"1km9g41o7vkabc123","seq":12,"node":"abc123"}}"#);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_client_s_message() {
        let out = message(
            "demo",
            "r1",
            Data::Json("{\"b\":1.0,\"a\":2}"),
            ("", "", Author::Client("{\"userid\":\"7\"}")),
            id(),
        );
        let old = r#"{"source":"demo","data":{"b":1.0,"a":2},"room_id":"r1","from_sys":true"#;
        let expected = format!(r#"{old},"from":{{"userid":"7"}},"id":"1km9g41o7vkabc123""#);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let out = message("demo", "r1", Data::Binary(b"\0\xff"), ("", "", Author::Client("")), id());
        let expected = r#"{"source":"demo","data":{"_base64":"AP8="},"room_id":"r1","from_sys":true,"binary":true"#;
        assert_eq!(String::from_utf8(out).unwrap(), format!(r#"{expected},"id":"1km9g41o7vkabc123""#));
    }

    #[test]
    fn numbers() {
        let mut state = State::new(id(), [0; 32]);
        let mut publisher = Publisher::default();
        publisher.introduce("abc123".into(), "192.0.2.7");
        publisher.hello(&mut state);
        assert!(publisher.take().is_empty() && state.stats.redis_published == 0, "the cluster is off");
        publisher.configure(Some((None, 300)));
        publisher.message(&mut state, ("demo", &["r1", "r2"]), Data::Text("x"), ("", Author::Client("")), id());
        publisher.hello(&mut state);
        publisher.probe(&mut state);
        publisher.configure(None);
        assert!(publisher.take().is_empty(), "what waited is dropped with the link");
        publisher.configure(Some((None, 300)));
        publisher.message(&mut state, ("demo", &["r1"]), Data::Text("x"), ("a.log", Author::Backend), id());
        publisher.bye(&mut state);
        publisher.command(&mut state, "x", Channel::Relay("b".into()), true, |_| {});
        let text = |sent: Publication| (sent.channel, String::from_utf8(sent.payload).unwrap(), sent.volatile);
        let sent: Vec<_> = publisher.take().into_iter().map(text).collect();
        assert!(sent[0].1.ends_with(",\"seq\":2,\"node\":\"abc123\"}") && !sent[0].2, "{sent:?}");
        assert!(sent[0].1.contains(",\"filename\":\"a.log\",\"from_sys\":true,\"ip\":\"192.0.2.7\","), "{sent:?}");
        let bye = "{\"do\":\"bye\",\"last\":2,\"seq\":0,\"node\":\"abc123\"}";
        assert_eq!(sent[1], (Channel::Commands, bye.into(), true));
        assert_eq!(sent[2].0, Channel::Relay("b".into()));
        assert_eq!(state.stats.redis_published, 6);
    }
}
