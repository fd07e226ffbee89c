//! The commands of relay-bench: each mode with its options. Help, man page, completions and the parser take them from here.

use relay::{
    manual::{Command, Example, ExitCode, Group, Kind, Opt, Program, Shell, Takes},
    spelling::nearest,
};

use crate::member;

const CLIENT: Opt = Opt::one_of(
    "client",
    "KIND",
    &member::Kind::NAMES,
    "the protocol of the clients: ws (plain WebSocket, the default), sio4 or sio3 (Socket.IO 3.x/4.x or 1.x/2.x over a \
     WebSocket), polling4 or polling3 (the same over HTTP long polling), sse (Server-Sent Events; such a client only receives)",
);
const MEMBERS: Opt =
    Opt::value("members", "N", "number of clients (default 1000); with connect, number of logins (default: no limit)");
const PRESENT: Opt = Opt::value("present", "N", "with connect: clients that are in the rooms all the time (default 1)");
const ROOMS: Opt = Opt::value("rooms", "N", "number of rooms; clients are spread evenly (default 1, with idle 100)");
const SIZE: Opt = Opt::value("size", "BYTES", "size of the data of a message (default 128, at least 20)");
const MESSAGES: Opt = Opt::value("messages", "N", "number of messages");
const WINDOW: Opt = Opt::value(
    "window",
    "N",
    "closed loop: keep N messages in flight, with ingest N on each connection (default 1); latency counts from sending",
);
const RATE: Opt = Opt::value(
    "rate",
    "N",
    "open loop: send N messages per second regardless of responses; latency counts from the scheduled time, so that it \
     includes the delay that a stall causes",
);
const CONNECTIONS: Opt =
    Opt::value("connections", "N", "number of backends, each with its own connection (default 1, with ingest 16)");
const CONCURRENCY: Opt = Opt::value("concurrency", "N", "number of concurrent logins (default 32)");

static SERVER: Group = Group {
    heading: "Server",
    options: &[
        Opt::value(
            "addr",
            "HOST:PORT",
            "the relay to load, or unix:PATH (default 127.0.0.1:4000); it must be on this machine",
        ),
        Opt::value("pid", "PID", "its process; without it CPU time and memory are unknown"),
        Opt::value("i-own-this-host", "HOST", "allow another machine in --addr: you confirm that you own HOST"),
        Opt {
            takes: Takes::Optional("PATH", Kind::File),
            ..Opt::file(
                "start",
                "start a relay for the run, on a free port and without a limit of the message rate; PATH is the program \
                 (default: relay beside relay-bench, else in $PATH)",
            )
        },
        Opt::value("source", "NAME", "the source to publish to (default demo)"),
        Opt::value("key", "KEY", "its signing key (default: the key of the built-in demo configuration)"),
    ],
};

static OUTPUT: Group = Group {
    heading: "Output and limits",
    options: &[
        Opt::flag("json", "print one JSON object instead of a table; keys name their units"),
        Opt::value(
            "seconds",
            "S",
            "duration of sending, watching or logging in (default 5; without limit if the number of messages or logins is \
             given); with both, the first limit ends the run",
        ),
        Opt::value("stall", "S", "count outstanding deliveries as lost after S seconds without data (default 5)"),
        Opt::value("timeout", "S", "end the run with an error after S seconds (default 120)"),
    ],
};

/// A measurement.
const fn mode(
    name: &'static str,
    summary: &'static str,
    usage: &'static [&'static str],
    groups: &'static [&'static Group],
) -> Command {
    Command { name, row: name, summary, usage, text: &[], groups, words: &[], codes: &[] }
}

/// `relay-bench fan-out`.
pub static FAN_OUT: Command = mode(
    "fan-out",
    "publish notifications to the members of rooms: deliveries/s, latency, CPU per delivery",
    &["fan-out [OPTION]…"],
    &[
        &Group {
            heading: "Load",
            options: &[CLIENT, MEMBERS, ROOMS, SIZE, MESSAGES, WINDOW, RATE, CONNECTIONS, CONCURRENCY],
        },
        &SERVER,
        &OUTPUT,
    ],
);

/// `relay-bench idle`.
pub static IDLE: Command = mode(
    "idle",
    "open sessions that each send and receive one message, then do nothing: memory per session, CPU",
    &["idle [OPTION]…"],
    &[&Group { heading: "Load", options: &[CLIENT, MEMBERS, ROOMS, SIZE, CONCURRENCY] }, &SERVER, &OUTPUT],
);

