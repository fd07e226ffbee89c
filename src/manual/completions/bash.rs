//! Completions for bash, without the package bash-completion.

use core::fmt::Write;

use super::{identifier, options, words};
use crate::manual::table::{Command, Kind, Program};

/// The script.
pub fn script(program: &Program) -> String {
    let (name, function) = (program.name, identifier(program));
    let names: Vec<_> = program.names().collect();
    let mut script =
        format!("# Completions of {name} for bash, made by '{name} completions bash'.\n_{function}() {{\n");
    script += "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command= at word options= words=\n";
    // bash makes a word of the equals sign in --config=FILE.
    script +=
        "    [ \"$current\" != = ] || current=\n    [ \"$previous\" != = ] || previous=${COMP_WORDS[COMP_CWORD - 2]}\n";
    script += "    COMPREPLY=()\n    for ((at = 1; at < COMP_CWORD; at++)); do\n        case ${COMP_WORDS[at]} in\n";
    let _ = writeln!(script, "        {}) command=${{COMP_WORDS[at]}}; break ;;", names.join("|"));
    script += "        esac\n    done\n    case $command in\n";
    for command in program.commands {
        branch(&mut script, program, command.name, command);
    }
    if let Some(command) = program.default {
        branch(&mut script, program, "", command);
    }
    script += "    esac\n";
    let _ = writeln!(script, "    [ -n \"$command\" ] || words='{}'", names.join(" "));
    script += "    case $current in\n    -*) words=$options ;;\n    esac\n    while IFS= read -r word; do\n        \
               COMPREPLY+=(\"$word\")\n    done < <(compgen -W \"$words\" -- \"$current\")\n}\n";
    // Files. compopt fails outside of a completion, as in a test.
    let _ = write!(
        script,
        "_{function}_files() {{\n    local file\n    compopt -o filenames 2>/dev/null\n    while IFS= read -r file; do\n        \
         COMPREPLY+=(\"$file\")\n    done < <(compgen -f -- \"$1\")\n}}\ncomplete -F _{function} {name}\n"
    );
    script
}

/// The options and words of a command, and what its options take.
fn branch(script: &mut String, program: &Program, pattern: &str, command: &Command) {
    let function = identifier(program);
    let pattern = if pattern.is_empty() { "''" } else { pattern };
    let _ = writeln!(script, "    {pattern})\n        options='{}'", options(command));
    let (mut files, mut texts) = (Vec::new(), Vec::new());
    let mut lists = String::new();
    for option in command.options() {
        match option.kind() {
            None => {}
            Some(Kind::File) => files.push(format!("--{}", option.name)),
            Some(Kind::Text) => texts.push(format!("--{}", option.name)),
            Some(kind) => {
                let list = words(program, kind).unwrap_or_default();
                let _ = writeln!(lists, "        --{}) words='{list}' options='{list}' ;;", option.name);
            }
        }
    }
    let first = command.words.first().and_then(|kind| words(program, *kind));
    if files.is_empty() && texts.is_empty() && lists.is_empty() && first.is_none() {
        *script += "        ;;\n";
        return;
    }
    *script += "        case $previous in\n";
    if !files.is_empty() {
        let _ = writeln!(script, "        {}) _{function}_files \"$current\"; return ;;", files.join("|"));
    }
    if !texts.is_empty() {
        let _ = writeln!(script, "        {}) return ;;", texts.join("|"));
    }
    *script += &lists;
    if let Some(list) = first {
        let _ = writeln!(script, "        {}) words='{list}' ;;", command.name);
    }
    *script += "        esac\n        ;;\n";
}
