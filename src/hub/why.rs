//! Why somebody did not get a message (docs/protocol.md, Why): what the journal and the sessions say about it.

mod findings;
mod question;
#[cfg(test)]
mod tests;
mod verdicts;
mod words;

pub use self::question::{Advice, Explanation, Line, Question};
use self::{findings::Findings, verdicts::Judge, words::words};
use super::Hub;

impl Hub {
    /// Says what is known about a message, a user, a session or a room.
    pub fn explain(&self, question: &Question<'_>) -> Explanation {
        let found = Findings::collect(self, question);
        let journal = &self.state.journal;
        let lines = found.lines.iter().map(|record| Line { time: record.time, text: words(self, &found, record) });
        let mut answer = Explanation {
            since: journal.since(),
            refusals_since: journal.refusals_since(),
            lines: lines.collect(),
            ..Explanation::default()
        };
        Judge { hub: self, question, found: &found, answer: &mut answer }.judge();
        answer
    }
}
