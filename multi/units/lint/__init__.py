"""Reads files of other managers that somebody has written, and says what in them will lose tasks.

`rules` is what is known; a module for each format finds it; `commands` tells what a command line runs. Findings carry the edits
that put them right: pieces of the text, so that everything else of a file stays as it is.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple, Protocol

from multi.errors import ConfigurationError
from multi.units.lint import compose, initd, kubernetes, supervisord, systemd
from multi.units.lint.rules import BROKEN, RULES, WEAK, Edit, Finding, Rule, applied, rule

__all__ = [
    "BROKEN",
    "FORMATS",
    "RULES",
    "WEAK",
    "Edit",
    "Finding",
    "Looked",
    "Rule",
    "fixed",
    "format_of",
    "look",
    "rule",
]

#: More rounds than edits can need that uncover each other.
_ROUNDS = 20


class _Format(Protocol):
    def examine(self, text: str, name: str, longest: float | None) -> list[Finding]: ...
    def runs_something(self, text: str, name: str) -> bool: ...


FORMATS: dict[str, _Format] = {
    "systemd": systemd,
    "supervisord": supervisord,
    "compose": compose,
    "kubernetes": kubernetes,
    "initd": initd,
}


class Looked(NamedTuple):
    """What came of a look at a file."""

    findings: list[Finding]
    format: str
    #: whether a worker was recognised at all
    has_workers: bool


def format_of(path: str, text: str) -> str:
    """Which format a file is in. Raises `ConfigurationError` where that can't be told."""
    name = os.path.basename(path)
    if name.endswith((".service", ".socket", ".timer", ".target")):
        return "systemd"
    if name.endswith(".json"):
        for key, form in (("apiVersion", "kubernetes"), ("services", "compose")):
            if re.search(rf'"{key}"\s*:', text):
                return form
    if name.endswith((".yaml", ".yml")):
        if re.search(r"^\s*\"?apiVersion\"?\s*:", text, re.MULTILINE):
            return "kubernetes"
        if re.search(r"^\"?services\"?\s*:", text, re.MULTILINE):
            return "compose"
    if re.search(r"^\[(program:|supervisord\]|group:|unix_http_server\])", text, re.MULTILINE):
        return "supervisord"
    if re.search(r"^\[Service\]", text, re.MULTILINE):
        return "systemd"
    if re.search(r"^apiVersion\s*:", text, re.MULTILINE):
        return "kubernetes"
    if re.search(r"^services\s*:", text, re.MULTILINE):
        return "compose"
    if text.startswith("#!") and re.search(r"### BEGIN INIT INFO|/etc/init\.d|\bstart\)", text):
        return "initd"
    raise ConfigurationError(
        f"{path}: this is none of the files that are understood: a unit of systemd, a configuration of supervisord, a compose "
        f"file, a pod or what makes pods, an init script. If it is one all the same, say which: --format {'|'.join(FORMATS)}"
    )


def look(text: str, path: str, format: str | None = None, longest: float | None = None) -> Looked:
    """What is wrong with a file, in the order of its lines. `longest` is how long (s) a task may take, where that is known."""
    name = os.path.basename(path)
    form = format or format_of(path, text)
    found = FORMATS[form].examine(text, name, longest)
    return Looked(
        sorted(found, key=lambda one: (one.line, one.rule.number)), form, FORMATS[form].runs_something(text, name)
    )


def fixed(text: str, path: str, format: str | None = None, longest: float | None = None) -> tuple[str, list[Finding]]:
    """The text with everything put right that can be, and what is left to be done by hand."""
    form = format or format_of(path, text)
    for _ in range(_ROUNDS):
        found = look(text, path, form, longest).findings
        edits = list(dict.fromkeys(edit for one in found for edit in one.edits))
        changed = applied(text, edits)
        if changed == text:
            return text, found
        text = changed
    raise AssertionError(f"{path}: the edits of these don't end: {sorted({one.rule.number for one in found})}")
