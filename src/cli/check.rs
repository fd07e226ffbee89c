//! `relay check`: checks a configuration, and predicts what relay would do with it on this machine.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use super::{error, terminal::say};
use crate::server::{
    Options,
    config_file::{Loaded, Origin},
};

/// Prints problems and warnings. The exit code is that with which relay would end at start, or 0.
pub fn run(options: &Options) -> ExitCode {
    let Loaded { config, warnings } = match options.origin.load() {
        Ok(loaded) => loaded,
        Err(problems) => {
            // Without the name of the program, so that each line begins with FILE:LINE:COLUMN.
            let _ = io::stderr().write_all(format!("{problems}\n").as_bytes());
            return ExitCode::from(error::BAD_CONFIGURATION);
        }
    };
    let name = match &options.origin {
        Origin::File(path) => path.display().to_string(),
        Origin::Demo => "the demo setting".into(),
    };
    let warnings: String = warnings.iter().map(|warning| format!("{name}: warning: {warning}\n")).collect();
    let _ = io::stderr().write_all(warnings.as_bytes());
    match &options.origin {
        Origin::File(path) => say(&format!("{}: valid, {} sources\n", path.display(), config.sources.len())),
        Origin::Demo => say("no configuration file: relay would use the built-in demo setting\n"),
    }
    ExitCode::SUCCESS
}
