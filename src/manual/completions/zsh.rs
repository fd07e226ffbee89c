//! Completions for zsh. The script works as a file `_relay` in `fpath`, and when it is sourced after `compinit`.

use core::fmt::Write;

use super::{brief, identifier, quoted, words};
use crate::manual::table::{Command, Kind, Opt, Program, Takes};

/// The script.
pub fn script(program: &Program) -> String {
    let (name, function) = (program.name, identifier(program));
    let mut script = format!("#compdef {name}\n# Completions of {name} for zsh, made by '{name} completions zsh'.\n");
    let _ = writeln!(script, "_{function}() {{\n    local command= at\n    local -a commands=(");
    for command in program.commands {
        let _ = writeln!(
            script,
            "        {}",
            quoted(&format!("{}:{}", command.name, command.summary.replace(':', "\\:")))
        );
    }
    let names: Vec<_> = program.names().collect();
    let _ = write!(
        script,
        "    )\n    for ((at = 2; at < CURRENT; at++)); do\n        case $words[at] in\n        {}) command=$words[at]; break ;;\n        \
         esac\n    done\n    case $command in\n",
        names.join("|")
    );
    for command in program.commands {
        let _ = writeln!(script, "    {})", command.name);
        // _arguments expects the command in the place of the program.
        script += "        words[at]=()\n        ((CURRENT--))\n";
        arguments(&mut script, program, command);
    }
    script += "    *)\n        if [[ $words[CURRENT] != -* && $words[CURRENT-1] != --* ]]; then\n            \
               _describe -t commands command commands\n            return\n        fi\n";
    match program.default {
        Some(command) => arguments(&mut script, program, command),
        None => script += "        ;;\n",
    }
    script += "    esac\n}\n";
    let _ = writeln!(
        script,
        "if [[ $funcstack[1] == _{function} ]]; then\n    _{function} \"$@\"\nelse\n    compdef _{function} {name}\nfi"
    );
    script
}

fn arguments(script: &mut String, program: &Program, command: &Command) {
    *script += "        _arguments";
    for option in command.options() {
        let _ = write!(script, " \\\n            {}", argument(program, option));
    }
    for (number, kind) in command.words.iter().enumerate() {
        let list = words(program, *kind).map_or("( )".into(), |list| format!("({list})"));
        let _ = write!(script, " \\\n            '{}: :{list}'", number + 1);
    }
    *script += "\n        ;;\n";
}

/// An option as `_arguments` takes it. It may be repeated, because some may.
fn argument(program: &Program, option: &Opt) -> String {
    // Brackets and colons end a part of it.
    let escaped = |text: &str| text.replace(':', "\\:").replace('[', "\\[").replace(']', "\\]");
    let text = escaped(brief(option.text));
    let value = |name: &str, kind: Kind| match words(program, kind) {
        Some(list) => format!(":{}:({list})", escaped(name)),
        None if matches!(kind, Kind::File) => format!(":{}:_files", escaped(name)),
        None => format!(":{}: ", escaped(name)),
    };
    quoted(&match option.takes {
        Takes::Nothing => format!("*--{}[{text}]", option.name),
        Takes::Value(name, kind) => format!("*--{}=[{text}]{}", option.name, value(name, kind)),
        Takes::Optional(name, kind) => format!("*--{}=[{text}]:{}", option.name, value(name, kind)),
    })
}
