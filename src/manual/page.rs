//! The man page of a program, from its table.

use super::{
    help,
    roff::{Page, Text},
    table::{Command, ExitCode, GENERAL, Group, Item, Opt, Program, Takes},
};

/// The man page of a program. `date` is `YYYY-MM-DD`.
pub fn render(program: &Program, version: &str, date: &str) -> String {
    let manual = if program.section == 8 { "System Manager's Manual" } else { "User Commands" };
    let mut page = Page::new(program.name, program.section, date, &format!("{} {version}", program.name), manual);
    page.section("NAME");
    let mut name = Text::plain(program.name);
    // The form that mandb and apropos read.
    name.push(&Text::plain(" - "));
    name.push(&Text::plain(program.summary));
    page.paragraph(&name);
    page.section("SYNOPSIS");
    page.lines(program.commands.iter().flat_map(|command| command.usage).map(|usage| usage_line(program, usage)));
    page.section("DESCRIPTION");
    paragraphs(&mut page, program.description);
    paragraphs(&mut page, program.notes);
    let shared = program.shared_groups();
    page.section("COMMANDS");
    for command in program.commands {
        describe(&mut page, program, command, &shared);
    }
    page.section("OPTIONS");
    for group in &shared {
        page.part(heading(group));
        for option in group.options {
            item(&mut page, option);
        }
    }
    page.part("General");
    for option in &GENERAL {
        item(&mut page, option);
    }
    page.section("EXIT STATUS");
    codes(&mut page, program.codes);
    items(&mut page, "ENVIRONMENT", program.environment);
    items(&mut page, "FILES", program.files);
    items(&mut page, "SIGNALS", program.signals);
    if !program.examples.is_empty() {
        page.section("EXAMPLES");
        for example in program.examples {
            if !example.0.is_empty() {
                page.paragraph(&marked(example.0));
            }
            page.code(example.1.iter().copied());
        }
    }
    page.section("SEE ALSO");
    let mut others = Text::default();
    for (number, (name, section)) in program.see_also.iter().enumerate() {
        others.push(&Text::plain(if number == 0 { "" } else { ", " }));
        others.push(&Text::bold(name));
        others.push(&Text::plain(&format!("({section})")));
    }
    page.paragraph(&others);
    page.finish()
}

/// A command: its usage, its text, its own options, and the names of the others.
fn describe(page: &mut Page, program: &Program, command: &Command, shared: &[&'static Group]) {
    page.part(&format!("{} {}", program.name, command.name));
    page.lines(command.usage.iter().map(|usage| usage_line(program, usage)));
    paragraphs(page, command.text);
    let is_shared = |group: &Group| shared.iter().any(|other| core::ptr::eq(*other, group));
    for group in command.groups.iter().filter(|group| !is_shared(group)) {
        for option in group.options {
            item(page, option);
        }
    }
    let mut others = Text::default();
    for option in command.groups.iter().filter(|group| is_shared(group)).flat_map(|group| group.options) {
        others.push(&Text::plain(if others.is_empty() { "Options that are described below: " } else { ", " }));
        others.push(&Text::bold(&format!("--{}", option.name)));
    }
    if !others.is_empty() {
        others.push(&Text::plain("."));
        page.paragraph(&others);
    }
    if !command.codes.is_empty() {
        page.paragraph(&marked(&help::exit_codes(command.codes)));
    }
}

fn heading(group: &Group) -> &'static str {
    if group.heading.is_empty() { "Configuration" } else { group.heading }
}

fn item(page: &mut Page, option: &Opt) {
    let mut label = Text::default();
    if let Some(short) = option.short {
        label.push(&Text::bold(&format!("-{short}")));
        label.push(&Text::plain(", "));
    }
    label.push(&Text::bold(&format!("--{}", option.name)));
    let (before, value, after) = match option.takes {
        Takes::Nothing => ("", "", ""),
        Takes::Value(value, _) => (" ", value, ""),
        Takes::Optional(value, _) => (" [", value, "]"),
    };
    if !value.is_empty() {
        label.push(&Text::plain(before));
        label.push(&Text::italic(value));
        label.push(&Text::plain(after));
    }
    page.item(&label, &marked(&sentence(option.text)));
}

fn codes(page: &mut Page, codes: &[ExitCode]) {
    for ExitCode(code, meaning) in codes {
        page.item(&Text::bold(&code.to_string()), &marked(&sentence(meaning)));
    }
}

fn items(page: &mut Page, title: &str, items: &[Item]) {
    if items.is_empty() {
        return;
    }
    page.section(title);
    for Item(name, meaning) in items {
        page.item(&Text::bold(name), &marked(&sentence(meaning)));
    }
}

fn paragraphs(page: &mut Page, paragraphs: &[&str]) {
    for paragraph in paragraphs {
        page.paragraph(&marked(paragraph));
    }
}

fn usage_line(program: &Program, usage: &str) -> Text {
    let mut text = Text::bold(program.name);
    text.push(&Text::plain(" "));
    text.push(&marked(usage));
    text
}

/// A text of the table as a sentence: with a capital letter, unless the first word is a name, and a full stop.
fn sentence(text: &str) -> String {
    let first = text.split(' ').next().unwrap_or_default();
    let is_word = first.chars().all(|c| c.is_ascii_lowercase() || ",:-".contains(c)) && first != "relay";
    let mut sentence = String::new();
    for (number, c) in text.chars().enumerate() {
        sentence.push(if number == 0 && is_word { c.to_ascii_uppercase() } else { c });
    }
    if !sentence.ends_with(['.', ':']) {
        sentence.push('.');
    }
    sentence
}

/// A text of the table: options are bold, names of values italic.
fn marked(text: &str) -> Text {
    let mut marked = Text::default();
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut rest = text;
    while !rest.is_empty() {
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        if length == 0 {
            let length = rest.find(is_part).unwrap_or(rest.len());
            marked.push(&Text::plain(&rest[..length]));
            rest = &rest[length..];
            continue;
        }
        let (word, after) = rest.split_at(length);
        let is_option = word.len() > 2 && word.starts_with("--");
        let is_value = VALUES.contains(&word);
        marked.push(&match (is_option, is_value) {
            (true, _) => Text::bold(word),
            (_, true) => Text::italic(word),
            _ => Text::plain(word),
        });
        rest = after;
    }
    marked
}

/// Words in capitals that stand for something. Others are abbreviations and names of signals.
const VALUES: [&str; 24] = [
    "ADDR", "ARG", "BYTES", "COLUMN", "COMMAND", "DATA", "DAYS", "DIR", "EVENT", "FILE", "GROUP", "HOST", "ID", "KEY",
    "LINE", "MODE", "NAME", "OPTION", "PATH", "PORT", "ROOM", "ROOMS", "SIGN", "TOKEN",
];
