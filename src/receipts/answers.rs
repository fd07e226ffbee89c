//! Answers to requests that have receipts: they are sent when the last of these is done.

use std::collections::BTreeMap;

use super::receipt::{MAX_ANSWER_NAMES, Receipt};
use crate::key::ConnKey;

/// An answer that is being written: texts and receipts in their order.
#[derive(Debug)]
pub struct Answer {
    /// Its number.
    pub number: u64,
    pieces: Vec<Vec<u8>>,
    /// The numbers of its receipts that are open, and the index of the piece that is kept for each.
    open: Vec<(u64, usize)>,
    /// How many of those are not done.
    left: usize,
    names_left: usize,
}

impl Answer {
    /// Appends JSON.
    pub fn push(&mut self, text: &str) {
        self.tail().extend_from_slice(text.as_bytes());
    }

    /// Appends a receipt that is done.
    pub fn push_receipt(&mut self, receipt: &Receipt) {
        let mut names_left = self.names_left;
        receipt.write(self.tail(), &mut names_left);
        self.names_left = names_left;
    }

    /// The place of the next receipt that is open among these.
    pub fn next_place(&self) -> usize {
        self.open.len()
    }

    /// Appends a receipt that is open.
    pub fn push_open(&mut self, number: u64) {
        self.open.push((number, self.pieces.len()));
        self.pieces.extend([Vec::new(), Vec::new()]);
        self.left += 1;
    }

    /// Puts JSON before everything else.
    pub fn push_front(&mut self, text: &str) {
        match self.pieces.first_mut().filter(|_| self.open.first().is_none_or(|(_, index)| *index > 0)) {
            Some(first) => drop(first.splice(..0, text.bytes())),
            None => self.push(text),
        }
    }

    /// Whether it has a receipt that is open.
    pub fn is_open(&self) -> bool {
        self.left > 0
    }

    /// All pieces.
    pub fn into_text(self) -> Vec<u8> {
        self.pieces.concat()
    }

    fn tail(&mut self) -> &mut Vec<u8> {
        if self.pieces.is_empty() {
            self.pieces.push(Vec::new());
        }
        self.pieces.last_mut().expect("a piece was pushed above")
    }
}

/// The answers that wait for receipts.
#[derive(Default)]
pub struct Answers {
    last: u64,
    waiting: BTreeMap<u64, (ConnKey, Answer)>,
}

impl Answers {
    /// Begins an answer.
    pub fn begin(&mut self) -> Answer {
        self.last += 1;
        Answer { number: self.last, pieces: Vec::new(), open: Vec::new(), left: 0, names_left: MAX_ANSWER_NAMES }
    }

    /// Keeps an answer with open receipts for a connection.
    pub fn wait(&mut self, conn: ConnKey, answer: Answer) {
        self.waiting.insert(answer.number, (conn, answer));
    }

    /// Puts a receipt that is done in its place. Returns the connection and the answer if that was the last one.
    pub fn fill(&mut self, number: u64, place: usize, receipt: &Receipt) -> Option<(ConnKey, Vec<u8>)> {
        let (_, answer) = self.waiting.get_mut(&number)?;
        let (_, index) = *answer.open.get(place)?;
        receipt.write(&mut answer.pieces[index], &mut answer.names_left);
        answer.left -= 1;
        if answer.left > 0 {
            return None;
        }
        let (conn, answer) = self.waiting.remove(&number)?;
        Some((conn, answer.into_text()))
    }

    /// Drops an answer, because its connection is gone. Returns the numbers of its receipts.
    pub fn cancel(&mut self, number: u64) -> Vec<u64> {
        let answer = self.waiting.remove(&number);
        answer.into_iter().flat_map(|(_, answer)| answer.open).map(|(number, _)| number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Handle, Key};

    fn receipt(id: &str) -> Receipt {
        Receipt { id: id.into(), complete: true, ..Receipt::default() }
    }

    #[test]
    fn receipts_are_put_into_their_places() {
        let conn = ConnKey::wrap(Key::from_bits(1 << 32).unwrap());
        let mut answers = Answers::default();
        let mut answer = answers.begin();
        let number = answer.number;
        answer.push("[");
        answer.push_receipt(&receipt("a"));
        answer.push(",");
        assert!(answer.next_place() == 0 && !answer.is_open());
        answer.push_open(7);
        answer.push(",");
        assert!(answer.next_place() == 1 && answer.is_open());
        answer.push_open(8);
        answer.push("]");
        answer.push_front("{\"data\":");
        answers.wait(conn, answer);
        assert_eq!(answers.fill(number, 1, &receipt("c")), None);
        let (found, text) = answers.fill(number, 0, &receipt("b")).unwrap();
        let one = |id: &str| format!("{{\"id\":\"{id}\",\"complete\":true,\"rooms\":[]}}");
        let expected = format!("{{\"data\":[{},{},{}]", one("a"), one("b"), one("c"));
        assert_eq!((found, String::from_utf8(text).unwrap()), (conn, expected));
        assert_eq!((answers.fill(number, 0, &receipt("b")), answers.cancel(number)), (None, vec![]));
        let mut answer = answers.begin();
        let number = answer.number;
        answer.push_open(9);
        answer.push_front("x");
        answers.wait(conn, answer);
        assert_eq!((answers.cancel(number), answers.fill(number, 0, &receipt("b"))), (vec![9], None));
    }
}
