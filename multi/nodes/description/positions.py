"""Where each key of a TOML file stands: `tomllib` tells values but no lines.

The scanner goes over text that `tomllib` has accepted, so it checks nothing; it follows the file's structure and notes lines.
"""

from __future__ import annotations

import re

Path = tuple[str | int, ...]

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\r\n]+")
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)", re.DOTALL)
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}


def positions(text: str) -> dict[Path, int]:
    """The line (from 1) of every key, table and array item, by its path: ("nodes", "w", "queues", 0)."""
    return _Scanner(text).run()


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[Path, int] = {}
        self.counts: dict[Path, int] = {}  # of arrays of tables
        self._line = 1
        self._counted = 0

    def run(self) -> dict[Path, int]:
        table: Path = ()
        while True:
            self._skip(_SPACE)
            if self.at >= len(self.text):
                return self.found
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Path:
        """`[a.b]` or `[[a.b]]`; the path of the table that it opens."""
        line = self._here()
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        names = self._dotted()
        self._skip(_BLANK)
        self.at += 2 if is_array else 1
        path: Path = ()
        for number, name in enumerate(names):
            path += (name,)
            if path in self.counts and not (is_array and number == len(names) - 1):
                path += (self.counts[path] - 1,)  # below the array's last item
            else:
                self.found.setdefault(path, line)
        if is_array:
            self.counts[path] = self.counts.get(path, 0) + 1
            path += (self.counts[path] - 1,)
        # a table that a longer name has opened before is where it stands itself
        self.found[path] = line
        return path

    def _pair(self, table: Path) -> None:
        """`a.b = value`."""
        line = self._here()
        path = table
        for name in self._dotted():
            path += (name,)
            self.found.setdefault(path, line)
        self._skip(_BLANK)
        self.at += 1  # the equals sign
        self._skip(_BLANK)
        self._value(path)

    def _value(self, path: Path) -> None:
        sign = self.text[self.at]
        if sign == "[":
            self.at += 1
            number = 0
            while self._more("]"):
                self.found[(*path, number)] = self._here()
                self._value((*path, number))
                number += 1
        elif sign == "{":
            self.at += 1
            while self._more("}"):
                self._pair(path)
        elif sign in "\"'":
            self._string()
        else:
            self._skip(_SCALAR)

    def _more(self, end: str) -> bool:
        """Go to the next item; False (and past the end) where there is none."""
        self._skip(_SPACE)
        if self.text[self.at] == ",":
            self.at += 1
            self._skip(_SPACE)
        if self.text[self.at] == end:
            self.at += 1
            return False
        return True

    def _dotted(self) -> list[str]:
        names = []
        while True:
            self._skip(_BLANK)
            if self.text[self.at] in "\"'":
                names.append(self._string())
            else:
                found = _BARE.match(self.text, self.at)
                assert found is not None  # tomllib has read it
                names.append(found[0])
                self.at = found.end()
            self._skip(_BLANK)
            if self.text[self.at] != ".":
                return names
            self.at += 1

    def _string(self) -> str:
        quote = self.text[self.at]
        if self.text.startswith(quote * 3, self.at):
            end = self.at + 3
            while not self.text.startswith(quote * 3, end):
                end += 2 if quote == '"' and self.text[end] == "\\" else 1
            while self.text.startswith(quote * 4, end):
                end += 1  # quotes before the closing ones belong to the text
            self.at = end + 3
            return ""  # never a key
        end = self.at + 1
        while self.text[end] != quote:
            end += 2 if quote == '"' and self.text[end] == "\\" else 1
        raw = self.text[self.at + 1 : end]
        self.at = end + 1
        return _ESCAPE.sub(_unescaped, raw) if quote == '"' else raw

    def _skip(self, what: re.Pattern[str]) -> None:
        found = what.match(self.text, self.at)
        if found is not None:
            self.at = found.end()

    def _here(self) -> int:
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line


def _unescaped(found: re.Match[str]) -> str:
    sign = found[1]
    return _ESCAPES[sign] if len(sign) == 1 else chr(int(sign[1:], 16))
