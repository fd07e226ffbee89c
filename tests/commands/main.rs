//! The commands of relay, as processes: options, exit codes, what they print.
#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod cert;
mod check;
mod cli;
mod client;
mod console;
#[cfg(feature = "tls")]
mod doctor;
mod listen;
mod manual;
mod reload;
mod top;
