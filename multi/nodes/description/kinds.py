"""The types that values in a description may have: what each accepts, how it says so, and its JSON schema."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from multi.errors import ConfigurationError
from multi.nodes.description.positions import Path
from multi.nodes.description.problems import Report, shown, suggestion
from multi.nodes.policy import parse_size, parse_span, signal_number

Schema = dict[str, Any]

# for editors; what is understood is told by multi.nodes.policy
_DURATION = r"^\s*(\d+(\.\d+)?\s*(ms|s|m|h|d|w)\s*)+$"
_SIZE = r"^\s*\d+(\.\d+)?\s*([kKmMgGtT][iI]?[bB]?|[bB])?\s*$"
_BAD: Any = object()


class Kind:
    """A type of values. What is sound in a list or a table of them is kept where the rest isn't, so that it can be checked
    further: all errors are told at once."""

    expected = "a value"
    named = "value"  # in the reference

    def read(self, value: object, path: Path, report: Report) -> Any:
        """The value as the program uses it; `BAD` when the report says why it can't be used."""
        raise NotImplementedError

    def schema(self) -> Schema:
        raise NotImplementedError

    def _bad(self, value: object, path: Path, report: Report) -> Any:
        report.expected(path, self.expected, value)
        return _BAD


BAD = _BAD


class Text(Kind):
    """A text that isn't empty."""

    named = "text"

    def __init__(self, expected: str = "a text", pattern: str | None = None, *, secret: bool = False) -> None:
        self.expected = expected
        self.pattern = pattern
        self.secret = secret

    def read(self, value: object, path: Path, report: Report) -> Any:
        if (
            isinstance(value, str)
            and value
            and "\0" not in value
            and re.fullmatch(self.pattern or ".*", value, re.DOTALL)
        ):
            return value
        report.expected(path, self.expected, value, secret=self.secret)
        return BAD

    def schema(self) -> Schema:
        found: Schema = {"type": "string", "minLength": 1}
        if self.pattern:
            # in a schema letters are ASCII ones unless all others are named
            pattern = self.pattern.replace(r"[^\W_]", r"[A-Za-z0-9\u0080-\uffff]").replace(
                r"\w", r"A-Za-z0-9_\u0080-\uffff"
            )
            found["pattern"] = f"^(?:{pattern})$"
        return found


class Flag(Kind):
    """true or false."""

    expected = "true or false"
    named = "true or false"

    def read(self, value: object, path: Path, report: Report) -> Any:
        return value if isinstance(value, bool) else self._bad(value, path, report)

    def schema(self) -> Schema:
        return {"type": "boolean"}


class Whole(Kind):
    """A whole number within limits; `words` are texts that are accepted in its place."""

    named = "whole number"

    def __init__(self, low: int = 0, high: int | None = None, words: tuple[str, ...] = ()) -> None:
        self.low, self.high, self.words = low, high, words
        span = f"of at least {low}" if high is None else f"from {low} to {high}"
        self.expected = f"a whole number {span}" + "".join(f' or "{word}"' for word in words)

    def read(self, value: object, path: Path, report: Report) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            if value >= self.low and (self.high is None or value <= self.high):
                return value
        elif value in self.words:
            return value
        return self._bad(value, path, report)

    def schema(self) -> Schema:
        found: Schema = {"type": "integer", "minimum": self.low}
        if self.high is not None:
            found["maximum"] = self.high
        return {"anyOf": [found, {"enum": list(self.words)}]} if self.words else found


class Share(Kind):
    """A number from 0 to 1."""

    expected = "a number from 0 to 1"
    named = "number"

    def read(self, value: object, path: Path, report: Report) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if is_number and 0 <= value <= 1 else self._bad(value, path, report)  # type: ignore[arg-type,operator]

    def schema(self) -> Schema:
        return {"type": "number", "minimum": 0, "maximum": 1}


class Duration(Kind):
    """A span of time: "90s", "1.5h", or a number of seconds."""

    expected = 'a time such as "90s", "10m", "1.5h" or a number of seconds'
    named = "time"

    def __init__(self, *, zero: bool = True) -> None:
        self.zero = zero

    def read(self, value: object, path: Path, report: Report) -> Any:
        seconds: float = -1
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value
        elif isinstance(value, str):
            try:
                seconds = parse_span(value)
            except ConfigurationError:
                pass  # reported below, as everything that is no time
        if not 0 <= seconds < 1e10:  # refuses nan too
            return self._bad(value, path, report)
        if not seconds and not self.zero:
            report.add(path, "should be longer than nothing; leave it out to do without")
            return BAD
        return int(seconds) if seconds == int(seconds) else seconds

    def schema(self) -> Schema:
        number: Schema = {"type": "number", "minimum": 0}
        return {"anyOf": [number, {"type": "string", "pattern": _DURATION}]}


class Size(Kind):
    """A number of bytes: "1.5GB", "500k", or a plain number. `unit` is what the result (and a plain number) counts."""

    named = "size"

    def __init__(self, unit: int = 1) -> None:
        self.unit = unit
        plain = "bytes" if unit == 1 else "KiB"
        self.expected = f'a size such as "1.5GB", "500MB" or a number of {plain}'

    def read(self, value: object, path: Path, report: Report) -> Any:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        if isinstance(value, str):
            try:
                return parse_size(value) // (1 if value.strip().isdecimal() else self.unit)
            except ConfigurationError:
                pass  # reported below
        return self._bad(value, path, report)

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": _SIZE}]}


