//! The other relays of the cluster: which of them are alive, and the numbers of their publications.

use std::collections::{BTreeMap, BTreeSet};

/// The other relays.
#[derive(Default)]
pub struct Nodes {
    /// The names of those that are alive.
    pub alive: BTreeSet<Box<str>>,
    /// Those that sent `hello` since the list in Redis was last read, which may not include them.
    pub greeted: BTreeSet<Box<str>>,
    /// Those that are alive according to Redis, with their descriptions.
    pub listed: Vec<NodeInfo>,
    /// The number of the last publication of each.
    last_numbers: BTreeMap<Box<str>, u64>,
    /// How often it was found out which relays are alive.
    pub checks: u64,
}

/// Another relay, as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its name.
    pub node: Box<str>,
    /// Its description: a JSON object.
    pub info: Box<str>,
}

impl Nodes {
    /// Checks the number of a publication; 0 means that it has none. Returns how many publications are missing before
    /// it, or `None` if it was received before.
    pub fn receive(&mut self, node: &str, number: u64) -> Option<u64> {
        if number == 0 {
            return Some(0);
        }
        if let Some(last) = self.last_numbers.get_mut(node) {
            if number <= *last {
                return None;
            }
            let missed = number - *last - 1;
            *last = number;
            return Some(missed);
        }
        self.remember(node, number);
        Some(0)
    }

    /// Remembers the number of a relay that has none.
    fn remember(&mut self, node: &str, number: u64) {
        if self.last_numbers.len() >= MOST_NODES {
            let alive = &self.alive;
            self.last_numbers.retain(|node, _| alive.contains(node));
            if self.last_numbers.len() >= MOST_NODES {
                self.last_numbers.clear();
            }
        }
        self.last_numbers.insert(node.into(), number);
    }

    /// Handles the `hello` of a relay. `last` is the number of its last publication. Returns how many of its
    /// publications were missed.
    pub fn greet(&mut self, node: &str, last: u64) -> u64 {
        if self.greeted.len() >= MOST_NODES {
            return 0;
        }
        let mut missed = 0;
        match self.last_numbers.get_mut(node) {
            Some(number) if *number < last => {
                missed = last - *number;
                *number = last;
            }
            Some(_) => {}
            None => self.remember(node, last),
        }
        self.alive.insert(node.into());
        self.greeted.insert(node.into());
        missed
    }

    /// Handles the `bye` of a relay.
    pub fn remove(&mut self, node: &str) {
        self.alive.remove(node);
        self.greeted.remove(node);
        self.listed.retain(|known| *known.node != *node);
    }

    /// Handles the loss of the connection: no other relay counts as alive until there is a new one.
    pub fn disconnect(&mut self) {
        self.alive.clear();
        self.listed.clear();
    }
}

/// Whether `name` can be a relay's name.
pub fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
}

/// The most bytes of a relay's name.
pub const LONGEST_NAME: usize = 64;
/// The most relays whose numbers are remembered.
const MOST_NODES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_and_gaps() {
        let mut nodes = Nodes::default();
        assert_eq!(
            [5, 6, 6, 5, 9, 0].map(|number| nodes.receive("a", number)),
            [Some(0), Some(0), None, None, Some(2), Some(0)]
        );
        assert_eq!(nodes.receive("b", 1), Some(0), "each relay has numbers of its own");
        assert_eq!((nodes.greet("a", 12), nodes.greet("a", 12), nodes.greet("c", 4)), (3, 0, 0));
        assert_eq!((nodes.receive("a", 12), nodes.receive("a", 13), nodes.receive("c", 6)), (None, Some(0), Some(1)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut nodes = Nodes::default();
        nodes.greet("alive", 7);
        for number in 0..5000 {
            nodes.receive(&number.to_string(), 3);
        }
        assert!(nodes.last_numbers.len() <= MOST_NODES);
        assert_eq!(nodes.receive("alive", 7), None, "those that are alive are kept");
        for number in 0..5000 {
            nodes.greet(&number.to_string(), 3);
        }
        assert_eq!(nodes.greeted.len(), MOST_NODES);
        for round in 0..10 {
            nodes.greeted.clear();
            for number in 0..MOST_NODES {
                nodes.greet(&format!("{round}-{number}"), 3);
            }
        }
        assert!(nodes.last_numbers.len() <= MOST_NODES, "{}", nodes.last_numbers.len());
    }

    #[test]
    fn coming_and_going() {
        let mut nodes = Nodes::default();
        nodes.greet("a", 0);
        nodes.listed.push(NodeInfo { node: "a".into(), info: "{}".into() });
        nodes.remove("a");
        assert!(nodes.alive.is_empty() && nodes.greeted.is_empty() && nodes.listed.is_empty());
        nodes.greet("a", 0);
        nodes.disconnect();
        assert!(nodes.alive.is_empty() && !nodes.greeted.is_empty());
    }
}
