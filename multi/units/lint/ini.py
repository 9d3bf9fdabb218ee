"""Files of sections and keys, as systemd and supervisord have them, with the place of everything, so that a change leaves all
else as it is: comments, order, blank lines."""

from __future__ import annotations

import re
from typing import NamedTuple

from multi.units.lint.rules import Edit

_HEADER = re.compile(r"\s*\[([^\]]*)\]")
#: What stands between a key and its value: systemd knows the one, the parser of supervisord both, whichever comes first.
_EQUALS, _EITHER = re.compile("="), re.compile("[=:]")
#: What supervisord leaves out behind a value.
_COMMENT = re.compile(r"\s[;#]")


class Entry(NamedTuple):
    """One `key = value`. The value is as it is written, with its line breaks; `start` and `end` are its offsets. Keys of
    supervisord are in small letters, whatever they are written in."""

    section: str
    key: str
    value: str
    line: int
    start: int
    end: int
    #: where its first line begins, and where the line after its last one does
    first: int
    last: int


class Section(NamedTuple):
    """One section; `end` is the offset behind its last line that says something."""

    name: str
    line: int
    end: int


class Ini:
    """A file, read. `breaks` tells how a value goes on in the next line: by a backslash at the end of this one (systemd) or by
    blanks at the beginning of that (supervisord)."""

    def __init__(self, text: str, *, breaks: str) -> None:
        self.text = text
        self.newline = "\r\n" if "\r\n" in text else "\n"
        self.entries: list[Entry] = []
        self._made: set[str] = set()
        self._between = _EQUALS if breaks == "\\" else _EITHER
        self.sections: list[Section] = []
        lines = text.splitlines(keepends=True)
        starts, at = [], 0
        for line in lines:
            starts.append(at)
            at += len(line)
        starts.append(at)
        number = 0
        while number < len(lines):
            line = lines[number]
            head = _HEADER.match(line)
            if head is not None:
                self.sections.append(Section(head[1], number + 1, starts[number + 1]))
            elif line.strip() and line.lstrip()[0] not in "#;" and self._between.search(line) and self.sections:
                last = self._last(lines, number, breaks)
                self._add(starts, lines, number, last, breaks)
                number = last
            number += 1

    def _last(self, lines: list[str], number: int, breaks: str) -> int:
        """The last line of the value that begins in line `number`."""
        if breaks == "\\":
            while lines[number].rstrip("\r\n").endswith("\\") and number + 1 < len(lines):
                number += 1
                while lines[number].lstrip()[:1] in ("#", ";") and number + 1 < len(lines):
                    number += 1  # a comment in between
            return number
        while number + 1 < len(lines) and lines[number + 1][:1] in (" ", "\t") and lines[number + 1].strip():
            if lines[number + 1].lstrip()[0] in "#;":
                break
            number += 1
        return number

    def _add(self, starts: list[int], lines: list[str], first: int, last: int, breaks: str) -> None:
        section = self.sections[-1]
        between = self._between.search(lines[first])
        assert between is not None
        equals = starts[first] + between.start()
        start = equals + 1
        whole = self.text[start : starts[last + 1]]
        start += len(whole) - len(whole.lstrip(" \t"))
        value = whole.strip()
        if breaks != "\\":
            value = _COMMENT.split(value)[0].rstrip()  # the rest of the line is a comment
        key = self.text[starts[first] : equals].strip()
        self.entries.append(
            Entry(
                section.name,
                key if breaks == "\\" else key.lower(),
                value,
                first + 1,
                start,
                start + len(value),
                starts[first],
                starts[last + 1],
            )
        )
        self.sections[-1] = section._replace(end=starts[last + 1])

    def all(self, section: str, key: str) -> list[Entry]:
        """All entries of that key, in the order of the file; those before an empty one are taken back by it."""
        found: list[Entry] = []
        for entry in self.entries:
            if entry.section == section and entry.key == key:
                found = [*found, entry] if entry.value else []
        return found

    def get(self, section: str, key: str) -> Entry | None:
        """The entry that counts: the last one."""
        found = self.all(section, key)
        return found[-1] if found else None

    def line_of(self, section: str) -> int:
        """Where a section begins; 1 for one that isn't there."""
        return next((one.line for one in self.sections if one.name == section), 1)

    def put(self, section: str, key: str, value: str) -> Edit:
        """The edit that gives the key this value."""
        return self.put_all(section, {key: value})[0]

    def put_all(self, section: str, values: dict[str, str]) -> list[Edit]:
        """The edits that give these keys their values."""
        home = next((one for one in reversed(self.sections) if one.name == section), None)
        mark, new = " = " if self._is_spaced else "=", self.newline
        if home is None:
            # at the beginning, where nothing else is put; and once: whoever comes second finds it in the next round
            is_first = section not in self._made
            self._made.add(section)
            lines = "".join(f"{key}{mark}{value}{new}" for key, value in values.items())
            return [Edit(0, 0, f"[{section}]{new}{lines}{new}" if is_first else "")]
        edits = []
        for key, value in values.items():
            found = self.get(section, key)
            if found is not None:
                edits.append(Edit(found.start, found.end, value))
            else:
                begin = "" if self.text[: home.end].endswith("\n") else new
                edits.append(Edit(home.end, home.end, f"{begin}{key}{mark}{value}{new}"))
        return edits

    def remove(self, entry: Entry) -> Edit:
        """The edit that takes the entry away."""
        return Edit(entry.first, entry.last, "")

    @property
    def _is_spaced(self) -> bool:
        """Whether this file is written with blanks around its equals signs."""
        spaced = sum(1 for entry in self.entries if self.text[entry.first : entry.start].rstrip().endswith(" ="))
        return spaced > len(self.entries) / 2
