//! What help, man page and parser know about `relay why`.

use crate::{
    cli::commands::{ADMIN_TOKEN, BAD_COMMAND_LINE, BAD_CONFIGURATION, DONE, ENDPOINT},
    manual::{Command, ExitCode, Group, Kind, Opt},
};

/// `relay why`.
pub static WHY: Command = Command {
    name: "why",
    row: "why [ID]",
    summary: "say why somebody did not get a message",
    usage: &["why ID [--userid USER | --session SOCKET_ID]", "why [--userid USER] [--session SOCKET_ID] [--room ROOM]"],
    text: &[
        "Asks a running relay what has become of the message with this id, or what has happened to a user or in a room, and \
         prints it with times. With both an ID and a user it says what follows: that the user was not in the room, had no \
         connection, has come back and got the message then, or has received it. With a user alone it also says how many messages were \
         published while the user had no session. relay remembers the last 28,672 publications to rooms and changes of sessions (logins, \
         ends, losses, returns, and rooms), 4,096 events of backends, and 4,096 refusals. The question needs the admin token.",
    ],
    groups: &[
        &Group {
            heading: "Question",
            options: &[
                Opt::value("userid", "USER", "the user"),
                Opt::value("room", "ROOM", "the room"),
                Opt::value("session", "SOCKET_ID", "the session, also if it has ended, for users without an id"),
                Opt::flag("json", "print the answer as relay gives it (GET /api/why)"),
            ],
        },
        &ENDPOINT,
        &Group {
            heading: "Source",
            options: &[Opt::value(
                "source",
                "NAME",
                "the source (default: the only one of the configuration, or demo)",
            )],
        },
        &ADMIN_TOKEN,
    ],
    words: &[Kind::Text],
    codes: &[DONE, ExitCode(1, "relay refused the question, or was not reached"), BAD_COMMAND_LINE, BAD_CONFIGURATION],
};
