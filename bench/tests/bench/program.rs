//! Finds the relay to test or to measure, and refuses one that is older than its sources.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The relay beside relay-bench in the target directory. `cargo test` and `cargo bench` at the root build it, but with
/// `--package relay-bench` or `--bench fanout` Cargo does not, and a stale program would give wrong results without a warning.
///
/// # Panics
///
/// If the program is missing or older than one of its sources.
pub fn relay() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_relay-bench")).with_file_name("relay");
    let profile = if cfg!(debug_assertions) { "" } else { " --release" };
    let cure = format!("run `cargo build{profile} --package relay` first");
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let built = modified(&program).unwrap_or_else(|error| panic!("{}: {error}: {cure}", program.display()));
    // Cargo lists the sources of a program in a file beside it, as `PROGRAM: SOURCE SOURCE …`.
    let list = fs::read_to_string(program.with_extension("d")).unwrap_or_default();
    let sources = list.split_once(": ").map_or("", |(_, sources)| sources).split_whitespace();
    for source in sources.map(Path::new) {
        let is_newer = modified(source).is_ok_and(|modified| modified > built);
        assert!(!is_newer, "{} is older than {}: {cure}", program.display(), source.display());
    }
    program
}
