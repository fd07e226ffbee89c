//! Help, man pages and completions of relay: the same options everywhere, and the programs that read them accept them.

use std::{collections::BTreeSet, fs, path::Path};

use relay::{
    cli::program::RELAY,
    manual::{Command, Group, Kind, Opt, Program, Shell, Takes},
};

use crate::support::{self, cli, manual};

fn run(args: &[&str]) -> (i32, String, String) {
    let run = cli::run(args);
    (run.code, run.out, run.err)
}

fn print(args: &[&str]) -> String {
    let (code, text, error) = run(args);
    assert_eq!((code, error.as_str()), (0, ""), "{args:?}");
    text
}

/// All commands except bench, whose arguments are those of another program.
#[test]
fn help() {
    manual::check_help(&without_bench(), &run);
}

#[test]
fn options() {
    manual::check_parser(&without_bench(), &run);
}

fn without_bench() -> Program {
    let commands: Vec<_> = RELAY.commands.iter().copied().filter(|command| command.name != "bench").collect();
    Program { commands: commands.leak(), ..RELAY }
}

/// The code takes each option that the table has, and no other: one that is documented does something.
#[test]
fn every_option_is_used() {
    let mut used = BTreeSet::new();
    let files = |folder: &Path| fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect::<Vec<_>>();
    let (folders, own): (Vec<_>, Vec<_>) =
        files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli")).into_iter().partition(|path| path.is_dir());
    for file in own.into_iter().chain(folders.iter().flat_map(|folder| files(folder))) {
        let text = fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        // options.take("key"), given("key", "key-file"), and the list of receivers of an event.
        for call in ["options.take(", "options.text(", "options.path(", "options.all(", "options.has(", "given("] {
            for arguments in code.split(call).skip(1) {
                let arguments = arguments.split(')').next().unwrap();
                used.extend(arguments.split('"').skip(1).step_by(2).map(str::to_owned));
            }
        }
    }
    // Of these, only Event::take has a list.
    used.extend(["room", "userid", "socket-id"].map(str::to_owned));
    let groups = RELAY.commands.iter().flat_map(|command| command.groups);
    let known: BTreeSet<String> = groups.flat_map(|group| group.options).map(|option| option.name.to_owned()).collect();
    assert_eq!(known, used);
}

#[test]
fn the_man_page_of_relay() {
    let page = print(&["man"]);
    assert_eq!(page, print(&["man", "relay"]));
    manual::check_page(&RELAY, &page);
    manual::lint(&page);
}

/// tests/pages/reference.rs looks for every key in it.
#[test]
fn the_man_page_of_the_configuration() {
    let page = print(&["man", "relay.toml"]);
    manual::lint(&page);
    assert!(page.matches("\n.TP\n").count() > 60 && page.contains("\\fBsources.NAME.sign_key\\fR"), "{page}");
}

#[test]
fn the_date_of_a_man_page() {
    let dated = |seconds: &str| {
        cli::run_command(cli::relay(&["man"]).env("SOURCE_DATE_EPOCH", seconds)).out.lines().next().unwrap().to_owned()
    };
    assert_eq!(
        dated("1795219200"),
        concat!(".TH \"RELAY\" 8 2026-11-21 \"relay ", env!("CARGO_PKG_VERSION"), "\" \"System Manager\\(aqs Manual\"")
    );
    assert!(!dated("nonsense").contains(" 1970-"), "today");
}

#[test]
fn completions() {
    let folder = support::temp_file("completions");
    fs::create_dir(&folder).unwrap();
    manual::check_shells(&RELAY, &folder, &|shell| print(&["completions", shell]));
    // What a person types: a beginning is completed, several are listed, values are known.
    let lines = [
        "relay no",
        "relay notify --k",
        "relay sign c",
        "relay completions z",
        "relay che",
        "relay notify --config /etc/passw",
        "relay --allow",
        "relay notify --key f",
        "relay help lis",
    ];
    let lines: Vec<String> = lines.map(str::to_owned).into();
    let wanted: [&[&str]; 9] = [
        &["<notify>"],
        &["--key", "--key-file"],
        &["<sign><connect>"],
        &["<completions><zsh>"],
        &["<check>"],
        &["/etc/passwd"],
        &["<--allow-demo-keys>"],
        &["<notify><--key><f>"],
        &["<help><listen>"],
    ];
    for shell in ["bash", "zsh"] {
        let answers = manual::terminal(shell, &folder.join(format!("completions.{shell}")), "relay", &lines);
        for ((line, wanted), answer) in lines.iter().zip(wanted).zip(&answers) {
            assert!(wanted.iter().all(|text| answer.contains(text)), "{shell}: {line}: {answer}");
        }
    }
    let answers = manual::fish(&folder.join("completions.fish"), &lines);
    let wanted = [
        "notify\n",
        "--key\n--key-file\n",
        "connect\n",
        "zsh\n",
        "check\n",
        "/etc/passwd\n",
        "--allow-demo-keys\n",
        "",
        "listen\n",
    ];
    for ((line, wanted), answer) in lines.iter().zip(wanted).zip(&answers) {
        assert!(answer == wanted || wanted.starts_with('/') && answer.contains(wanted), "{line}: {answer}");
    }
    fs::remove_dir_all(folder).unwrap();
}

