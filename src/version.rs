//! The version of the program, with the commit and the target that it was built from and for.

use core::fmt;
use std::env::consts::{ARCH, OS};

/// What `--version` prints: `relay 0.1.0 (fc17048, x86_64-linux-musl)`.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    /// The name of the program.
    pub program: &'static str,
}

/// The commit; `None` unless the environment of the compiler had it in `RELAY_COMMIT`, as `packaging/compile` does.
const COMMIT: Option<&str> = option_env!("RELAY_COMMIT");

/// The C library and the variant of the binary interface: `gnu`, `musl`, `musleabihf`.
const ABI: &str = match (cfg!(target_env = "musl"), cfg!(target_abi = "eabihf")) {
    (true, true) => "musleabihf",
    (true, false) => "musl",
    (false, true) => "gnueabihf",
    (false, false) => "gnu",
};

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} (", self.program, env!("CARGO_PKG_VERSION"))?;
        if let Some(commit) = COMMIT {
            write!(f, "{commit}, ")?;
        }
        write!(f, "{ARCH}-{OS}-{ABI})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_build() {
        let text = Version { program: "relay" }.to_string();
        let build = text.strip_prefix(concat!("relay ", env!("CARGO_PKG_VERSION"), " (")).unwrap();
        let target = build.strip_suffix(')').unwrap();
        let target = match COMMIT {
            Some(commit) => target.strip_prefix(commit).unwrap().strip_prefix(", ").unwrap(),
            None => target,
        };
        assert!(target.starts_with(ARCH) && target.split('-').count() == 3, "{text}");
    }
}
