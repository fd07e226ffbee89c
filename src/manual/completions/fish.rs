//! Completions for fish.

use core::fmt::Write;

use super::{brief, identifier, quoted, words};
use crate::manual::table::{Command, Kind, Program, Takes};

/// The script.
pub fn script(program: &Program) -> String {
    let (name, function) = (program.name, identifier(program));
    let names: Vec<_> = program.names().collect();
    let mut script = format!(
        "# Completions of {name} for fish, made by '{name} completions fish'.\n\
         # Whether the command that was typed is the given one; without an argument, whether there is none.\n\
         function __{function}_command\n    for word in (commandline -opc)[2..-1]\n        \
         if contains -- $word {}\n            test \"$word\" = \"$argv[1]\"\n            return\n        end\n    end\n    \
         test -z \"$argv[1]\"\nend\ncomplete -c {name} -f\n",
        names.join(" ")
    );
    for command in program.commands {
        let summary = quoted(command.summary);
        let _ = writeln!(script, "complete -c {name} -n __{function}_command -a {} -d {summary}", command.name);
    }
    if let Some(command) = program.default {
        options(&mut script, program, "", command);
    }
    for command in program.commands {
        options(&mut script, program, command.name, command);
        if let Some(list) = command.words.first().and_then(|kind| words(program, *kind)) {
            let condition = format!("__{function}_command {}", command.name);
            let _ = writeln!(script, "complete -c {name} -n {} -a {}", quoted(&condition), quoted(&list));
        }
    }
    script
}

fn options(script: &mut String, program: &Program, named: &str, command: &Command) {
    let condition = format!("__{}_command {named}", identifier(program));
    for option in command.options() {
        let _ = write!(script, "complete -c {} -n {} -l {}", program.name, quoted(condition.trim_end()), option.name);
        if let Some(short) = option.short {
            let _ = write!(script, " -s {short}");
        }
        match option.takes {
            Takes::Nothing => {}
            Takes::Value(_, Kind::File) => *script += " -rF",
            Takes::Value(_, kind) => {
                let list = words(program, kind).map(|list| format!(" -a {}", quoted(&list)));
                let _ = write!(script, " -x{}", list.unwrap_or_default());
            }
            Takes::Optional(..) => *script += " -F",
        }
        let _ = writeln!(script, " -d {}", quoted(brief(option.text)));
    }
}