/// Exit codes, signals and variables are those of docs/protocol.md, and signals and variables are described with the same words.
#[test]
fn the_reference_has_the_same_items() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocol.md")).unwrap();
    let section = page.split("\n## 17 ").nth(1).unwrap().split("\n### ").next().unwrap();
    let mut lines = section.lines().peekable();
    let (mut codes, mut items) = (BTreeSet::new(), BTreeSet::new());
    while let Some(line) = lines.next() {
        let is_head = lines.peek().is_some_and(|next| next.starts_with("|---"));
        if let Some(cells) = line.strip_prefix("| ").filter(|_| !is_head) {
            let plain = cells.trim_end_matches(" |").replace('`', "").replace(" (section 17.1)", "");
            let (name, meaning) = plain.split_once(" | ").unwrap();
            match name.parse::<u8>() {
                Ok(code) => drop(codes.insert(code)),
                Err(_) => drop(items.insert((name.to_owned(), meaning.to_owned()))),
            }
        }
    }
    let known = RELAY.environment.iter().chain(RELAY.signals).map(|item| (item.0.to_owned(), item.1.to_owned()));
    assert_eq!(items, known.collect::<BTreeSet<_>>());
    assert_eq!(codes, RELAY.codes.iter().map(|code| code.0).collect::<BTreeSet<_>>());
    // A command names no other code.
    for command in RELAY.commands {
        assert!(command.codes.iter().all(|code| RELAY.codes.iter().any(|known| known.0 == code.0)), "{}", command.name);
    }
}

#[test]
fn wrong_words() {
    for (args, why) in [
        (&["man", "relay.conf"][..], "unknown man page \"relay.conf\": expected relay, relay.toml or relay-bench"),
        (&["man", "relay", "x"], "unexpected argument \"x\""),
        (&["completions"], "missing argument: bash, zsh or fish"),
        (&["completions", "ksh"], "unknown shell \"ksh\": expected bash, zsh or fish"),
        (&["compltions", "zsh"], "did you mean completions?"),
    ] {
        let (code, _, error) = run(args);
        assert!(code == 2 && error.contains(why), "{args:?}: {code} {error}");
    }
}

/// Texts with everything that means something to roff or to a shell.
#[test]
fn strange_texts() {
    const TEXT: &str = ".TH [a] it's $(exit) `b` \\n \"c\" %d, {e} *f? ~g ^h #i <j> |k& !l";
    static COMMAND: Command = Command {
        name: "go",
        row: "go",
        summary: TEXT,
        usage: &["go"],
        text: &[TEXT],
        groups: &[&Group {
            heading: "Group",
            options: &[
                Opt::flag("flag", TEXT),
                Opt::value("value", "[HOST]:PORT", TEXT),
                Opt::one_of("choice", "A:B", &["one", "two"], TEXT),
                Opt { takes: Takes::Optional("A:B", Kind::File), ..Opt::file("perhaps", TEXT) },
            ],
        }],
        words: &[Kind::OneOf(&["north", "south"])],
        codes: &[],
    };
    static COMMANDS: &[&Command] = &[&COMMAND];
    let program =
        Program { name: "strange", summary: TEXT, commands: COMMANDS, default: None, notes: &[TEXT], ..RELAY };
    let page = relay::manual::page::render(&program, "1", "2026-01-02");
    manual::check_page(&program, &page);
    manual::lint(&page);
    let (shown, _) = manual::filter("groff", &["-man", "-Tutf8", "-P-cbu", "-rLL=300n"], &page);
    assert!(shown.contains(TEXT), "{shown}");
    let folder = support::temp_file("strange");
    fs::create_dir(&folder).unwrap();
    manual::check_shells(&program, &folder, &|shell| Shell::from_name(shell).unwrap().script(&program));
    let lines =
        ["strange go --value ", "strange go --choice ", "strange go --choice=t", "strange go s"].map(str::to_owned);
    for shell in ["bash", "zsh"] {
        let file = folder.join(format!("completions.{shell}"));
        let answers = manual::terminal(shell, &file, "strange", &lines);
        assert!(answers.iter().all(|answer| !answer.contains("not found")), "{shell}: {answers:?}");
        let wanted = ["<--value>", "one", "<--choice=two>", "<go><south>"];
        assert!(answers.iter().zip(wanted).all(|(answer, text)| answer.contains(text)), "{shell}: {answers:?}");
    }
    fs::remove_dir_all(folder).unwrap();
}
