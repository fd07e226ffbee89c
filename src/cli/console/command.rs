//! What help, man page and parser know about `relay console`.

use super::record::Level;
use crate::{
    cli::commands::{BAD_COMMAND_LINE, BAD_CONFIGURATION, ENDPOINT, SOURCE},
    manual::{Command, ExitCode, Group, Opt},
};

/// `relay console`.
pub static CONSOLE: Command = Command {
    name: "console",
    row: "console",
    summary: "follow what pages log",
    usage: &["console [--user USER] [--session SESSION] [--level LEVEL] [OPTION]…"],
    text: &[
        "Prints what pages log that have the script /js/node_im_remote_debug.js: a line for each, with the time of the page's \
         clock, the level, the user and the path of the page; errors with their stacks. Reconnects when the connection is lost, \
         and goes on where it was if relay keeps messages of the room. If nothing arrives, it says what the page needs.",
        "The user is the value of data-user of the page's script element, or else a made-up name. Without --user it follows all \
         pages.",
    ],
    groups: &[
        &Group {
            heading: "Lines and output",
            options: &[
                Opt { aliases: &["userid"], ..Opt::value("user", "USER", "only lines of this user") },
                Opt::value("session", "SESSION", "only lines of this visit of a page; its first line says the name"),
                Opt::one_of(
                    "level",
                    "LEVEL",
                    &Level::NAMES,
                    "only lines of this level, and of the more important ones",
                ),
                Opt {
                    aliases: &["room-id"],
                    ..Opt::value("room", "ROOM", "the room to which the pages send (default: console-log)")
                },
                Opt::value(
                    "since",
                    "ID|30s|all",
                    "begin with lines that relay has kept: those after the message with this id, those of the last 30s, 10m or \
                     2h, or all",
                ),
                Opt::flag("json", "print each line as the page has sent it"),
                Opt::flag("once", "exit after the first line"),
            ],
        },
        &ENDPOINT,
        &SOURCE,
    ],
    words: &[],
    codes: &[
        ExitCode(0, "after --once, or if standard output was closed"),
        ExitCode(1, "the login was refused"),
        BAD_COMMAND_LINE,
        BAD_CONFIGURATION,
    ],
};
