//! The sessions of a source at other relays and old servers, from their records in Redis.

use std::collections::{BTreeMap, HashSet};

use crate::{
    clock::{Local, Now},
    json::{Object, ObjectWriter, scalar},
    names::nested_room_list,
    text::truncate,
};

/// The sessions of a source at other relays and old servers.
#[derive(Debug, Default)]
pub struct RemoteSessions {
    /// The number of sessions.
    pub sessions: usize,
    /// The number of sessions of each username.
    pub names: BTreeMap<Box<str>, usize>,
    /// The number of sessions of each userid in each namespace.
    pub users: BTreeMap<Box<str>, BTreeMap<Box<str>, usize>>,
    /// The first sessions, as JSON objects in the form of this relay's own, each after its userid.
    pub list: Vec<(Box<str>, Box<str>)>,
    /// Whether some records were not read.
    pub partial: bool,
    bytes: usize,
    /// The fields that were read: a scan may return one twice.
    seen: HashSet<Box<[u8]>>,
}

impl RemoteSessions {
    /// Adds a record, unless it belongs to the relay `own`. Returns whether `record` is a valid record.
    pub fn add(&mut self, own: &str, field: &[u8], record: &[u8], now: Now) -> bool {
        let text = core::str::from_utf8(record).ok().filter(|text| text.len() <= LONGEST_RECORD);
        let parsed = text.and_then(|text| Some((text, serde_json::from_str::<Object<'_>>(text).ok()?)));
        let Some((text, fields)) = parsed else { return false };
        let get = |name: &str| fields.get(name).map_or("".into(), |raw| scalar(raw));
        if get("node") == own {
            return true;
        }
        if self.seen.len() >= MOST_RECORDS {
            self.partial = true;
            return true;
        }
        if !self.seen.insert(field.into()) {
            return true;
        }
        self.sessions += 1;
        *self.names.entry(truncate(&get("username"), LONGEST_NAME).into()).or_default() += 1;
        let userid: Box<str> = truncate(&get("userid"), LONGEST_NAME).into();
        if !userid.is_empty() {
            let namespace = match get("nsp") {
                name if name.is_empty() => "/".into(),
                name => name,
            };
            *self.users.entry(userid.clone()).or_default().entry((*namespace).into()).or_default() += 1;
        }
        if self.bytes + text.len() <= MOST_BYTES {
            let shown = shown(&fields, now);
            self.bytes += shown.len();
            self.list.push((userid, shown.into()));
        }
        true
    }

    /// Ends the scan, and frees the memory of `seen`.
    pub fn finish(&mut self) {
        self.seen = HashSet::new();
    }
}

/// A session in the form of this relay's own (docs/protocol.md, Lists). Records of old servers have fewer fields: their
/// clients are in `/` and speak Engine.IO 3, and their times are taken as local times of this machine.
fn shown(fields: &Object<'_>, now: Now) -> String {
    let get = |name: &str| fields.get(name).map_or("".into(), |raw| scalar(raw));
    let or =
        |name: &str, default: &'static str| Some(get(name)).filter(|text| !text.is_empty()).unwrap_or(default.into());
    let mut out = vec![b'{'];
    let mut line = ObjectWriter::within(&mut out);
    line.text("source", &get("source"));
    line.text("socket_id", &get("socket_id"));
    line.text("userid", &get("userid"));
    line.text("username", &get("username"));
    line.text("room_ids", &fields.get("room_ids").map_or(String::new(), |raw| nested_room_list(raw)));
    line.text("nsp", &or("nsp", "/"));
    line.text("protocol", &or("protocol", "engine.io 3"));
    for name in ["ip", "referer", "user_agent", "ext_info"] {
        line.nonempty(name, &get(name));
    }
    if get("watch_quit") == "1" {
        line.display("watch_quit", 1);
    }
    line.text("server_ip", &get("server_ip"));
    let time = match get("since").parse() {
        Ok(since) => Some(now.local_at(since)),
        Err(_) => Local::parse_unpadded(&get("time"), now.utc_offset),
    };
    line.text("time", &time.map_or_else(|| get("time").into_owned(), |time| time.to_string()));
    line.nonempty("node", &get("node"));
    out.push(b'}');
    String::from_utf8(out).expect("made of text")
}

/// Sessions of a source that are read.
const MOST_RECORDS: usize = 1_000_000;
/// Bytes of the longest record.
const LONGEST_RECORD: usize = 256 * 1024;
/// Bytes of records that are kept: as much as a page shows.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of a userid or a username that are kept: no login has longer ones.
const LONGEST_NAME: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let mut found = RemoteSessions::default();
        let now = Now { utc_offset: 3600, ..Now::default() };
        // As node-socket-im wrote it: no node, no namespace.
        let old = br#"{"socket_id":"a","source":"demo","userid":"7","username":"li","room_ids":"r","ext_info":"","watch_quit":"","server_ip":"10.0.0.2","time":"2026-11-20 20:52:3"}"#;
        assert!(found.add("own", b"a", old, now));
        assert!(found.add("own", b"a", old, now), "a scan may return one twice");
        assert!(found.add("own", b"b", br#"{"username":"li","userid":7,"nsp":"/x","node":"other"}"#, now));
        assert!(found.add("own", b"c", br#"{"username":"wang","node":"own"}"#, now));
        assert!(found.add("own", b"d", br#"{}"#, now));
        for corrupt in [&b"{"[..], b"\xff", b"7", b"[]", b"", &[b' '; LONGEST_RECORD + 1]] {
            assert!(!found.add("own", b"e", corrupt, now));
        }
        let shown = r#"{"source":"demo","socket_id":"a","userid":"7","username":"li","room_ids":"r","nsp":"/","protocol":"engine.io 3","server_ip":"10.0.0.2","time":"2026-11-20T20:52:03+01:00"}"#;
        assert_eq!(&*found.list[0].1, shown);
        assert_eq!(found.sessions, 3);
        assert_eq!(found.names.into_iter().collect::<Vec<_>>(), [("".into(), 1), ("li".into(), 2)]);
        let namespaces: Vec<_> = found.users["7"].iter().map(|(namespace, count)| (&**namespace, *count)).collect();
        assert_eq!((namespaces, found.list.len()), (vec![("/", 1), ("/x", 1)], 3));
    }
}
