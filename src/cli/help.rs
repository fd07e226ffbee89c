//! The texts of `--help`.

/// `relay --help`.
pub const ALL: &str = "\
relay: delivers signed notifications of backends to the pages and apps in a room

relay [serve] [OPTION]…   run until SIGTERM; SIGHUP reloads the configuration
relay check               check a configuration, and predict what relay would do with it
relay notify ROOMS DATA   send a message to rooms, print the answer
relay emit EVENT ARG…     send an event to a room, a user, a session or everybody
relay listen ROOMS…       join rooms, print a line for each message
relay sign connect ROOMS  make a signature; also: sign notify ROOMS DATA, sign emit EVENT ARG…
relay bench MODE          measure a relay under load
relay COMMAND --help      help for a command
relay --version           the version

  --config FILE           the configuration (default: $RELAY_CONFIG, or /etc/relay/relay.toml if it
                          exists, or a built-in demo setting on 127.0.0.1:4000)

check, notify, emit, listen and sign take --config and $RELAY_CONFIG too. On the machine that relay runs
on, they take its address, source and key from it.

Exit codes: 0 (done), 1 (failed while running), 2 (bad command line), 78 (bad configuration).
";

/// `relay serve --help`.
pub const SERVE: &str = "\
relay [serve] [--config FILE] [--listen ADDR]… [--allow-demo-keys]

Serves clients until SIGTERM or SIGINT. SIGHUP reloads the configuration. The log goes to standard error.

  --config FILE           the configuration (default: $RELAY_CONFIG, or /etc/relay/relay.toml if it
                          exists, or a built-in demo setting on 127.0.0.1:4000)
  --listen ADDR           host:port, *:port (all addresses, IPv4 and IPv6), [v6]:port or unix:PATH
                          (also unix:PATH?mode=0660&group=NAME), or proxy+tcp://host:port or
                          proxy+unix:PATH for proxies that send PROXY headers; instead of the
                          configured addresses; may be given several times. With port 0, the log
                          names the port that was chosen
  --allow-demo-keys       accept the public demo keys on addresses that other machines can reach

Exit codes: 0 (stopped by a signal), 1 (an address cannot be bound, or a system call failed),
2 (bad command line), 78 (bad configuration).
";

/// `relay check --help`.
pub const CHECK: &str = "\
relay check [--config FILE] [--listen ADDR]… [--allow-demo-keys]

Checks a configuration and prints every problem as FILE:LINE:COLUMN: what is wrong, and what is expected.
Also predicts what relay would do at start on this machine: addresses that cannot work, keys that cannot
be read, public demo keys on addresses that other machines can reach. These have FILE only. Warns about
settings that are valid but probably wrong: no source, short keys, keys shared by sources, files that
every user can read or change, a message log that cannot be written, limits that contradict each other.

  --config FILE           the configuration (default: $RELAY_CONFIG, or /etc/relay/relay.toml if it
                          exists, or the built-in demo setting)
  --listen, --allow-demo-keys
                          the options that you start relay with

Problems and warnings go to standard error. Exit codes: 0 (relay would start, perhaps with warnings),
1 (valid, but an address cannot be bound here), 2 (bad command line), 78 (bad configuration).
";

/// `relay notify --help`.
pub const NOTIFY: &str = "\
relay notify ROOMS DATA
relay notify --room ROOM DATA

Sends a message to all members of one room, or of several (separated by commas), and prints the answer.
If DATA is '-', it is read from standard input. Write -- before DATA that begins with a dash.

  --config FILE           where to find what is not given below (default: $RELAY_CONFIG, or
                          /etc/relay/relay.toml if it exists, or the built-in demo setting)
  --url URL               http://host:port or unix:PATH (default: what the configuration listens on)
  --source NAME           the source (default: the only one of the configuration, or demo)
  --key KEY, --key-file FILE
                          the key of the source (default: its key in the configuration)
  --token TOKEN, --token-file FILE
                          the admin token, in place of a signature
  --hmac                  use hmac-sha256 in place of md5 (default if the configuration refuses md5)
  --json                  DATA is JSON: deliver its value instead of a string
  --filename NAME         the message log file to write it to
  --room, --data          ROOMS and DATA as options; --room may be given several times

