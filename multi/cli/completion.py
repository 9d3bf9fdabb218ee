"""Completion in bash, which takes `-c:w1` and `w1@host` apart at the colon and at the @: the line is read as a whole instead.

For the other shells click's own scripts do.
"""

from __future__ import annotations

import os
from typing import Any

from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string

_SOURCE = r"""
%(complete_func)s() {
    local IFS=$'\n'
    local completion response type value
    response=$(env COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" COMP_BREAKS="$COMP_WORDBREAKS" \
        %(complete_var)s=bash_complete "$1")
    COMPREPLY=()
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        if [[ $type == dir ]]; then
            compopt -o dirnames
        elif [[ $type == file ]]; then
            compopt -o default
        elif [[ $type == plain ]]; then
            COMPREPLY+=("$value")
            [[ $value == *[=:] ]] && compopt -o nospace
        fi
    done
    return 0
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """Reads the line itself, and answers with what is behind the last place at which bash has taken the word apart."""

    source_template = _SOURCE

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"]
        point = int(os.environ["COMP_POINT"])
        # bytes: that is what bash counts in some locales, and a place within a character is in none
        before = line.encode()[:point].decode("utf-8", "ignore") if len(line.encode()) != len(line) else line[:point]
        words = split_arg_string(before)
        incomplete = words.pop() if words[1:] and not before[-1:].isspace() else ""
        self._done = _apart(incomplete, os.environ.get("COMP_BREAKS", ""))
        self._before = ""
        spelling, equals, value = incomplete.partition("=")
        if equals and spelling.startswith("--") and ":" in spelling:
            # the value of an option for single nodes, as behind a space
            self._before = f"{spelling}="
            return [*words[1:], spelling], value
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem) -> str:
        value: Any = item.value
        return f"{item.type},{f'{self._before}{value}'.removeprefix(self._done)}"


def _apart(word: str, breaks: str) -> str:
    """What of a word stands on the line already, as bash sees it."""
    at = max((word.rfind(mark) for mark in breaks if not mark.isspace()), default=-1)
    return word[: at + 1]


def install() -> None:
    """Have click use it."""
    add_completion_class(Bash)
