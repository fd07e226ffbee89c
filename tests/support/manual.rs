//! Holds help, man page and completions of a program to its table of commands, and asks real programs about them: groff and
//! mandoc about the man page, bash, zsh and fish for completions.
#![allow(dead_code, missing_docs)]

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use relay::manual::{self, Kind, Program, table::GENERAL};

pub type Names = BTreeSet<String>;
/// Runs the program: exit code, standard output, standard error.
pub type Run = dyn Fn(&[&str]) -> (i32, String, String);

/// Runs a program to its end: standard output, and what it wrote to standard error.
pub fn filter(program: &str, args: &[&str], input: &str) -> (String, String) {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program} (tests/run installs it): {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

/// The names of the options of a command, without those that all commands have.
fn own(command: &manual::Command) -> Names {
    command.groups.iter().flat_map(|group| group.options).map(|option| option.name.to_owned()).collect()
}

/// All words that begin with two dashes and a letter, without the dashes.
fn options_in(text: &str) -> Names {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let names = words.filter_map(|word| word.strip_prefix("--"));
    names.filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase())).map(str::to_owned).collect()
}

/// The help of each command has a row for each of its options, and no other row. Lines fit.
pub fn check_help(program: &Program, run: &Run) {
    for command in program.commands {
        let (code, help, error) = run(&[command.name, "--help"]);
        assert_eq!((code, error.as_str()), (0, ""), "{} --help", command.name);
        let rows: Names = help
            .lines()
            .filter(|line| line.starts_with("  -"))
            .flat_map(|line| options_in(&line[..line.len().min(25)]))
            .collect();
        assert_eq!(rows, own(command), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
        assert!(help.contains("\nExit codes: 0 ("), "{help}");
        for usage in command.usage {
            assert!(help.contains(usage.split('…').next().unwrap()), "{usage} in {help}");
        }
    }
    let (_, help, _) = run(&["--help"]);
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    for command in program.commands.iter().filter(|command| !command.row.is_empty()) {
        assert!(help.contains(&format!("\n{} {}", program.name, command.row)), "{} in {help}", command.row);
    }
}

/// The parser takes each option of the table, with the kind of value that the table says, and suggests the nearest for another.
pub fn check_parser(program: &Program, run: &Run) {
    for command in program.commands {
        for option in command.options() {
            let name = format!("--{}", option.name);
            let value = match option.kind() {
                None => None,
                Some(Kind::OneOf(values)) => Some(values[0]),
                Some(_) => Some("127"),
            };
            // --help ends parsing: what stands before it was parsed.
            let line = [Some(command.name), Some(name.as_str()), value, Some("--help")];
            let line: Vec<&str> = line.into_iter().flatten().collect();
            let (code, _, error) = run(&line);
            assert_eq!((code, error.as_str()), (0, ""), "{line:?}");
            // Two edits are no suggestion for two letters.
            if option.name.len() > 3 {
                let wrong = format!("--{}x", option.name);
                let (code, _, error) = run(&[command.name, &wrong]);
                let hint = format!("did you mean {name}?");
                assert!(code == 2 && error.contains(&hint), "{} {wrong}: {code} {error}", command.name);
            }
        }
    }
}

/// A text without its fonts.
fn without_fonts(text: &str) -> String {
    ["\\fB", "\\fI", "\\fR"].iter().fold(text.to_owned(), |text, font| text.replace(font, " "))
}

/// The man page describes each option of each command: in the part of the command, or by its name there and among the options
/// that commands share.
pub fn check_page(program: &Program, page: &str) {
    let page = page.replace("\\-", "-");
    let items = |text: &str| -> Names {
        text.split("\n.TP\n")
            .skip(1)
            .flat_map(|item| options_in(&without_fonts(item.lines().next().unwrap())))
            .collect()
    };
    let options = page.split("\n.SH \"OPTIONS\"\n").nth(1).unwrap().split("\n.SH").next().unwrap();
    let shared = items(options);
    assert!(GENERAL.iter().all(|option| shared.contains(option.name)), "{options}");
    for command in program.commands {
        let heading = format!("\n.SS \"{} {}\"\n", program.name, command.name);
        let part = page.split(&heading).nth(1).unwrap_or_else(|| panic!("no {heading} in {page}"));
        let part = part.split("\n.SS").next().unwrap().split("\n.SH").next().unwrap();
        let named = part.split("Options that are described below:").nth(1).unwrap_or_default();
        let named = options_in(&without_fonts(named.split("\n.PP").next().unwrap()));
        assert!(named.is_subset(&shared), "{named:?} in {shared:?}");
        assert_eq!(items(part).union(&named).cloned().collect::<Names>(), own(command), "{part}");
    }
    for manual::Item(name, _) in program.environment.iter().chain(program.files).chain(program.signals) {
        assert!(page.contains(&format!("\n.TP\n\\fB{name}\\fR\n")), "{name}");
    }
}

/// Neither groff nor mandoc has anything to say about a page, and both show its text.
pub fn lint(page: &str) {
    let (shown, warnings) = filter("groff", &["-man", "-ww", "-Tutf8", "-P-cbu"], page);
    assert_eq!(warnings, "", "groff");
    assert!(shown.contains("NAME") && shown.lines().count() > 50, "{shown}");
    let (notes, errors) = filter("mandoc", &["-T", "lint"], page);
    assert_eq!((notes.as_str(), errors.as_str()), ("", ""), "mandoc");
    let (shown, _) = filter("mandoc", &["-T", "html"], page);
    assert!(shown.contains("id=\"SEE_ALSO\""), "{shown}");
}

/// Real shells offer for each command all of its options and no others, and its first word if that is known.
pub fn check_shells(program: &Program, folder: &Path, script: &dyn Fn(&str) -> String) {
    let file = |shell: &str| -> PathBuf {
        let file = folder.join(format!("completions.{shell}"));
        fs::write(&file, script(shell)).unwrap();
        file
    };
    let name = program.name;
    let mut lines = vec![format!("{name} ")];
    for command in program.commands {
        lines.push(format!("{name} {} --", command.name));
        lines.push(format!("{name} {} ", command.name));
    }
    let answers = [
        ("bash", terminal("bash", &file("bash"), name, &lines)),
        ("zsh", terminal("zsh", &file("zsh"), name, &lines)),
        ("fish", fish(&file("fish"), &lines)),
    ];
    let general: Names = GENERAL.iter().map(|option| option.name.to_owned()).collect();
    for (shell, answers) in answers {
        let mut answers = answers.iter();
        let mut next = || answers.next().unwrap();
        let first = next();
        assert!(program.commands.iter().all(|command| first.contains(command.name)), "{shell}: {first}");
        for command in program.commands {
            let offered = next();
            let wanted: Names = own(command).union(&general).cloned().collect();
            assert_eq!(options_in(offered), wanted, "{shell} {}: {offered}", command.name);
            let words = next();
            if let Some(Kind::OneOf(values)) = command.words.first() {
                assert!(values.iter().all(|value| words.contains(value)), "{shell} {}: {words}", command.name);
            }
        }
    }
}

/// What bash or zsh shows after each line and a tab, without the line itself as it was typed.
pub fn terminal(shell: &str, script: &Path, program: &str, lines: &[String]) -> Vec<String> {
    let driver = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/support/complete.py");
    let driver = if Path::new(driver).exists() {
        driver
    } else {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/complete.py")
    };
    let args = [driver, shell, script.to_str().unwrap(), program];
    let (answers, errors) = filter("python3", &args, &lines.join("\n"));
    let answers: Vec<String> = serde_json::from_str(&answers).unwrap_or_else(|_| panic!("{shell}: {answers} {errors}"));
    assert_eq!(answers.len(), lines.len());
    answers
}

/// What fish offers for each line.
pub fn fish(script: &Path, lines: &[String]) -> Vec<String> {
    let mut program = format!("source {}\n", script.display());
    for line in lines {
        program += &format!("complete -C '{line}'; echo ==\n");
    }
    let (answers, errors) = filter("fish", &["--no-config", "-c", &program], "");
    assert_eq!(errors, "");
    // The option comes first, its description may name others.
    let without_texts = |answer: &str| -> String {
        answer.lines().map(|line| line.split('\t').next().unwrap().to_owned() + "\n").collect()
    };
    let answers: Vec<String> = answers.split("==\n").map(without_texts).take(lines.len()).collect();
    assert_eq!(answers.len(), lines.len());
    answers
}
