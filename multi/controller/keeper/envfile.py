"""Environment files: lines KEY=VALUE, read afresh whenever a worker is started.

The common ground of systemd's EnvironmentFile and the .env files of compose. Blank lines and lines that begin with # or ;
are left out; `export` may stand before a name; spaces around a value go. A value may be in quotes, and then run over
several lines: 'single' ones are taken as they are; in "double" ones and outside of quotes a backslash takes away the
meaning of the next character, and at the end of a line joins it with the next; within double quotes \\n, \\r and \\t are what
they are in C. Outside of quotes a # after a space begins a comment. A dollar sign is a dollar sign: nothing is filled in.
A name alone means the variable of whoever starts the node, which it gets anyway.

Imported by the controller too, for `multi check`.
"""

from __future__ import annotations

import os
import stat

_LARGEST = 1 << 20
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_INNER = _LETTERS | frozenset("0123456789.-")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


class EnvFileError(Exception):
    """The message names the file and the line."""


def read(path: str) -> dict[str, str]:
    """The variables in the file at `path`; one that begins with "-" may be missing."""
    may_miss = path.startswith("-")
    path = path[1:] if may_miss else path
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        if may_miss:
            return {}
        raise EnvFileError(f"the environment file {path} is missing; put - before its name if it may be") from None
    except OSError as error:
        raise EnvFileError(f"the environment file {path} can't be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise EnvFileError(f"the environment file {path} is no plain file")
    with open(fd, "rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise EnvFileError(f"the environment file {path} is larger than 1 MB")
    # any bytes may be in an environment; the encoding is the one of os.environ
    return parse(data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape"), path)


def parse(text: str, path: str) -> dict[str, str]:
    """The variables in `text`; `path` is for error messages."""
    return _Reader(text.replace("\r\n", "\n"), path).variables()


class _Reader:
    def __init__(self, text: str, path: str) -> None:
        self.text = text
        self.path = path
        self.at = 0

    def fail(self, at: int, why: str) -> EnvFileError:
        return EnvFileError(f"{self.path}, line {self.text.count(chr(10), 0, at) + 1}: {why}")

    def variables(self) -> dict[str, str]:
        found: dict[str, str] = {}
        text = self.text
        while self.at < len(text):
            if text[self.at] in " \t\n":
                self.at += 1
            elif text[self.at] in "#;":
                self.at = self._end_of_line()
            else:
                self._assignment(found)
        return found

    def _end_of_line(self) -> int:
        end = self.text.find("\n", self.at)
        return len(self.text) if end < 0 else end

    def _assignment(self, found: dict[str, str]) -> None:
        start, line = self.at, self.text[self.at : self._end_of_line()]
        left, equals, _ = line.partition("=")
        words = left.split()
        if len(words) == 2 and words[0] == "export":
            words = words[1:]
        if len(words) != 1 or not (words[0][0] in _LETTERS and _INNER.issuperset(words[0])):
            raise self.fail(start, f"{left.strip()[:40]!r} is no variable's name; a line is NAME=VALUE")
        if not equals:
            self.at += len(line)
            return
        self.at += len(left) + 1
        value = self._value()
        if "\0" in value:
            raise self.fail(start, f"the value of {words[0]} holds a NUL character")
        found[words[0]] = value

    def _value(self) -> str:
        """What stands after the equals sign, up to the end of the line; quoted and plain parts may follow one another."""
        text = self.text
        parts: list[str] = []
        kept = 0  # so many of the parts are not to be stripped
        while self.at < len(text) and text[self.at] in " \t":
            self.at += 1
        while self.at < len(text) and (sign := text[self.at]) != "\n":
            if sign in "'\"":
                parts.append(self._quoted(sign))
                kept = len(parts)
                continue
            if sign == "#" and text[self.at - 1] in " \t":
                self.at = self._end_of_line()
                break
            self.at += 1
            if sign == "\\" and self.at < len(text):
                sign = text[self.at]
                self.at += 1
                if sign == "\n":
                    continue
                parts.append(sign)
                kept = len(parts)
            else:
                parts.append(sign)
        return "".join(parts[:kept]) + "".join(parts[kept:]).rstrip(" \t")

    def _quoted(self, quote: str) -> str:
        text, start = self.text, self.at
        parts: list[str] = []
        self.at += 1
        while self.at < len(text):
            sign = text[self.at]
            self.at += 1
            if sign == quote:
                return "".join(parts)
            if sign == "\\" and quote == '"' and self.at < len(text):
                sign = text[self.at]
                self.at += 1
                if sign == "\n":
                    continue
                if sign in '"\\$`':
                    parts.append(sign)
                else:
                    parts.append(_ESCAPES.get(sign, "\\" + sign))
            else:
                parts.append(sign)
        raise self.fail(start, f"the quote {quote} is not closed")
