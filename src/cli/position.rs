//! Where a listener stands in the messages of its rooms, so that it misses none while it reconnects.

use std::collections::VecDeque;

use crate::message::MessageId;

/// Where a listener stands.
#[derive(Debug)]
pub struct Position {
    /// What the next login asks for with `since`.
    since: String,
    /// The stamp at which the connection began. Older messages are the last values of rooms: they do not move the position.
    began: u64,
    /// The last messages that came, the newest at the end. One can come again from another relay.
    had: VecDeque<MessageId>,
}

impl Position {
    /// A listener that asks for `since` at first.
    pub fn new(since: String) -> Position {
        Position { since, began: 0, had: VecDeque::new() }
    }

    /// What a login asks for. From now on, messages are those of a new connection.
    pub fn begin(&mut self) -> String {
        self.began = 0;
        self.since.clone()
    }

    /// Notes what the event `recovery` says.
    pub fn note_recovery(&mut self, id: &str) {
        if let Some(parsed) = MessageId::parse(id) {
            self.began = parsed.stamp();
            self.since = id.to_owned();
        }
    }

    /// Notes a message. Returns whether it is new. Without an id of relay's it always is.
    pub fn note_message(&mut self, id: &str) -> bool {
        let Some(parsed) = MessageId::parse(id) else { return true };
        if parsed.stamp() > self.began {
            self.since = id.to_owned();
        }
        if self.had.contains(&parsed) {
            return false;
        }
        if self.had.len() == HAD_MOST {
            self.had.pop_front();
        }
        self.had.push_back(parsed);
        true
    }
}

/// How many messages are remembered.
const HAD_MOST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64, node: u32) -> String {
        MessageId::first(number, node).to_string()
    }

    #[test]
    fn moves_with_what_comes() {
        let mut position = Position::new("30s".into());
        assert_eq!(position.begin(), "30s");
        // A relay that knows no positions.
        assert!(position.note_message("7") && position.note_message(""));
        assert_eq!(position.begin(), "30s");
        position.note_recovery("nonsense");
        assert_eq!(position.begin(), "30s");
        position.note_recovery(&id(1000, 7));
        assert_eq!(position.begin(), id(1000, 7));
        position.note_recovery(&id(2000, 7));
        // A last value is older than the position.
        assert!(position.note_message(&id(1999, 7)));
        assert_eq!(position.begin(), id(2000, 7));
        position.note_recovery(&id(2000, 7));
        assert!(position.note_message(&id(2001, 7)));
        // The clock of another relay may be behind, but its message is the newest of all.
        assert!(position.note_message(&id(2001, 8)));
        assert_eq!(position.begin(), id(2001, 8));
        // A relay that was started anew with a clock that was set back says nothing about positions, or where it is.
        assert!(position.note_message(&id(5, 9)));
        assert_eq!(position.begin(), id(5, 9));
        position.note_recovery(&id(3, 9));
        assert_eq!(position.begin(), id(3, 9));
    }

    #[test]
    fn drops_what_came_before() {
        let mut position = Position::new(String::new());
        for number in 0..300 {
            assert!(position.note_message(&id(number, 7)));
        }
        assert!(!position.note_message(&id(299, 7)) && !position.note_message(&id(44, 7)));
        assert!(position.note_message(&id(299, 8)) && position.note_message(&(id(299, 7) + ".1")));
        assert!(position.note_message(&id(44, 7)), "that is too long ago");
    }
}
