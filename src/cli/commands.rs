//! The commands of relay, with everything that help, man page, completions and the parser know about them. To add an
//! option, add it to a group here and take it where the command is parsed. To add a command, add it here, to the list in
//! `program.rs` and to `parse` in `mod.rs`. `relay doctor` has its row in its own folder.

use crate::manual::{Command, ExitCode, Group, Kind, Opt, Shell, Takes};

/// `--config`.
pub const CONFIG: Opt = Opt::file(
    "config",
    "the configuration (default: $RELAY_CONFIG, or the text in $RELAY_CONFIG_TOML, or /etc/relay/relay.toml if it exists, \
     or a built-in demo setting on 127.0.0.1:4000)",
);
const JSON: Opt = Opt::flag("json", "each ARG is JSON: deliver its value instead of a string");
const ROOM: Opt = Opt {
    aliases: &["room-id", "room-ids"],
    ..Opt::value("room", "ROOM", "a room; may be given several times, in place of the argument ROOMS")
};
const RECEIVING_ROOM: Opt = Opt { text: "send to the sessions in this room", ..ROOM };
const DATA: Opt = Opt::value("data", "DATA", "the data, in place of the argument DATA");
const KEY: Opt = Opt::value(
    "idempotency-key",
    "KEY",
    "at most 128 bytes that name this request: if it is repeated with the same KEY within 300 s, it is not sent again",
);
const ARG: Opt = Opt::value("data", "ARG", "an argument; may be given several times, in place of the arguments ARG");

static SETTING: Group = Group { heading: "Configuration", options: &[CONFIG] };

static SERVER: Group = Group {
    heading: "Server",
    options: &[
        CONFIG,
        Opt::value(
            "listen",
            "ADDR",
            "an address to listen on, in place of the configured ones: host:port, *:port (all addresses, IPv4 and IPv6), \
             [v6]:port, tls://host:port or unix:PATH (also unix:PATH?mode=0660&group=NAME), or proxy+tcp://host:port, \
             proxy+tls://host:port or proxy+unix:PATH for proxies that send PROXY headers; may be given several times. With \
             port 0, the log names the port that was chosen",
        ),
        Opt::flag("allow-demo-keys", "accept the public demo keys on addresses that other machines can reach"),
    ],
};

/// The admin token of a command for operators.
pub static ADMIN_TOKEN: Group = Group {
    heading: "Admin token",
    options: &[
        Opt::value("token", "TOKEN", "the admin token (default: that of the configuration, or of the running service)"),
        Opt::file("token-file", "a file with the admin token"),
    ],
};

/// Where the relay is.
pub static ENDPOINT: Group = Group {
    heading: "Relay",
    options: &[
        CONFIG,
        Opt::value(
            "url",
            "URL",
            "the address of the relay: http://host:port, https://host:port or unix:PATH (default: what the configuration \
             listens on)",
        ),
        Opt::file(
            "ca-file",
            "a PEM file with the authorities that may sign the relay's certificate, for https:// (default: those of the system)",
        ),
    ],
};

/// `--source` and what proves it.
pub static SOURCE: Group = Group {
    heading: "Source",
    options: &[
        Opt::value("source", "NAME", "the source (default: the only one of the configuration, or demo)"),
        Opt::value("key", "KEY", "the key of the source (default: its key in the configuration)"),
        Opt::file("key-file", "a file with the key of the source"),
        Opt::flag(
            "hmac",
            "sign with hmac-sha256, which also covers the time and the user, in place of md5 (default if the configuration \
             refuses md5)",
        ),
    ],
};

static TOKEN: Group = Group {
    heading: "Admin token, in place of a signature",
    options: &[Opt::value("token", "TOKEN", "the admin token"), Opt::file("token-file", "a file with the admin token")],
};

static EVENT: Group = Group {
    heading: "Event",
    options: &[
        RECEIVING_ROOM,
        Opt::value("userid", "ID", "send to the sessions of this user"),
        Opt::value("socket-id", "ID", "send to this session"),
        Opt::flag("all", "send to all sessions in the namespace"),
        Opt::value("nsp", "NAME", "the namespace (default: /)"),
        JSON,
        ARG,
        KEY,
    ],
};

/// Exit code 0.
pub const DONE: ExitCode = ExitCode(0, "done");
/// Exit code 2.
pub const BAD_COMMAND_LINE: ExitCode = ExitCode(2, "bad command line");
/// Exit code 78.
pub const BAD_CONFIGURATION: ExitCode = ExitCode(78, "bad configuration");

