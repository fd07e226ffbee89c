//! The row of `relay doctor` in the table of commands.

use crate::{
    cli::commands::{BAD_COMMAND_LINE, CONFIG, SOURCE},
    manual::{Command, ExitCode, Group, Kind, Opt},
};

/// `relay doctor`.
pub static DOCTOR: Command = Command {
    name: "doctor",
    row: "doctor [URL]",
    summary: "find out what is wrong with this machine, or with the proxy in front of relay",
    usage: &["doctor [--config FILE] [--json]", "doctor [OPTION]… URL"],
    text: &[
        "Without URL, checks relay's machine: the configuration, file descriptors, the clock, the disk of the message log, memory, \
         certificates, Redis, the hooks backend, and whether relay answers at its addresses. Run it as root, so that it can \
         read everything.",
        "With the URL at which clients reach relay, such as https://relay.example.org or https://example.org/relay, checks the way \
         through the proxy: names, TLS, WebSockets, polling, streams, time-outs, bodies, origins, and the client's address. Run it \
         on another machine, or on relay's own. With the key of a source it logs in as the user relay-doctor; without one it checks \
         what needs no login.",
        "Prints a line for each check: ok, warning, failure, or skipped, and what to add to nginx, Apache, Caddy, HAProxy or relay.toml.",
    ],
    groups: &[
        &Group {
            heading: "Checks",
            options: &[
                Opt::value(
                    "idle",
                    "SECONDS",
                    "with URL: how long to watch whether a silent connection is closed, at most 3600; 0 does not (default: 70, \
                     because many proxies close after 60)",
                ),
                Opt::value("origin", "ORIGIN", "with URL: the origin of your pages (default: that of URL)"),
                Opt::value(
                    "connect",
                    "IP",
                    "with URL: an address to connect to in place of those of its name, such as that of a new proxy",
                ),
                Opt::flag("json", "print a JSON list of findings in place of lines"),
                CONFIG,
                Opt::file(
                    "ca-file",
                    "with URL: a PEM file with the authorities that may sign the certificate (default: those of the system)",
                ),
            ],
        },
        &SOURCE,
    ],
    words: &[Kind::Text],
    codes: &[ExitCode(0, "nothing failed"), ExitCode(1, "a check failed"), BAD_COMMAND_LINE],
};
