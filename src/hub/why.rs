//! Why somebody did not get a message (docs/protocol.md, Why): what the journal and the sessions say about it.

mod away;
mod findings;
mod judge;
mod question;
#[cfg(test)]
mod tests;
mod verdicts;
mod words;

use self::{findings::Findings, judge::Judge, words::Words};
pub use self::{
    findings::sessions_of,
    question::{Advice, Explanation, Line, Question},
};
use super::Hub;
use crate::language::Language;

impl Hub {
    /// Says in a language what is known about a message, a user, a session or a room.
    pub fn explain(&self, question: &Question<'_>, language: Language) -> Explanation {
        let found = Findings::collect(self, question);
        let mut judge = Judge { hub: self, question, found: &found, verdicts: Vec::new(), advice: Vec::new() };
        judge.judge();
        let words = Words { hub: self, found: &found, language };
        Explanation {
            since: self.state.journal.since(),
            refusals_since: self.state.journal.refusals_since(),
            lines: found
                .lines
                .iter()
                .map(|(record, id)| Line { time: record.time, text: words.record(record), id: *id })
                .collect(),
            verdicts: judge.verdicts.iter().map(|verdict| words.verdict(verdict)).collect(),
            advice: judge.advice,
        }
    }
}
