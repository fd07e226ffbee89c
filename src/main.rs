//! relay: see the library's documentation, or `relay --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    relay::cli::run(std::env::args_os().skip(1))
}
