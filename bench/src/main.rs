//! The `relay-bench` program. `relay-bench --help` lists the options; the library holds the code.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    relay_bench::run(env::args_os().skip(1))
}
