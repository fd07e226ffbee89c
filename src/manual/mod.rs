//! One table for each program: its commands, options, arguments, exit codes, environment and files ([`table`]). The parser of
//! the command line takes the names of options from it, and help ([`help`]), man pages ([`page`]) and completions
//! ([`completions`]) are rendered from it, so that none of them can lack what another one has.
//!
//! `relay` has its table in `src/cli/commands.rs`, `relay-bench` in `bench/src/commands.rs`.

pub mod completions;
pub mod configuration;
pub mod help;
mod markdown;
pub mod page;
pub mod roff;
pub mod table;

pub use self::{
    completions::Shell,
    table::{Command, Example, ExitCode, Group, Item, Kind, Opt, Program, Takes},
};
