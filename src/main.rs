//! relay: see the library's documentation, or `relay --help`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: relay::memory::Counting = relay::memory::Counting;

fn main() -> ExitCode {
    relay::cli::run(std::env::args_os().skip(1))
}
