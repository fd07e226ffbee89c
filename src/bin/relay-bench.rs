//! A realtime relay's load generator; `relay-bench --help` and README say how to use it.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    relay::bench::run(env::args_os().skip(1))
}
