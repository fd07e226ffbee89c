//! Which other relays are alive: each renews a heartbeat key that expires. A relay counts as dead if two checks in a
//! row find no key.

use std::{collections::BTreeSet, mem};

use super::{
    context::Context,
    keys::Keys,
    nodes::{LONGEST_NAME, NodeInfo},
    tag::Tag,
};
use crate::{
    clock::Time,
    json::Object,
    redis::{Link, Reply},
};

/// Looks for the heartbeat keys of the relays that are listed in Redis.
#[derive(Default)]
pub struct Liveness {
    keys: Keys,
    /// This relay's name.
    own: Box<str>,
    /// The relays whose keys are checked; below, those whose key was found.
    listed: Vec<NodeInfo>,
    alive: BTreeSet<Box<str>>,
    /// How many replies are missing.
    awaited: usize,
    /// The relays that had no key at the last check.
    silent: BTreeSet<Box<str>>,
}

impl Liveness {
    /// Applies a new configuration. `node` is this relay's name.
    pub fn configure(&mut self, keys: &Keys, node: &str) {
        self.keys = keys.clone();
        self.own = node.into();
    }

    /// Handles the loss of the connection: no reply will arrive.
    pub fn handle_end(&mut self) {
        self.awaited = 0;
    }

    /// Starts a check: reads the list of relays, unless the last check is still in progress.
    pub fn look(&mut self, link: &mut Link<Tag>, now: Time) {
        if self.awaited == 0 {
            link.command(&[b"HGETALL", self.keys.nodes().as_bytes()], Tag::Nodes, now);
        }
    }

    /// Handles the list of relays.
    pub fn handle_nodes(&mut self, reply: Reply, link: &mut Link<Tag>, cx: &mut Context<'_>) {
        let now = cx.state.now.time;
        // After an error the last list is kept; the next heartbeat reads it again.
        let Some(pairs) = reply.array() else { return };
        self.listed.clear();
        self.alive.clear();
        cx.shared.nodes.greeted.clear();
        for pair in pairs.chunks_exact(2).take(MOST_NODES) {
            let (Some(node), Some(info)) = (pair[0].text(), pair[1].text()) else { continue };
            if *node == *self.own || node.len() > LONGEST_NAME || info.len() > LONGEST_INFO {
                continue;
            }
            self.listed.push(NodeInfo { node: node.into(), info: info.into() });
            let alive = self.keys.alive(node);
            link.command(&[b"EXISTS", alive.as_bytes()], Tag::NodeKey(node.into()), now);
            self.awaited += 1;
        }
        if self.awaited == 0 {
            self.finish(link, cx);
        }
    }

    /// Handles the reply that says whether a relay's key exists.
    pub fn handle_key(&mut self, node: Box<str>, reply: &Reply, link: &mut Link<Tag>, cx: &mut Context<'_>) {
        // An error does not mean that the key is missing.
        if *reply != Reply::Integer(0) {
            self.alive.insert(node);
        }
        self.awaited = self.awaited.saturating_sub(1);
        if self.awaited == 0 {
            self.finish(link, cx);
        }
    }

    /// Handles the end of a check: updates the lists, and asks for the lock to clean up after dead relays.
    fn finish(&mut self, link: &mut Link<Tag>, cx: &mut Context<'_>) {
        let is_alive = |relay: &&NodeInfo| self.alive.contains(&relay.node);
        let nodes = &mut cx.shared.nodes;
        nodes.listed = self.listed.iter().filter(is_alive).cloned().collect();
        nodes.alive = self.alive.clone();
        // A relay that sent `hello` after the list was read may not be in the list.
        nodes.alive.extend(nodes.greeted.iter().cloned());
        nodes.checks += 1;
        let silent = self.listed.iter().filter(|relay| !is_alive(relay)).map(|relay| relay.node.clone()).collect();
        let before = mem::replace(&mut self.silent, silent);
        for node in self.silent.intersection(&before) {
            let lock = self.keys.cleanup(node);
            let parts: [&[u8]; 6] = [b"SET", lock.as_bytes(), self.own.as_bytes(), b"PX", LOCKED, b"NX"];
            link.command(&parts, Tag::CleanupLock(node.clone()), cx.state.now.time);
        }
    }

    /// The sources in a listed relay's description; `None` if the relay is not listed.
    pub fn sources_of(&self, node: &str) -> Option<Vec<Box<str>>> {
        self.listed.iter().find(|relay| *relay.node == *node).map(|relay| sources(&relay.info))
    }
}

/// The sources that a relay's description names.
fn sources(info: &str) -> Vec<Box<str>> {
    let fields: Object<'_> = serde_json::from_str(info).unwrap_or_default();
    let sources = fields.get("sources").and_then(|raw| serde_json::from_str::<Object<'_>>(raw.get()).ok());
    sources.unwrap_or_default().keys().map(|name| (**name).into()).collect()
}

/// How many milliseconds the lock for cleaning up after a relay lasts.
const LOCKED: &[u8] = b"60000";
/// The most relays that are checked.
const MOST_NODES: usize = 1024;
/// The most bytes of a relay's description.
const LONGEST_INFO: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_in_a_description() {
        assert_eq!(sources(r#"{"server_ip":"x","sources":{"demo":3,"other":0}}"#), ["demo".into(), "other".into()]);
        for wrong in ["", "7", "{}", r#"{"sources":[]}"#] {
            assert!(sources(wrong).is_empty(), "{wrong}");
        }
    }
}
