//! relay: see the library's documentation, or `relay --help`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: relay::server::allocator::Counting = relay::server::allocator::Counting;

fn main() -> ExitCode {
    relay::cli::run(std::env::args_os().skip(1))
}