/// `relay-bench ingest`.
pub static INGEST: Command = mode(
    "ingest",
    "publish notifications to an empty room: accepted/s, latency, CPU per notification",
    &["ingest [OPTION]…"],
    &[&Group { heading: "Load", options: &[SIZE, MESSAGES, WINDOW, RATE, CONNECTIONS] }, &SERVER, &OUTPUT],
);

/// `relay-bench connect`.
pub static CONNECT: Command = mode(
    "connect",
    "log clients in and disconnect them: logins/s, latency, CPU per login",
    &["connect [OPTION]…"],
    &[&Group { heading: "Load", options: &[CLIENT, MEMBERS, PRESENT, ROOMS, CONCURRENCY] }, &SERVER, &OUTPUT],
);

/// `relay-bench man`.
pub static MAN: Command = Command {
    text: &[
        "Prints the man page in the format of man(7). Its date is that of SOURCE_DATE_EPOCH if that is set, otherwise today.",
    ],
    ..mode("man", "print the man page, for man -l -", &["man"], &[])
};

/// `relay-bench completions`.
pub static COMPLETIONS: Command = Command {
    row: "completions SHELL",
    text: &["Prints a script with which the shell completes modes and options of relay-bench."],
    words: &[Kind::OneOf(&Shell::NAMES)],
    ..mode("completions", "print completions for bash, zsh or fish", &["completions bash|zsh|fish"], &[])
};

/// The program.
pub static RELAY_BENCH: Program = Program {
    name: "relay-bench",
    section: 1,
    summary: "makes a load for relay, checks every delivery, and reports latency, CPU time and memory",
    description: &[
        "relay-bench drives one relay from one thread with clients of any protocol and with backends that publish \
         notifications. 'relay bench' is the same command.",
    ],
    commands: &[&FAN_OUT, &IDLE, &INGEST, &CONNECT, &MAN, &COMPLETIONS],
    default: None,
    overview: &[
        &SERVER,
        &Group {
            heading: "Load",
            options: &[CLIENT, MEMBERS, PRESENT, ROOMS, SIZE, MESSAGES, WINDOW, RATE, CONNECTIONS, CONCURRENCY],
        },
        &OUTPUT,
    ],
    notes: &[
        "A delivery must arrive exactly once, in the order of its publisher, in its room, with the exact data. CPU time is \
         relay's user and system time as the scheduler accounts it; memory is resident memory.",
    ],
    codes: &[
        ExitCode(0, "success"),
        ExitCode(
            1,
            "deliveries or responses were lost, duplicated, out of order, damaged or refused, or the run failed",
        ),
        ExitCode(2, "bad command line, a server on another machine, or too few file descriptors"),
    ],
    environment: &[],
    files: &[],
    signals: &[],
    examples: &[
        Example(
            "Start a relay, and deliver to 1,000 clients:",
            &["relay bench fan-out --start --members 1000 --window 32"],
        ),
        Example(
            "The same with clients that poll, at a fixed rate:",
            &["relay bench fan-out --start --client polling4 --members 200 --rate 100 --seconds 10"],
        ),
        Example(
            "Measure the memory of idle sessions in a running relay:",
            &["relay bench idle --addr 127.0.0.1:4000 --pid $(pidof relay) --members 10000"],
        ),
        Example(
            "Publish as fast as relay answers:",
            &["relay bench ingest --start --connections 16 --window 8 --json"],
        ),
        Example("Measure logins of Socket.IO clients:", &["relay bench connect --start --client sio4 --members 5000"]),
    ],
    shows_examples: true,
    see_also: &[("relay", 8)],
};

/// The error of an option that no command has.
pub fn unknown_option(name: &str) -> lexopt::Error {
    let all = RELAY_BENCH.commands.iter().flat_map(|command| command.options());
    match nearest(name, all.map(|option| option.name)) {
        Some(near) => format!("unknown option --{name}: did you mean --{near}?"),
        None => format!("unknown option --{name}"),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The short help shows every option that a mode has, and no other.
    #[test]
    fn the_overview_is_complete() {
        let labels = |groups: &[&'static Group]| -> BTreeSet<String> {
            groups.iter().flat_map(|group| group.options).map(Opt::label).collect()
        };
        let all = RELAY_BENCH.commands.iter().flat_map(|command| labels(command.groups)).collect();
        assert_eq!(labels(RELAY_BENCH.overview), all);
    }
}
