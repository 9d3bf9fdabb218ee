"""What is in a log: entries, each with a time and a level where they can be told, and all lines that belong to it.

Three forms are understood: multi's and Celery's lines (`[2026-11-21 10:00:00,123: INFO/MainProcess] …`), lines of JSON, and
whatever else a program prints, whose times and levels are found when they stand at the usual place.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

from multi.controller.keeper.cutting import MARK
from multi.log import LEVELS, mask_passwords

_HEADER = re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)[,.](\d{3}): ([A-Z]+)/([^\]]*)\] ?")
_ISO = re.compile(r"\[?(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(?:\s?(Z|[+-]\d\d:?\d\d))?")
_LEVEL = re.compile(r"\b(DEBUG|INFO|WARN(?:ING)?|ERROR|CRITICAL|FATAL)\b")
_TRACEBACK = "Traceback (most recent call last):"
_ERRORS = (_TRACEBACK, "Fatal Python error", "Exception in thread")
_LINKS = ("During handling of the above exception", "The above exception was the direct cause")
#: The names under which other programs' JSON has what ours calls time, level and message.
_TIMES, _LEVELS, _MESSAGES = ("time", "timestamp", "@timestamp", "ts"), ("level", "levelname", "severity"), ("message",)
LONGEST = 1000  #: lines of one entry
_KEEPER = "Keeper"


class Entry:
    """One entry. `when` is in seconds since the epoch, `level` a number of `logging`; None where they can't be told."""

    __slots__ = ("fields", "has_header", "level", "lines", "message", "process", "when")

    def __init__(self, line: str) -> None:
        self.lines = [line]
        self.when: float | None = None
        self.level: int | None = None
        self.process = ""
        self.message = line
        self.fields: dict[str, Any] | None = None  # of a line of JSON
        self.has_header = False
        found = _HEADER.match(line)
        if found is not None:
            self.has_header = True
            self.when = _seconds(found[1]) + int(found[2]) / 1000
            self.level = LEVELS.get(found[3])
            self.process = found[4]
            self.message = line[found.end() :]
        elif line.startswith("{") and line.rstrip().endswith("}"):
            self._read_json(line)
        else:
            self._guess(line)

    def _read_json(self, line: str) -> None:
        try:
            fields = json.loads(line)
        except ValueError:
            return
        if not isinstance(fields, dict):
            return
        self.fields = fields
        self.has_header = True
        stamp = next((fields[name] for name in _TIMES if name in fields), None)
        if isinstance(stamp, int | float):
            self.when = float(stamp)
        elif isinstance(stamp, str) and (found := _ISO.match(stamp)) is not None:
            self.when = _moment(found)
        level = next((fields[name] for name in _LEVELS if name in fields), None)
        self.level = LEVELS.get(str(level).upper())
        self.process = str(fields.get("process", ""))
        self.message = next((str(fields[name]) for name in _MESSAGES if name in fields), line)

    def _guess(self, line: str) -> None:
        found = _ISO.match(line)
        if found is not None:
            self.has_header = True
            self.when = _moment(found)
        word = _LEVEL.search(line[:80])
        if word is not None and (found is not None or line.startswith((word[0], f"[{word[0]}"))):
            self.level = LEVELS[word[0]]
            self.has_header = True
        elif line.startswith(_ERRORS):
            self.level = LEVELS["ERROR"]

    def takes(self, line: str) -> bool:
        """Whether a line that begins no entry of its own belongs to this one."""
        if len(self.lines) >= LONGEST:
            return False
        if self.has_header and self.process != _KEEPER and self.fields is None:
            return True
        if line[:1] in (" ", "\t"):
            return True
        return self.lines[0].startswith(_ERRORS) and (
            not line or line.startswith((*_LINKS, _TRACEBACK)) or self.lines[-1][:1] in (" ", "\t", "")
        )

    @property
    def text(self) -> list[str]:
        """Its lines for people: a line of JSON is spelled out."""
        fields = self.fields
        if fields is None or self.message is self.lines[0] or self.when is None:
            return self.lines
        millis = int(self.when % 1 * 1000 + 0.5) % 1000
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.when))
        level = next((str(fields[name]).upper() for name in _LEVELS if name in fields), "INFO")
        task = f"{fields['task_name']}[{fields.get('task_id')}]: " if fields.get("task_name") else ""
        whole = f"[{stamp},{millis:03d}: {level}/{self.process or '-'}] {task}{self.message}"
        for more in ("exception", "stack"):
            if fields.get(more):
                whole += f"\n{fields[more]}"
        return [*whole.split("\n"), *self.lines[1:]]

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        names = {number: name for name, number in reversed(LEVELS.items())}
        found: dict[str, Any] = {
            "time": iso(self.when) if self.when is not None else None,
            "level": names.get(self.level) if self.level is not None else None,
            "process": self.process or None,
            "message": "\n".join([self.message, *self.lines[1:]]),
        }
        if self.fields is not None:
            others = {*_TIMES, *_LEVELS, *_MESSAGES}
            found.update({name: value for name, value in self.fields.items() if name not in others})
        return found


def iso(when: float) -> str:
    """A moment as ISO 8601 has it, in local time, with milliseconds."""
    local = time.localtime(when)
    zone = time.strftime("%z", local)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{int(when % 1 * 1000):03d}{zone[:3]}:{zone[3:]}"


def entries(lines: Iterable[str]) -> Iterator[Entry]:
    """The entries that these lines are."""
    current: Entry | None = None
    for line in lines:
        entry = begins(line, current)
        if entry is None:
            continue
        if current is not None:
            yield current
        current = entry
    if current is not None:
        yield current


def begins(line: str, current: Entry | None) -> Entry | None:
    """The entry that this line begins; None when it was added to the current one, or tells of nothing but a rotation."""
    if MARK in line and _KEEPER in line:
        return None
    if "://" in line:
        line = mask_passwords(line)
    # most lines that begin none are told by their first character
    may_begin = line[:1] not in (" ", "\t", "")
    entry = Entry(line) if may_begin or current is None else None
    if current is not None and (entry is None or not entry.has_header) and current.takes(line):
        current.lines.append(line)
        return None
    return entry if entry is not None else Entry(line)


_last: tuple[str, float] = ("", 0.0)


def _seconds(stamp: str) -> float:
    """Local time as seconds; a log has many lines in each second."""
    global _last
    if _last[0] != stamp:
        try:
            _last = (stamp, time.mktime(time.strptime(stamp, "%Y-%m-%d %H:%M:%S")))
        except (ValueError, OverflowError):
            _last = (stamp, 0.0)
    return _last[1]


def _moment(found: re.Match[str]) -> float | None:
    fraction = float(f"0.{found[3]}") if found[3] else 0.0
    if found[4]:
        from datetime import datetime

        try:
            return datetime.fromisoformat(f"{found[1]}T{found[2]}{found[4]}").timestamp() + fraction
        except ValueError:
            return None
    return _seconds(f"{found[1]} {found[2]}") + fraction
