//! The program relay, for its short help and its man page: the commands, and what they have in common. docs/protocol.md has
//! the same exit codes, variables and signals (tests/commands/manual.rs).

use super::{
    commands::{self, BAD_COMMAND_LINE, BAD_CONFIGURATION, CONFIG, DONE},
    console::command::CONSOLE,
    doctor::command::DOCTOR,
    operators::RELOAD,
    top::command::TOP,
    trace::command::TRACE,
    why::command::WHY,
};
use crate::manual::{Example, ExitCode, Group, Item, Program};

/// The program.
pub static RELAY: Program = Program {
    name: "relay",
    section: 8,
    summary: "delivers signed notifications of backends to the pages and apps in a room",
    description: &[
        "Web pages and apps connect to relay by WebSocket, Socket.IO or HTTP long polling and join rooms. Backends post \
         notifications to rooms, signed with the key of their source. relay delivers each notification at once to all \
         clients in the room.",
        "Without a command, relay serves clients. The other commands check a configuration, send messages and events, show \
         the messages of a room and what pages log, make signatures and certificates, have a relay reload, ask whether it is healthy, what it does, what one user does and why \
         somebody did not get a message, and find out what is wrong with a proxy in front of it. They find the address, the source and the \
         key in the configuration of \
         this machine.",
    ],
    commands: &[
        &commands::SERVE,
        &commands::CHECK,
        &commands::NOTIFY,
        &commands::EMIT,
        &commands::LISTEN,
        &CONSOLE,
        &commands::SIGN,
        &commands::CERT,
        &commands::HEALTH,
        &RELOAD,
        &TOP,
        &WHY,
        &TRACE,
        &DOCTOR,
        &commands::BENCH,
        &commands::MAN,
        &commands::COMPLETIONS,
        &commands::HELP,
    ],
    default: Some(&commands::SERVE),
    overview: &[&Group { heading: "", options: &[CONFIG] }],
    notes: &[
        "check, notify, emit, listen, console, sign, health, reload, top, why, trace and doctor take --config and $RELAY_CONFIG too. On the machine that relay runs on, \
         they take its address, source and key from it.",
    ],
    codes: &[DONE, ExitCode(1, "failed while running"), BAD_COMMAND_LINE, BAD_CONFIGURATION],
    environment: &[
        Item("RELAY_CONFIG", "the configuration file, if there is no --config; for all commands"),
        Item(
            "RELAY_CONFIG_TOML",
            "the text of the configuration, if neither of these names a file; for containers. Relative names of key files \
             are looked for beside /etc/relay/relay.toml",
        ),
        Item(
            "CREDENTIALS_DIRECTORY",
            "relay looks for relative names of key files there first (systemd's LoadCredential=), then beside the \
             configuration. Without it relay looks beside the configuration, then in /run/credentials/relay.service; last, \
             key_NAME is the file keys/NAME beside the configuration",
        ),
        Item("RUNTIME_DIRECTORY", "with NOTIFY_SOCKET: the generated admin token is written to admin.token there"),
        Item("NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID", "the service manager and its watchdog (sd_notify)"),
        Item("LISTEN_FDS, LISTEN_PID", "inherited listening sockets, which replace listen; --listen replaces both"),
        Item(
            "JOURNAL_STREAM",
            "set: log lines have a priority prefix (<3> error, <4> warn, <6> info, <7> debug and trace) and no timestamp",
        ),
        Item("NO_COLOR", "set and not empty: no colours in the log on a terminal"),
        Item("TZ", "local time of the message log and of today's logins"),
        Item("SOURCE_DATE_EPOCH", "the date of the pages that relay man prints, in unix seconds; without it, today"),
    ],
    files: &[
        Item("/etc/relay/relay.toml", "the configuration, see relay.toml(5)"),
        Item("/etc/relay/keys/", "keys of sources, one in each file"),
        Item("/run/credentials/relay.service/", "keys that systemd passes to the service"),
        Item(
            "/run/relay/admin.token",
            "the admin token that the service makes at each start, unless one is configured",
        ),
    ],
    signals: &[
        Item("SIGHUP", "re-reads the configuration; a bad file is logged and changes nothing"),
        Item(
            "SIGTERM, SIGINT",
            "stops: no new connections; requests that have arrived, and first requests that arrive within 1 s after their \
             connection, are answered; clients get their queued data and a close (1001, or a noop over polling); exit 0 \
             within shutdown_timeout. A second one ends relay at once",
        ),
    ],
    examples: &[
        Example("Try relay without a configuration, on 127.0.0.1:4000:", &["relay"]),
        Example(
            "Check a configuration and start with it:",
            &["relay check --config relay.toml", "relay --config relay.toml"],
        ),
        Example(
            "Wait for messages of a room, and send one to it:",
            &["relay listen chat_room", "relay notify chat_room 'hello'"],
        ),
        Example(
            "Send to a relay on another machine:",
            &[
                "relay notify --url http://relay.example.org:4000 --source shop --key-file shop.key orders 'order 7 is ready'",
            ],
        ),
        Example(
            "Send an event with a JSON argument to a user:",
            &["relay emit --userid 7 --json price '{\"item\": 3, \"price\": 9.5}'"],
        ),
        Example(
            "Find out why a signature is refused:",
            &["relay sign notify room data --explain 0123456789abcdef0123456789abcdef"],
        ),
    ],
    shows_examples: false,
    see_also: &[("relay.toml", 5), ("relay-bench", 1), ("systemd.exec", 5)],
};