Exit codes: 0 (accepted), 1 (refused, or not reached), 2 (bad command line), 78 (bad configuration).
";

/// `relay emit --help`.
pub const EMIT: &str = "\
relay emit EVENT [ARG…] --room ROOM | --userid ID | --socket-id ID | --all

Sends an event to the sessions of a room, of a user, to one session, or to all sessions of the source in a
namespace, and prints the answer: how many sessions of this relay get it. If an ARG is '-', it is read
from standard input. Write -- before an ARG that begins with a dash. Events are not acknowledged.

  --room ROOM, --userid ID, --socket-id ID, --all
                          the receivers: exactly one of these
  --nsp NAME              the namespace (default: /)
  --json                  each ARG is JSON: deliver its value instead of a string
  --data ARG              an ARG as an option
  --config FILE           where to find what is not given below (default: $RELAY_CONFIG, or
                          /etc/relay/relay.toml if it exists, or the built-in demo setting)
  --url URL               http://host:port or unix:PATH (default: what the configuration listens on)
  --source NAME           the source (default: the only one of the configuration, or demo)
  --key KEY, --key-file FILE
                          the key of the source (default: its key in the configuration)
  --token TOKEN, --token-file FILE
                          the admin token, in place of a signature
  --hmac                  use hmac-sha256 in place of md5 (default if the configuration refuses md5)

Exit codes: 0 (accepted, perhaps by no session), 1 (refused, or not reached), 2 (bad command line),
78 (bad configuration).
";

/// `relay listen --help`.
pub const LISTEN: &str = "\
relay listen ROOMS…

Joins rooms and prints a line for each message: the room, a tab, the data. Reconnects when the connection
is lost; ends when the login is refused. Connects, disconnects and refusals go to standard error.

  --config FILE           where to find what is not given below (default: $RELAY_CONFIG, or
                          /etc/relay/relay.toml if it exists, or the built-in demo setting)
  --url URL               http://host:port or unix:PATH (default: what the configuration listens on)
  --source NAME           the source (default: the only one of the configuration, or demo)
  --key KEY, --key-file FILE
                          the key of the source (default: its key in the configuration)
  --hmac                  use hmac-sha256 in place of md5 (default if the configuration refuses md5)
  --userid ID, --username NAME, --ext-info TEXT
                          the user to log in as
  --room ROOM             a room as an option; may be given several times
  --json                  print each frame as it was received
  --once                  exit after the first message

Exit codes: 0 (after --once, or if standard output was closed), 1 (the login was refused),
2 (bad command line), 78 (bad configuration).
";

/// `relay sign --help`.
pub const SIGN: &str = "\
relay sign connect ROOMS [--userid ID]
relay sign notify ROOMS DATA
relay sign emit EVENT [ARG…] --room ROOM | --userid ID | --socket-id ID | --all
relay sign … --explain SIGN

Makes the signature of a login, a notification or an event and prints it as fields of a query or a form.
ROOMS is one room or several, separated by commas. If DATA or an ARG is '-', it is read from standard
input. The signature of an event covers its arguments as a JSON list, which goes into the field args.

  --config FILE           where to find the key (default: $RELAY_CONFIG, or /etc/relay/relay.toml if it
                          exists, or the built-in demo setting)
  --source NAME           the source (default: the only one of the configuration, or demo)
  --key KEY, --key-file FILE
                          the key of the source (default: its key in the configuration)
  --hmac                  use hmac-sha256, which also signs the user and the time, in place of md5
                          (default if the configuration refuses md5)
  --ts SECONDS            with hmac-sha256: the time in unix seconds (default: now)
  --hex                   print only the hexadecimal digits
  --explain SIGN          check SIGN, made by another program from these fields; print what is wrong with
                          it and the right signature; with hmac-sha256, --ts is the time that it signed
  --room, --data          ROOMS and DATA as options
  --nsp NAME, --json      of an event: its namespace (default: /), and whether each ARG is JSON

Exit codes: 0 (done), 1 (the key is not known, or SIGN is wrong), 2 (bad command line),
78 (bad configuration).
";
