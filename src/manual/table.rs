//! What a command line can have. The texts are plain: renderers find options and names of values in them.

use crate::spelling::nearest;

/// A program.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The name.
    pub name: &'static str,
    /// The section of its man page.
    pub section: u8,
    /// What it does, in one line without a full stop.
    pub summary: &'static str,
    /// The paragraphs of DESCRIPTION in the man page.
    pub description: &'static [&'static str],
    /// The commands, in the order of the help.
    pub commands: &'static [&'static Command],
    /// The command that runs if none is named.
    pub default: Option<&'static Command>,
    /// The options that its short help shows.
    pub overview: &'static [&'static Group],
    /// The paragraphs of the short help after the options. The man page has them too.
    pub notes: &'static [&'static str],
    /// The exit codes of all commands together.
    pub codes: &'static [ExitCode],
    /// Environment variables.
    pub environment: &'static [Item],
    /// Files.
    pub files: &'static [Item],
    /// Signals.
    pub signals: &'static [Item],
    /// Examples.
    pub examples: &'static [Example],
    /// Whether the short help shows the examples.
    pub shows_examples: bool,
    /// Other man pages: name and section.
    pub see_also: &'static [(&'static str, u8)],
}

/// A command, such as `relay notify`.
#[derive(Debug)]
pub struct Command {
    /// The name.
    pub name: &'static str,
    /// The command with its arguments, as the list of commands shows it.
    pub row: &'static str,
    /// What it does, for the list of commands.
    pub summary: &'static str,
    /// The ways to write it, without the name of the program.
    pub usage: &'static [&'static str],
    /// Paragraphs that explain it.
    pub text: &'static [&'static str],
    /// Its options. A group that several commands have is documented once in the man page.
    pub groups: &'static [&'static Group],
    /// What its arguments are, in their order.
    pub words: &'static [Kind],
    /// Its exit codes; none if the program's apply.
    pub codes: &'static [ExitCode],
}

/// Options that belong together.
#[derive(Debug)]
pub struct Group {
    /// The heading, without a colon.
    pub heading: &'static str,
    /// The options.
    pub options: &'static [Opt],
}

/// An option.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// The name, without dashes.
    pub name: &'static str,
    /// The one-letter name.
    pub short: Option<char>,
    /// Other names that the parser accepts. They are not documented.
    pub aliases: &'static [&'static str],
    /// Its value.
    pub takes: Takes,
    /// What it does.
    pub text: &'static str,
}

/// Whether an option has a value.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// It is a flag.
    Nothing,
    /// A value, with its name in the help.
    Value(&'static str, Kind),
    /// A value that can be left out.
    Optional(&'static str, Kind),
}

/// What a value or an argument is, for completions.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A text of which nothing is known.
    Text,
    /// The path of a file.
    File,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// The name of a command.
    Command,
}

/// An exit code and its meaning.
#[derive(Clone, Copy, Debug)]
pub struct ExitCode(pub u8, pub &'static str);

/// A name (of a variable, a file, a signal) and its meaning.
#[derive(Clone, Copy, Debug)]
pub struct Item(pub &'static str, pub &'static str);

/// An example: what it does, and the lines to type.
#[derive(Clone, Copy, Debug)]
pub struct Example(pub &'static str, pub &'static [&'static str]);

impl Opt {
    /// An option without a value.
    pub const fn flag(name: &'static str, text: &'static str) -> Opt {
        Opt { name, short: None, aliases: &[], takes: Takes::Nothing, text }
    }

    /// An option with a value.
    pub const fn value(name: &'static str, value: &'static str, text: &'static str) -> Opt {
        Opt { name, short: None, aliases: &[], takes: Takes::Value(value, Kind::Text), text }
    }

    /// An option whose value is the path of a file.
    pub const fn file(name: &'static str, text: &'static str) -> Opt {
        Opt { name, short: None, aliases: &[], takes: Takes::Value("FILE", Kind::File), text }
    }

    /// An option with a value of these.
    pub const fn one_of(
        name: &'static str,
        value: &'static str,
        values: &'static [&'static str],
        text: &'static str,
    ) -> Opt {
        Opt { name, short: None, aliases: &[], takes: Takes::Value(value, Kind::OneOf(values)), text }
    }

    /// Whether the parser accepts it under this name.
    pub fn is(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    /// What its value is; `None` for a flag.
    pub fn kind(&self) -> Option<Kind> {
        match self.takes {
            Takes::Nothing => None,
            Takes::Value(_, kind) | Takes::Optional(_, kind) => Some(kind),
        }
    }

    /// The option as it is typed, such as `--config FILE`.
    pub fn label(&self) -> String {
        let short = self.short.map(|short| format!("-{short}, ")).unwrap_or_default();
        match self.takes {
            Takes::Nothing => format!("{short}--{}", self.name),
            Takes::Value(value, _) => format!("{short}--{} {value}", self.name),
            Takes::Optional(value, _) => format!("{short}--{} [{value}]", self.name),
        }
    }
}

impl Command {
    /// All its options, with those that every command has.
    pub fn options(&self) -> impl Iterator<Item = &'static Opt> + Clone + use<> {
        self.groups.iter().flat_map(|group| group.options).chain(&GENERAL)
    }

    /// The option with this name.
    pub fn option(&self, name: &str) -> Option<&'static Opt> {
        self.options().find(|option| option.is(name))
    }

    /// The option that was probably meant by a name that it does not have.
    pub fn nearest_option(&self, name: &str) -> Option<&'static str> {
        nearest(name, self.options().map(|option| option.name).chain(["help"]))
    }
}

impl Program {
    /// The command with this name.
    pub fn command(&self, name: &str) -> Option<&'static Command> {
        self.commands.iter().find(|command| command.name == name).copied()
    }

    /// The command that was probably meant.
    pub fn nearest_command(&self, name: &str) -> Option<&'static str> {
        nearest(name, self.commands.iter().map(|command| command.name))
    }

    /// The names of all commands.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + Clone + use<> {
        self.commands.iter().map(|command| command.name)
    }

    /// The groups that several commands have, in the order in which they come first.
    pub fn shared_groups(&self) -> Vec<&'static Group> {
        let mut seen: Vec<(&'static Group, usize)> = Vec::new();
        for group in self.commands.iter().flat_map(|command| command.groups) {
            match seen.iter_mut().find(|(other, _)| core::ptr::eq(*other, *group)) {
                Some((_, count)) => *count += 1,
                None => seen.push((group, 1)),
            }
        }
        seen.into_iter().filter(|(_, count)| *count > 1).map(|(group, _)| group).collect()
    }
}

/// The options that every command of every program has.
pub static GENERAL: [Opt; 2] = [
    Opt { short: Some('h'), ..Opt::flag("help", "print the help of the command") },
    Opt { short: Some('V'), ..Opt::flag("version", "print the version") },
];
