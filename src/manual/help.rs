//! `--help`, in lines of at most [`WIDTH`] columns, also in a wide terminal or a pipe.

use super::table::{Command, ExitCode, Group, Program};

/// Columns of a line.
pub const WIDTH: usize = 100;
/// The column in which the text beside a name begins.
const TEXT: usize = 26;

/// The short help of a program: its commands and the options of most interest.
pub fn program(program: &Program) -> String {
    let name = program.name;
    let mut text = format!("{name}: {}\n\n", program.summary);
    for command in program.commands.iter().filter(|command| !command.row.is_empty()) {
        row(&mut text, &format!("{name} {}", command.row), command.summary);
    }
    row(&mut text, &format!("{name} COMMAND --help"), "help for a command");
    row(&mut text, &format!("{name} --version"), "the version");
    groups(&mut text, program.overview);
    paragraphs(&mut text, program.notes);
    paragraphs(&mut text, &[&exit_codes(program.codes)]);
    if program.shows_examples {
        text += "\nExamples:\n";
        for line in program.examples.iter().flat_map(|example| example.1) {
            text += &format!("  {line}\n");
        }
    }
    text
}

/// The help of a command.
pub fn command(program: &Program, command: &Command) -> String {
    let mut text = String::new();
    for usage in command.usage {
        wrap(&mut text, &format!("{} {usage}", program.name), 0, 4);
    }
    paragraphs(&mut text, command.text);
    groups(&mut text, command.groups);
    let codes = if command.codes.is_empty() { program.codes } else { command.codes };
    paragraphs(&mut text, &[&exit_codes(codes)]);
    text
}

fn groups(text: &mut String, groups: &[&Group]) {
    for group in groups {
        text.push('\n');
        if !group.heading.is_empty() {
            *text += &format!("{}:\n", group.heading);
        }
        for option in group.options {
            row(text, &format!("  {}", option.label()), option.text);
        }
    }
}

fn paragraphs(text: &mut String, paragraphs: &[&str]) {
    for paragraph in paragraphs {
        text.push('\n');
        wrap(text, paragraph, 0, 0);
    }
}

/// The exit codes in one sentence.
pub fn exit_codes(codes: &[ExitCode]) -> String {
    let codes: Vec<_> = codes.iter().map(|ExitCode(code, meaning)| format!("{code} ({meaning})")).collect();
    format!("Exit codes: {}.", codes.join(", "))
}

/// A name with the text beside it, or below it if the name is long.
fn row(text: &mut String, name: &str, meaning: &str) {
    let width = name.chars().count();
    let rest = if width + 2 > TEXT {
        *text += &format!("{name}\n");
        format!("{:TEXT$}", "")
    } else {
        format!("{name:TEXT$}")
    };
    let mut wrapped = String::new();
    wrap(&mut wrapped, meaning, TEXT, TEXT);
    *text += &rest;
    *text += wrapped.trim_start_matches(' ');
}

/// Appends a paragraph in lines of at most [`WIDTH`] columns, the first indented by `first`, the others by `others`.
fn wrap(text: &mut String, paragraph: &str, first: usize, others: usize) {
    let mut line = " ".repeat(first);
    let mut column = first;
    let mut is_empty = true;
    for word in paragraph.split(' ') {
        let width = word.chars().count();
        if !is_empty && column + 1 + width > WIDTH {
            *text += &line;
            text.push('\n');
            line = " ".repeat(others);
            (column, is_empty) = (others, true);
        }
        if !is_empty {
            line.push(' ');
            column += 1;
        }
        line += word;
        (column, is_empty) = (column + width, false);
    }
    *text += &line;
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_whole_and_lines_short() {
        let mut text = String::new();
        row(&mut text, "  --name VALUE", "text");
        row(&mut text, "  --a-very-long-name VALUE", "text");
        row(&mut text, "  --x", &"words ".repeat(30));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "  --name VALUE            text");
        assert_eq!(lines[1..3], ["  --a-very-long-name VALUE", "                          text"]);
        assert!(lines[4].starts_with("                          words"));
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{text}");
        // A word that is longer than a line is not cut.
        let mut text = String::new();
        wrap(&mut text, &format!("a {} b", "x".repeat(WIDTH)), 0, 2);
        assert_eq!(text, format!("a\n  {}\n  b\n", "x".repeat(WIDTH)));
    }
}
