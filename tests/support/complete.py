"""Asks a real bash or zsh for completions, in a terminal as a person would: types each line of standard input and a tab, and
prints what the shell showed and completed, as a JSON list with a text for each line.

complete.py bash|zsh SCRIPT PROGRAM
"""

import json
import os
import pty
import re
import select
import sys
import time

PATIENCE = 60

shell, script, program = sys.argv[1:]
lines = sys.stdin.read().splitlines()
# The program is a function that shows its arguments, so that a completed line can be run.
setup = "%s() { printf '<%%s>' \"$@\"; echo; }\nPS1='$ '\n" % program
if shell == "bash":
    command = ["bash", "--norc", "--noprofile", "-i"]
    setup += "bind 'set show-all-if-ambiguous on' 'set enable-bracketed-paste off' 'set page-completions off'\n"
    setup += "bind 'set completion-query-items 0'\nsource %s\n" % script
else:
    command = ["zsh", "-f", "-i"]
    setup += "unsetopt ZLE_BRACKETED_PASTE PROMPT_SP PROMPT_CR\nunset zle_bracketed_paste\nLISTMAX=0\nsetopt NO_LIST_AMBIGUOUS\n"
    setup += "autoload -Uz compinit && compinit -u -D\nsource %s\n" % script

child, terminal = pty.fork()
if child == 0:
    os.environ.update(TERM="dumb", LC_ALL="C.UTF-8", COLUMNS="200", LINES="100", HISTFILE="/dev/null")
    os.execvp(command[0], command)

buffer = ""


def read_until(text):
    """What the shell writes, up to this text."""
    global buffer
    end = time.monotonic() + PATIENCE
    while text not in buffer:
        if time.monotonic() > end or not select.select([terminal], [], [], 1)[0] and os.waitpid(child, os.WNOHANG)[0]:
            sys.exit("%s did not write %r: %r" % (shell, text, buffer))
        if select.select([terminal], [], [], 0)[0]:
            buffer += os.read(terminal, 65536).decode(errors="replace")
    before, buffer = buffer.split(text, 1)
    return before


def send(text):
    os.write(terminal, text.encode())


# The words that mark the end of an answer are written in two parts, so that the echo of the line is not taken for it.
send(setup + "echo rea''dy\n")
read_until("\nready")
answers = []
for line in lines:
    # The tab first, alone: the shell completes before it reads on.
    send(line + "\t")
    # A second command on the same line runs what was completed. Ctrl-E: after the completion, wherever the cursor is.
    send("\x05; echo do''ne\n")
    answers.append(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", read_until("\ndone")))
print(json.dumps(answers))
send("exit\n")
