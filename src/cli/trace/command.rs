//! What help, man page and parser know about `relay trace`.

use crate::{
    cli::commands::{ADMIN_TOKEN, BAD_COMMAND_LINE, BAD_CONFIGURATION, ENDPOINT},
    manual::{Command, ExitCode, Group, Opt},
};

/// `relay trace`.
pub static TRACE: Command = Command {
    name: "trace",
    row: "trace",
    summary: "show in detail what one user, source or address does",
    usage: &[
        "trace [--source NAME] [--userid USER] [--address ADDRESS] [--for TIME] [--detach]",
        "trace --list",
        "trace --stop NUMBER|all",
    ],
    text: &[
        "Has a running relay log what a source, a user or the clients of an address do, and prints these lines: logins and why they \
         are refused, rooms, events, messages and their receivers, pings, calls to the backend, ends. If several are named, all of \
         them must fit. The log level stays as it is for all else. The lines are in relay's log too, marked with [trace NUMBER].",
        "It ends after the time, with Ctrl-C, and when relay is restarted. At most 8 traces can be on, each for at most an hour. \
         A trace has at most 80 lines a second; the others are counted. What messages contain is not shown.",
    ],
    groups: &[
        &Group {
            heading: "What to trace",
            options: &[
                Opt::value("source", "NAME", "a source"),
                Opt::value("userid", "USER", "a user"),
                Opt::value(
                    "address",
                    "ADDRESS",
                    "an IP address, or a network such as 192.0.2.0/24, of clients and backends",
                ),
                Opt::value("for", "TIME", "how long, such as 30s, 10m or 1h (default: 10m)"),
                Opt::flag("detach", "leave it on and exit; the lines are only in relay's log"),
            ],
        },
        &Group {
            heading: "Traces that are on",
            options: &[
                Opt::flag("list", "list the traces that are on"),
                Opt::value("stop", "NUMBER|all", "end a trace, or all"),
                Opt::flag("json", "print the answer as relay gives it (/api/trace)"),
            ],
        },
        &ENDPOINT,
        &ADMIN_TOKEN,
    ],
    words: &[],
    codes: &[
        ExitCode(0, "done: the trace has ended"),
        ExitCode(1, "relay refused it, was not reached, or was restarted"),
        BAD_COMMAND_LINE,
        BAD_CONFIGURATION,
    ],
};
