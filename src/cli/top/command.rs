//! What help, man page and parser know about `relay top`.

use crate::{
    cli::commands::{ADMIN_TOKEN, BAD_COMMAND_LINE, BAD_CONFIGURATION, DONE, ENDPOINT},
    manual::{Command, ExitCode, Group, Opt},
};

/// `relay top`.
pub static TOP: Command = Command {
    name: "top",
    row: "top",
    summary: "show a relay's clients, rates, times and memory, again and again",
    usage: &["top [OPTION]…"],
    text: &[
        "Shows what /metrics says: clients and rooms, messages and deliveries a second, how long turns of the event loop and \
         deliveries take, memory, and which parts fail. Rates are those since the last picture. It fits the terminal, also after \
         its size has changed, and goes on when relay was restarted. Ctrl-C ends it.",
    ],
    groups: &[
        &Group {
            heading: "Picture",
            options: &[
                Opt::value("interval", "SECONDS", "between two pictures (default: 2)"),
                Opt::flag("once", "print one picture, with the rates of the next SECONDS, and exit"),
            ],
        },
        &ENDPOINT,
        &ADMIN_TOKEN,
    ],
    words: &[],
    codes: &[
        DONE,
        ExitCode(1, "not reached, or refused: at the beginning, or with --once"),
        BAD_COMMAND_LINE,
        BAD_CONFIGURATION,
    ],
};