/// `relay serve`.
pub static SERVE: Command = Command {
    name: "serve",
    row: "[serve] [OPTION]…",
    summary: "run until SIGTERM; SIGHUP reloads the configuration",
    usage: &["[serve] [--config FILE] [--listen ADDR]… [--allow-demo-keys]"],
    text: &[
        "Serves clients until SIGTERM or SIGINT. SIGHUP reloads the configuration. The log goes to standard error.",
    ],
    groups: &[&SERVER],
    words: &[],
    codes: &[
        ExitCode(0, "stopped by a signal"),
        ExitCode(1, "an address cannot be bound, or a system call failed"),
        BAD_COMMAND_LINE,
        BAD_CONFIGURATION,
    ],
};

/// `relay check`.
pub static CHECK: Command = Command {
    name: "check",
    row: "check",
    summary: "check a configuration, and predict what relay would do with it",
    usage: &["check [--config FILE] [--listen ADDR]… [--allow-demo-keys]"],
    text: &[
        "Checks a configuration and prints every problem as FILE:LINE:COLUMN: what is wrong, and what is expected. Also \
         predicts what relay would do at start on this machine: addresses that cannot work, keys that cannot be read, public \
         demo keys on addresses that other machines can reach. Such a problem has no line: it names only FILE. \
         Warns about settings that are valid but probably wrong: no source, short keys, keys shared by sources, files that every user can read or change, a message \
         log that cannot be written, limits that contradict each other.",
        "Give it the options that you start relay with. Problems and warnings go to standard error.",
    ],
    groups: &[&SERVER],
    words: &[],
    codes: &[
        ExitCode(0, "relay would start, perhaps with warnings"),
        ExitCode(1, "valid, but an address cannot be bound here"),
        BAD_COMMAND_LINE,
        BAD_CONFIGURATION,
    ],
};

/// `relay notify`.
pub static NOTIFY: Command = Command {
    name: "notify",
    row: "notify ROOMS DATA",
    summary: "send a message to rooms, print the answer",
    usage: &["notify [OPTION]… ROOMS DATA", "notify [OPTION]… --room ROOM… DATA"],
    text: &[
        "Sends a message to all members of one room, or of several (separated by commas), and prints the answer. If DATA is \
         '-', it is read from standard input. Write -- before DATA that begins with a dash.",
    ],
    groups: &[
        &Group {
            heading: "Message",
            options: &[
                Opt { text: "DATA is JSON: deliver its value instead of a string", ..JSON },
                Opt::value("filename", "NAME", "the message log file to write it to"),
                ROOM,
                DATA,
                KEY,
                Opt::flag("receipt", "print who gets the message in place of the answer"),
                Opt::value(
                    "wait",
                    "MS",
                    "wait up to MS milliseconds (at most 10000) until the clients have the message, then print who gets it and \
                     who has it",
                ),
            ],
        },
        &ENDPOINT,
        &SOURCE,
        &TOKEN,
    ],
    words: &[Kind::Text, Kind::Text],
    codes: &[ExitCode(0, "accepted"), ExitCode(1, "refused, or not reached"), BAD_COMMAND_LINE, BAD_CONFIGURATION],
};

/// `relay emit`.
pub static EMIT: Command = Command {
    name: "emit",
    row: "emit EVENT ARG…",
    summary: "send an event to a room, a user, a session or everybody",
    usage: &["emit EVENT [ARG…] --room ROOM | --userid ID | --socket-id ID | --all"],
    text: &[
        "Sends an event to the sessions of a room, of a user, to one session, or to all sessions of the source in a \
         namespace, and prints the answer: how many sessions of this relay get it. Give exactly one of --room, --userid, \
         --socket-id and --all. If an ARG is '-', it is read from standard input. Write -- before an ARG that begins with a \
         dash. Events are not acknowledged.",
    ],
    groups: &[&EVENT, &ENDPOINT, &SOURCE, &TOKEN],
    words: &[Kind::Text],
    codes: &[
        ExitCode(0, "accepted, even if no session receives it"),
        ExitCode(1, "refused, or not reached"),
        BAD_COMMAND_LINE,
        BAD_CONFIGURATION,
    ],
};

