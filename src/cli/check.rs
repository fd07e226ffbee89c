//! `relay check`: checks a configuration, and predicts what relay would do with it on this machine.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use super::{error, terminal::say};
use crate::{
    server::{
        Options,
        config_file::{Loaded, Origin},
        outlook::Outlook,
    },
    text::Count,
};

/// Prints problems and warnings. The exit code is that with which relay would end at start, or 0.
pub fn run(options: &Options) -> ExitCode {
    let Loaded { config, warnings, .. } = match options.origin.load() {
        Ok(loaded) => loaded,
        Err(problems) => {
            // Without the name of the program, so that each line begins with FILE:LINE:COLUMN.
            let _ = io::stderr().write_all(format!("{problems}\n").as_bytes());
            return ExitCode::from(error::BAD_CONFIGURATION);
        }
    };
    let outlook = Outlook::new(&config, options);
    let name = &options.origin;
    let problems = outlook.refused.iter().chain(&outlook.failing).map(|problem| format!("{name}: {problem}\n"));
    let warnings = warnings.iter().chain(&outlook.warnings).map(|warning| format!("{name}: warning: {warning}\n"));
    let _ = io::stderr().write_all(problems.chain(warnings).collect::<String>().as_bytes());
    if !outlook.refused.is_empty() {
        return ExitCode::from(error::BAD_CONFIGURATION);
    }
    if !outlook.failing.is_empty() {
        return ExitCode::from(error::FAILED);
    }
    match &options.origin {
        Origin::File(_) | Origin::Variable(_) => {
            let sources = match config.sources.len() {
                0 => "no sources".to_owned(),
                count => Count(count as u64, "source").to_string(),
            };
            say(&format!("{name}: valid, {sources}\n"));
        }
        Origin::Demo => say("no configuration file: relay would use the built-in demo setting\n"),
    }
    ExitCode::SUCCESS
}
