"""What is wrong with the command of a container, and what checks its health: the same for Compose and for Kubernetes."""

from __future__ import annotations

import json
import re
from typing import Any

from multi.units.lint import commands
from multi.units.lint.commands import MULTI, Work
from multi.units.lint.rules import RULES, Edit, Finding
from multi.units.lint.tree import Table, plain, yaml_module

_ASKS = re.compile(r"\bcelery\b.*?\b(inspect\s+\w+|status|control\s+\w+)\b", re.DOTALL)


def asks_broker(command: str) -> bool:
    """Whether a check loads the app and asks the broker."""
    return _ASKS.search(command.replace("'", "").replace('"', "")) is not None


def findings(container: Table, key: str, name: str, work: Work, copies: int) -> list[Finding]:
    """What is wrong with the command in `key`."""
    node = container.find(key)
    if node is None:
        return []
    found: list[Finding] = []
    line = int(node.start_mark.line) + 1

    def add(number: str, what: str, remedy: str, *edits: Edit | None) -> None:
        found.append(Finding(RULES[number], line, f"{name}: {what}", remedy, tuple(edit for edit in edits if edit)))

    own = container.own(key)
    words = _Words(container.text, node) if own is not None else None
    if work.role == MULTI or commands.option_in(work.raw, "--detach", "-D"):
        how = "celery multi start" if work.role == MULTI else "--detach"
        edit = words.without("--detach", "-D", has_value=False) if words and work.role != MULTI else None
        add("M101", f"{how}: the container ends when its first process does", "celery worker, in the foreground", edit)
    if commands.option_in(work.raw, "--pidfile") and not re.search(r"--pidfile=(?=['\"\s]|$)", work.raw):
        edit = words.without("--pidfile", has_value=True) if words else None
        add(
            "M104",
            "--pidfile: a container has no use for it",
            "leave --pidfile out (beat has one by itself: --pidfile=)",
            edit,
        )
    if commands.needs_exec(work):
        add(
            "M102",
            "the shell gets the signals, not the worker",
            "exec before the worker's command",
            words.with_exec() if words else None,
        )
    if work.has_beat and copies > 1:
        add("M103", f"-B: each of {copies} copies sends the schedule", "one container of its own for celery beat")
    return found


class _Words:
    """A command in YAML: one text, or a list of words."""

    def __init__(self, text: str, node: Any) -> None:
        self.text = text
        self.node = node

    @property
    def is_list(self) -> bool:
        return isinstance(self.node.value, list)

    def without(self, *spellings: str, has_value: bool) -> Edit | None:
        if not self.is_list:
            return self._scalar(commands.without_option(self.node.value, *spellings, has_value=has_value))
        words = [str(one.value) for one in self.node.value]
        for at, word in enumerate(words):
            if word.partition("=")[0] in spellings:
                last = at + 1 if has_value and "=" not in word and at + 1 < len(words) else at
                return self._without_items(at, last)
            if any(commands.option_in(word, one) for one in spellings) and " " in word:  # the script of a shell
                changed = commands.without_option(word, *spellings, has_value=has_value)
                return self._scalar(changed, self.node.value[at])
        return None

    def with_exec(self) -> Edit | None:
        if not self.is_list:
            changed = commands.with_exec(self.node.value)
            return None if changed is None else self._scalar(changed)
        words = [str(one.value) for one in self.node.value]
        script = commands.script_of(words) or (
            words[0] if len(words) == 1 else None
        )  # a shell in `command`, this in `args`
        changed = commands.script_with_exec(script) if script is not None else None
        if changed is None:
            return None
        return self._scalar(changed, self.node.value[words.index(str(script))])

    def _without_items(self, first: int, last: int) -> Edit:
        items = self.node.value
        if self.node.flow_style:
            begin = items[first - 1].end_mark.index if first else items[first].start_mark.index
            end = items[last].end_mark.index if first or last + 1 == len(items) else items[last + 1].start_mark.index
            return Edit(begin, end, "")
        begin = self.text.rfind("\n", 0, items[first].start_mark.index) + 1
        end = self.text.find("\n", items[last].end_mark.index)
        return Edit(begin, len(self.text) if end < 0 else end + 1, "")

    def _scalar(self, value: str, node: Any = None) -> Edit | None:
        """The edit that writes a text anew in its own style."""
        node = node or self.node
        start, end = node.start_mark.index, node.end_mark.index
        before = self.text[start:end]
        if node.style in ("|", ">"):
            return _within(before, str(node.value), value, start)
        if node.style == "'":
            return Edit(start, end, "'" + value.replace("'", "''") + "'")
        if node.style == '"' or not _is_plain(value):
            return Edit(start, end, json.dumps(value, ensure_ascii=False))
        return Edit(start, end, value)


def _within(written: str, before: str, after: str, at: int) -> Edit | None:
    """A change in a text of several lines, made where it is written: one stretch that is taken out, or put in."""
    head = 0
    while head < min(len(before), len(after)) and before[head] == after[head]:
        head += 1
    tail = 0
    while tail < min(len(before), len(after)) - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    if old:
        if written.count(old) != 1:
            return None
        place = written.index(old)
        return Edit(at + place, at + place + len(old), new)
    follows = before[head : head + 20].split("\n")[0]
    if not follows or written.count(follows) != 1:
        return None
    place = written.index(follows)
    return Edit(at + place, at + place, new)


def _is_plain(value: str) -> bool:
    """Whether YAML reads this as this text, without quotes."""
    yaml = yaml_module()
    try:
        node = yaml.compose(value)
    except yaml.YAMLError:
        return False
    return bool(node is not None and plain(node) == value and ": " not in value and " #" not in value)


def short(text: str) -> str:
    """A command for a message."""
    return text if len(text) <= 60 else f"{text[:57]}…"