/// `relay listen`.
pub static LISTEN: Command = Command {
    name: "listen",
    row: "listen ROOMS…",
    summary: "join rooms, print a line for each message",
    usage: &["listen [OPTION]… ROOMS…"],
    text: &[
        "Joins rooms and prints a line for each message: the room, a tab, the data. Reconnects when the connection is lost; \
         ends when the login is refused. Connects, disconnects and refusals go to standard error.",
        "After a reconnect it first prints the messages that it has missed, each once, if relay keeps messages of the rooms \
         ([history] of the configuration). If some are not there any more, it says so on standard error.",
    ],
    groups: &[
        &Group {
            heading: "Login and output",
            options: &[
                Opt::value("userid", "ID", "the id of the user to log in as"),
                Opt::value("username", "NAME", "the name of the user to log in as"),
                Opt::value("ext-info", "TEXT", "further information about the user, for lists of who is online"),
                ROOM,
                Opt::value(
                    "since",
                    "ID|30s|all",
                    "begin with messages that relay has kept: those after the one with this id, those of the last 30s, 10m or \
                     2h, or all",
                ),
                Opt { text: "print each frame as it was received, but not the event recovery", ..JSON },
                Opt::flag("once", "exit after the first message"),
                Opt::value("jwt", "TOKEN", "log in with a token (JWT) instead of a signature"),
                Opt::file(
                    "jwt-file",
                    "a file with the token; it is read again for each login, and when the login is about to expire",
                ),
            ],
        },
        &ENDPOINT,
        &SOURCE,
    ],
    words: &[Kind::Text],
    codes: &[
        ExitCode(0, "after --once, or if standard output was closed"),
        ExitCode(1, "the login was refused"),
        BAD_COMMAND_LINE,
        BAD_CONFIGURATION,
    ],
};

/// `relay sign`.
pub static SIGN: Command = Command {
    name: "sign",
    row: "sign connect ROOMS",
    summary: "make a signature or a token; also: sign jwt ROOMS, sign notify ROOMS DATA, sign emit EVENT ARG…",
    usage: &[
        "sign connect ROOMS [--userid ID] [--expires TIME] [--read-only]",
        "sign jwt ROOMS [--userid ID] [--username NAME] [--expires TIME] [--read-only]",
        "sign notify ROOMS DATA",
        "sign emit EVENT [ARG…] --room ROOM | --userid ID | --socket-id ID | --all",
        "sign … --explain SIGN",
    ],
    text: &[
        "Makes the signature of a login, a notification or an event and prints it as fields of a query or a form. ROOMS is \
         one room or several, separated by commas. If DATA or an ARG is '-', it is read from standard input. The signature \
         of an event covers its arguments as a JSON list, which goes into the field args.",
        "With jwt it prints a token (JWT, HS256) for the field jwt of a login. ROOMS may then have patterns such as 'news-*'. --key is \
         the secret of the tokens (default: the one in the configuration).",
    ],
    groups: &[
        &Group {
            heading: "Signature",
            options: &[
                Opt::value("ts", "SECONDS", "with hmac-sha256: the time in unix seconds (default: now)"),
                Opt::flag("hex", "print only the hexadecimal digits"),
                Opt::value(
                    "explain",
                    "SIGN",
                    "check SIGN, made by another program from these fields; print what is wrong with it and the right \
                     signature; with hmac-sha256, --ts is the time that it signed",
                ),
            ],
        },
        &Group {
            heading: "What is signed",
            options: &[
                Opt { text: "a room, in place of the argument ROOMS; or the room that receives the event", ..ROOM },
                Opt { text: "the data or an argument, in place of the argument DATA or ARG", ..DATA },
                Opt::value("userid", "ID", "the user who logs in, or the user who receives the event"),
                Opt::value("username", "NAME", "with jwt: the name of the user"),
                Opt::value(
                    "expires",
                    "TIME",
                    "how long the login is valid, such as 90s, 30m, 12h or 7d (default: 1h for a token; a signature without it \
                     does not expire); signs with hmac-sha256",
                ),
                Opt::flag("read-only", "the session may not send messages; signs with hmac-sha256"),
                Opt::value("socket-id", "ID", "the session that receives the event"),
                Opt::flag("all", "the event is for all sessions in the namespace"),
                Opt::value("nsp", "NAME", "the namespace of the event (default: /)"),
                Opt { text: "each ARG of the event is JSON", ..JSON },
            ],
        },
        &SETTING,
        &SOURCE,
    ],
    words: &[Kind::OneOf(&["connect", "jwt", "notify", "emit"]), Kind::Text, Kind::Text],
    codes: &[DONE, ExitCode(1, "the key is not known, or SIGN is wrong"), BAD_COMMAND_LINE, BAD_CONFIGURATION],
};

