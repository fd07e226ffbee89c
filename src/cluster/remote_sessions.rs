//! The sessions of a source at other relays and old servers, from their records in Redis.

use std::collections::{BTreeMap, HashSet};

use crate::{
    json::{Object, scalar},
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
    /// The first records, as JSON objects, each after its userid.
    pub list: Vec<(Box<str>, Box<str>)>,
    /// Whether some records were not read.
    pub partial: bool,
    bytes: usize,
    /// The fields that were read: a scan may return one twice.
    seen: HashSet<Box<[u8]>>,
}

impl RemoteSessions {
    /// Adds a record, unless it belongs to the relay `own`. Returns whether `record` is a valid record.
    pub fn add(&mut self, own: &str, field: &[u8], record: &[u8]) -> bool {
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
            self.bytes += text.len();
            self.list.push((userid, text.into()));
        }
        true
    }

    /// Ends the scan, and frees the memory of `seen`.
    pub fn finish(&mut self) {
        self.seen = HashSet::new();
    }
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
        // As node-socket-im wrote it: no node, no namespace.
        let old = br#"{"socket_id":"a","source":"demo","userid":"7","username":"li","room_ids":"r","ext_info":"","watch_quit":"","server_ip":"10.0.0.2","time":"2026-11-20 20:52:3"}"#;
        assert!(found.add("own", b"a", old));
        assert!(found.add("own", b"a", old), "a scan may return one twice");
        assert!(found.add("own", b"b", br#"{"username":"li","userid":7,"nsp":"/x","node":"other"}"#));
        assert!(found.add("own", b"c", br#"{"username":"wang","node":"own"}"#));
        assert!(found.add("own", b"d", br#"{}"#));
        for corrupt in [&b"{"[..], b"\xff", b"7", b"[]", b"", &[b' '; LONGEST_RECORD + 1]] {
            assert!(!found.add("own", b"e", corrupt));
        }
        assert_eq!(found.sessions, 3);
        assert_eq!(found.names.into_iter().collect::<Vec<_>>(), [("".into(), 1), ("li".into(), 2)]);
        let namespaces: Vec<_> = found.users["7"].iter().map(|(namespace, count)| (&**namespace, *count)).collect();
        assert_eq!((namespaces, found.list.len()), (vec![("/", 1), ("/x", 1)], 3));
    }
}
