//! What `relay doctor` finds, and how it is printed.

use super::advice::Advice;
use crate::{
    cli::terminal::{say, visible},
    json::quote,
    text::Count,
};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nothing is wrong.
    Ok,
    /// Something works, but not for everybody or not for long.
    Warning,
    /// Something does not work.
    Failure,
    /// It could not be checked.
    Skipped,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Failure => "failure",
            Level::Skipped => "skipped",
        }
    }
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// The name of the check.
    pub check: &'static str,
    /// The finding as a sentence. It may quote text that others have sent.
    pub text: String,
    /// What to change.
    pub advice: Option<Advice>,
}

impl Finding {
    /// Nothing is wrong.
    pub fn ok(check: &'static str, text: impl Into<String>) -> Finding {
        Finding { level: Level::Ok, check, text: text.into(), advice: None }
    }

    /// Something works, but not for everybody or not for long.
    pub fn warning(check: &'static str, text: impl Into<String>) -> Finding {
        Finding { level: Level::Warning, ..Finding::ok(check, text) }
    }

    /// Something does not work.
    pub fn failure(check: &'static str, text: impl Into<String>) -> Finding {
        Finding { level: Level::Failure, ..Finding::ok(check, text) }
    }

    /// It could not be checked.
    pub fn skipped(check: &'static str, text: impl Into<String>) -> Finding {
        Finding { level: Level::Skipped, ..Finding::ok(check, text) }
    }

    /// Adds what to change.
    pub fn advise(self, advice: Advice) -> Finding {
        Finding { advice: Some(advice), ..self }
    }

    /// Lines for a person: the finding, and below it what to add to each program's configuration, unless that was said.
    fn lines(&self, is_said: bool) -> String {
        let mut out = format!("{:<9}{:<14}{}\n", self.level.name(), self.check, visible(&self.text));
        if is_said {
            return out + &format!("{:>9}the same lines as above\n", "");
        }
        let advice = self.advice.as_ref().map(Advice::lines).unwrap_or_default();
        for (program, lines) in &advice {
            for (index, line) in lines.iter().enumerate() {
                let name = if index == 0 { program } else { "" };
                out += &format!("{:>9}{name:<12}{}\n", "", visible(line));
            }
        }
        out
    }

    /// A JSON object.
    fn json(&self) -> String {
        let object = |(program, lines): &(&str, Vec<String>)| {
            let lines: Vec<String> = lines.iter().map(|line| quote(line)).collect();
            format!("{}:[{}]", quote(program), lines.join(","))
        };
        let advice = self.advice.as_ref().map(Advice::lines).unwrap_or_default();
        let advice: Vec<String> = advice.iter().map(object).collect();
        let (level, check, text) = (quote(self.level.name()), quote(self.check), quote(&self.text));
        format!("{{\"level\":{level},\"check\":{check},\"text\":{text},\"advice\":{{{}}}}}", advice.join(","))
    }
}

/// All findings. They are printed as they come, or as one JSON list at the end.
#[derive(Debug)]
pub struct Report {
    is_json: bool,
    findings: Vec<Finding>,
}

impl Report {
    /// An empty report, to be printed as JSON or not.
    pub fn new(is_json: bool) -> Report {
        Report { is_json, findings: Vec::new() }
    }

    /// Adds a finding.
    pub fn add(&mut self, finding: Finding) {
        if !self.is_json {
            let is_said = finding.advice.is_some() && self.findings.iter().any(|other| other.advice == finding.advice);
            say(&finding.lines(is_said));
        }
        self.findings.push(finding);
    }

    /// Adds findings.
    pub fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        findings.into_iter().for_each(|finding| self.add(finding));
    }

    /// Prints what is left to print. Returns the number of failures.
    pub fn end(self) -> usize {
        let count = |level: Level| self.findings.iter().filter(|finding| finding.level == level).count();
        let failures = count(Level::Failure);
        if self.is_json {
            let all: Vec<String> = self.findings.iter().map(Finding::json).collect();
            say(&format!("[{}]\n", all.join(",\n")));
        } else {
            let (ok, warnings, skipped) = (count(Level::Ok), count(Level::Warning), count(Level::Skipped));
            let (bad, warnings) = (Count(failures as u64, "failure"), Count(warnings as u64, "warning"));
            say(&format!("{bad}, {warnings}, {ok} ok, {skipped} not checked\n"));
        }
        failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_control_the_terminal() {
        let finding = Finding::failure("upgrade", "it says \"a\u{1b}[2Jb\nc\"").advise(Advice::Trust);
        assert!(finding.lines(true).ends_with("\n         the same lines as above\n"));
        let lines = finding.lines(false);
        assert!(lines.starts_with("failure  upgrade       it says \"a\\u{1b}[2Jb\\nc\"\n"), "{lines}");
        assert!(lines.lines().skip(1).any(|line| line.contains("relay.toml  trusted_proxies = ")), "{lines}");
        let json: serde_json::Value = serde_json::from_str(&finding.json()).unwrap();
        assert_eq!(json["text"], "it says \"a\u{1b}[2Jb\nc\"");
        assert!(json["advice"]["relay.toml"].is_array());
    }
}