/// `relay cert`.
pub static CERT: Command = Command {
    name: "cert",
    row: "cert --name NAME…",
    summary: "make a certificate for a local network, or renew it",
    usage: &["cert --name NAME… [--dir DIR] [--days DAYS]", "cert [--dir DIR]"],
    text: &[
        "Makes a certificate authority and a certificate for this relay, for a local network where no public authority issues \
         one. Each device that connects must trust ca.pem; docs/tls.md explains how to install it. The authority can sign only \
         for these names and names below them.",
        "Writes ca.pem, ca.key, server.pem and server.key. Run it again to renew the certificate: it keeps the authority, the keys \
         and the names. To change the names, give all of them again.",
    ],
    groups: &[&Group {
        heading: "Certificate",
        options: &[
            Opt::value(
                "name",
                "NAME",
                "a host name or an IP address under which clients reach this relay, such as relay.lan or 192.168.1.20; may be \
                 given several times",
            ),
            Opt {
                takes: Takes::Value("DIR", Kind::File),
                ..Opt::file("dir", "the directory of the files (default: /etc/relay/tls)")
            },
            Opt::value("days", "DAYS", "how long the certificate is valid, at most 824 days (default: 397)"),
        ],
    }],
    words: &[],
    codes: &[DONE, ExitCode(1, "a file cannot be read or written, or does not fit the others"), BAD_COMMAND_LINE],
};

/// `relay health`.
pub static HEALTH: Command = Command {
    name: "health",
    row: "health",
    summary: "ask a relay whether it serves clients",
    usage: &["health [OPTION]…"],
    text: &[
        "Asks a relay whether it serves clients (GET /healthz) and prints the answer, which also names the parts that fail. \
         For health checks of containers and for scripts.",
    ],
    groups: &[&ENDPOINT],
    words: &[],
    codes: &[
        ExitCode(0, "it serves clients, perhaps with parts that fail"),
        ExitCode(1, "it is stopping, or not reached"),
        BAD_COMMAND_LINE,
        BAD_CONFIGURATION,
    ],
};

/// `relay bench`.
pub static BENCH: Command = Command {
    name: "bench",
    row: "bench MODE",
    summary: "measure a relay under load",
    usage: &["bench MODE [OPTION]…"],
    text: &[
        "Runs relay-bench, a program of its own, with these arguments: the one beside relay, or else the one in $PATH. relay \
         bench --help shows its help, and relay-bench(1) is its man page.",
    ],
    groups: &[],
    words: &[Kind::Text],
    codes: &[DONE, ExitCode(1, "failed, or relay-bench cannot be run"), BAD_COMMAND_LINE],
};

/// `relay man`.
pub static MAN: Command = Command {
    name: "man",
    row: "man [PAGE]",
    summary: "print a man page, for man -l -",
    usage: &["man [relay|relay.toml|relay-bench]"],
    text: &[
        "Prints the man page of relay, of its configuration or of relay-bench in the format of man(7), for a package or for \
         man -l -. Its date is that of SOURCE_DATE_EPOCH if that is set, otherwise today.",
    ],
    groups: &[],
    words: &[Kind::OneOf(&["relay", "relay.toml", "relay-bench"])],
    codes: &[DONE, ExitCode(1, "relay-bench cannot be run"), BAD_COMMAND_LINE],
};

/// `relay completions`.
pub static COMPLETIONS: Command = Command {
    name: "completions",
    row: "completions SHELL",
    summary: "print completions for bash, zsh or fish",
    usage: &["completions bash|zsh|fish"],
    text: &["Prints a script with which the shell completes commands and options of relay."],
    groups: &[],
    words: &[Kind::OneOf(&Shell::NAMES)],
    codes: &[DONE, BAD_COMMAND_LINE],
};

/// `relay help`.
pub static HELP: Command = Command {
    name: "help",
    row: "",
    summary: "print the help of a command",
    usage: &["help [COMMAND]"],
    text: &["Prints the help of a command, or a summary of all commands."],
    groups: &[],
    words: &[Kind::Command],
    codes: &[DONE, BAD_COMMAND_LINE],
};
