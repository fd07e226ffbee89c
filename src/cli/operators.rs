//! The commands for operators, as those in `commands.rs`.

use super::commands::{ADMIN_TOKEN, BAD_COMMAND_LINE, ENDPOINT};
use crate::manual::{Command, ExitCode};

/// `relay reload`.
pub static RELOAD: Command = Command {
    name: "reload",
    row: "reload",
    summary: "read the configuration again, print what has changed",
    usage: &["reload [OPTION]…"],
    text: &[
        "Has a relay read its configuration again, as with SIGHUP, and prints each key that has changed with its old and new \
         value, and which of them take effect after a restart. Secrets are not shown. If the new configuration is bad, it \
         prints every problem, and the old one stays in force.",
        "It finds the address and the admin token in the file, whose changes may not be in force yet. If one of them has \
         changed, give the old ones with --url and --token, or use SIGHUP.",
    ],
    groups: &[&ENDPOINT, &ADMIN_TOKEN],
    words: &[],
    codes: &[
        ExitCode(0, "re-read, even if nothing has changed"),
        ExitCode(1, "refused: the old configuration stays in force; or not reached"),
        BAD_COMMAND_LINE,
        ExitCode(78, "the configuration is bad, so that the address is not known"),
    ],
};
