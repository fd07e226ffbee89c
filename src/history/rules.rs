//! The rules of `[history]`: what a room keeps.

use super::bounds::Bounds;
use crate::config::{self, HistoryRule};

/// The settings of `[history]` that say what rooms keep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// The rules with their bounds, in the order of the file. `None`: the rooms keep nothing.
    rules: Vec<(HistoryRule, Option<Bounds>)>,
    /// The bounds of rooms that no rule matches.
    usual: Option<Bounds>,
}

impl Rules {
    /// The rules of a configuration.
    pub fn new(settings: &config::History) -> Rules {
        let rules = settings.rooms.iter().map(|rule| (rule.clone(), Bounds::new(&rule.bounds)));
        Rules { rules: rules.collect(), usual: Bounds::new(&settings.bounds) }
    }

    /// Whether any room keeps messages.
    pub fn is_on(&self) -> bool {
        self.usual.is_some() || self.rules.iter().any(|(_, bounds)| bounds.is_some())
    }

    /// The bounds of a room of a source; `None` if it keeps nothing. The first rule that matches applies.
    pub fn find(&self, source: &str, room: &str) -> Option<Bounds> {
        match self.rules.iter().find(|(rule, _)| rule.matches(source, room)) {
            Some((_, bounds)) => *bounds,
            None => self.usual,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::config;

    fn rules(text: &str) -> Rules {
        Rules::new(&config(&format!("[history]\n{text}\n")).history)
    }

    #[test]
    fn the_first_rule_that_matches_applies() {
        let rules = rules(
            "count = 5\nage = 1.5\nrooms = [{ source = \"a\", room = \"x*\", count = 0 }, { room = \"x1\", count = 7, bytes = 2000 },\n\
             { room = \"v-*\", count = 0, last = true }]",
        );
        assert!(rules.is_on());
        let usual = Bounds { count: 5, seconds: 2, bytes: 262_144, last: false };
        assert_eq!(rules.find("a", "y"), Some(usual));
        assert_eq!(rules.find("a", "x1"), None);
        assert_eq!(rules.find("b", "x1"), Some(Bounds { count: 7, bytes: 2000, ..usual }));
        assert_eq!(rules.find("b", "v-1"), Some(Bounds { count: 1, last: true, ..usual }));
    }

    #[test]
    fn without_count_and_last_nothing_is_kept() {
        assert!(!rules("").is_on() && rules("").find("a", "x").is_none());
        assert!(!rules("age = 5\nrooms = [{ room = \"x\", bytes = 2000 }]").is_on());
        let one = rules("rooms = [{ room = \"x\", count = 1 }]");
        assert!(one.is_on() && one.find("a", "y").is_none() && one.find("a", "x").is_some());
    }
}