class Choice(Kind):
    """One of a few words."""

    named = "one of"

    def __init__(self, *words: str, upper: bool = False) -> None:
        self.words = words
        self.upper = upper
        self.expected = "one of " + ", ".join(f'"{word}"' for word in words)

    def read(self, value: object, path: Path, report: Report) -> Any:
        if isinstance(value, str):
            word = value.upper() if self.upper else value
            if word in self.words:
                return value
            report.add(path, f"expected {self.expected}, not {shown(value)}{suggestion(word.lower(), self.words)}")
            return BAD
        return self._bad(value, path, report)

    def schema(self) -> Schema:
        return {"enum": [*self.words, *(word.lower() for word in self.words if self.upper)]}


class Texts(Kind):
    """A list of texts; a single text stands for a list of one, or with `commas` for its parts."""

    named = "list of texts"

    def __init__(self, expected: str = "a list of texts", *, commas: bool = False, dash: bool = False) -> None:
        self.expected = expected
        self.commas = commas
        self.dash = dash  # one may stand before a text, and is none by itself

    def read(self, value: object, path: Path, report: Report) -> Any:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",")] if self.commas else [value]
        if not isinstance(value, list):
            return self._bad(value, path, report)
        found = []
        for number, item in enumerate(value):
            if not isinstance(item, str) or not item or "\0" in item or (self.commas and "," in item):
                report.expected((*path, number), "a text" + (" without a comma" if self.commas else ""), item)
            elif self.dash and item == "-":
                report.expected((*path, number), "a file's name behind the dash", item)
            else:
                found.append(item)
        return found

    def schema(self) -> Schema:
        text = {"type": "string", "minLength": 1}
        return {"anyOf": [text, {"type": "array", "items": text}]}


class Words(Kind):
    """A command: a list of its words, or one text that is taken apart as a shell does (no shell runs it)."""

    expected = 'a command: a text such as "pg_isready -q" or a list of its words'
    named = "command"

    def read(self, value: object, path: Path, report: Report) -> Any:
        if isinstance(value, str):
            import shlex

            try:
                value = shlex.split(value)
            except ValueError as error:
                report.add(path, f"the command's quotes don't match ({error})")
                return BAD
        if not isinstance(value, list) or not value or not value[0]:
            return self._bad(value, path, report)
        for number, word in enumerate(value):
            if not isinstance(word, str) or "\0" in word:
                report.expected((*path, number), "a text", word)
                return BAD
        return value

    def schema(self) -> Schema:
        text = {"type": "string", "minLength": 1}
        return {"anyOf": [text, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}


class ShellLine(Words):
    """A command: a list of its words, or one text that is a line for the shell."""

    expected = 'a command: a line for the shell such as "make assets && make check", or a list of words'
    named = "line for the shell, or list of words"

    def read(self, value: object, path: Path, report: Report) -> Any:
        words = super().read(value, path, report)
        return ["sh", "-c", value] if isinstance(value, str) and words is not BAD else words


class Octal(Kind):
    """A file mode mask, as text: TOML's own numbers would hide whether it was meant octal."""

    expected = 'an octal number in quotes, from "000" to "777"'
    named = "octal number in quotes"

    def read(self, value: object, path: Path, report: Report) -> Any:
        if isinstance(value, str) and re.fullmatch(r"(0o)?[0-7]{1,4}", value) and int(value, 8) <= 0o777:
            return int(value, 8)
        return self._bad(value, path, report)

    def schema(self) -> Schema:
        return {"type": "string", "pattern": "^(0o)?0?[0-7]{1,3}$"}


class Signal(Kind):
    """A signal, by name or number; its name without SIG is the value."""

    expected = 'a signal such as "TERM" or "INT"'
    named = "signal"

    def read(self, value: object, path: Path, report: Report) -> Any:
        import signal

        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str):
            try:
                return signal.Signals(signal_number(value)).name.removeprefix("SIG")
            except ConfigurationError:
                pass  # reported below
        return self._bad(value, path, report)

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "string", "minLength": 1}, {"type": "integer", "minimum": 1}]}


class Env(Kind):
    """Variables of the environment. Their values are never shown."""

    expected = 'a table of variables, such as { TZ = "UTC" }'
    named = "table of texts"

    def read(self, value: object, path: Path, report: Report) -> Any:
        if not isinstance(value, dict):
            return self._bad(value, path, report)
        found = {}
        for name, item in value.items():
            at = (*path, name)
            if not name or "=" in name or "\0" in name:
                report.add(at, f"{name!r} can't be a variable's name")
            elif isinstance(item, bool) or not isinstance(item, str | int | float):
                report.expected(at, 'a text (write true as "1" or "true", as the program wants it)', item, secret=True)
            elif "\0" in str(item):
                report.add(at, "a variable can't hold a zero byte")
            else:
                found[name] = str(item)
        return found

    def schema(self) -> Schema:
        return {"type": "object", "additionalProperties": {"type": ["string", "number"]}}


class Entry(NamedTuple):
    """A key of a table that has a type of its own."""

    kind: Kind
    meaning: str


class Table(Kind):
    """A table with known keys."""

    named = "table"

    def __init__(self, example: str, **entries: Entry) -> None:
        self.expected = f"a table, such as {example}"
        self.entries = entries

    def read(self, value: object, path: Path, report: Report) -> Any:
        if not isinstance(value, dict):
            return self._bad(value, path, report)
        found = {}
        for name, item in value.items():
            at = (*path, name)
            if name not in self.entries:
                known = ", ".join(self.entries)
                report.add(at, f"there is no such key{suggestion(name, self.entries) or f'; there are {known}'}")
                continue
            read = self.entries[name].kind.read(item, at, report)
            if read is not BAD:
                found[name] = read
        return found

    def schema(self) -> Schema:
        properties = {
            name: {**entry.kind.schema(), "description": entry.meaning} for name, entry in self.entries.items()
        }
        return {"type": "object", "properties": properties, "additionalProperties": False}
