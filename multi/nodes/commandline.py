"""The words of a command for nodes, in the grammar of `celery multi`: names, options, options for single nodes.

    start w1 w2@%h -A proj -c 3 -c:w1 10 --loglevel:2=DEBUG -Q:1-2 images,video -E -- more words

`parse` takes the words apart, with a table that tells which option takes a value; `Line.scopes` says what of it concerns
which node. Where `celery multi` would guess wrong (it knows no options, so that a flag takes a node's name for its value,
and a long option's value becomes a node), the table decides, and what it can't decide is refused with the way to write it.
"""

from __future__ import annotations

import difflib
import re
import signal
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from multi.errors import ConfigurationError
from multi.nodes import options as table
from multi.nodes.names import Label, NodeName, expand_once
from multi.nodes.options import Value

_SIGNALS = {one.name for one in signal.Signals} | {one.name.removeprefix("SIG") for one in signal.Signals}
_RANGE = re.compile(r"(\d+)-(\d+)")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
#: What may stand for nodes behind a colon: names, numbers, ranges, several of them.
_NODES = re.compile(r"[\w.@%-]+(,[\w.@%-]+)*")
#: Three capitals or more behind a dash are meant as a signal, where one is taken.
_LIKE_SIGNAL = re.compile(r"[A-Z]{3,}[0-9+-]*")
#: No value of these has a colon in it.
_PLAIN = frozenset({"concurrency", "loglevel", "optimization"})
#: Those of these often have one, as in proj:app.
_WITH_COLON = frozenset({"app", "broker"})

#: Values that are no names and no paths: what looks like a mark in a password is none.
_LITERAL = frozenset({"broker", "result_backend"})
#: Paths in which the marks are filled in where they are used, since the way to them may hold a percent sign.
_PATTERNS = frozenset({"logfile", "pidfile", "workdir"})

#: How strongly a node is meant: by its short name, by its number, by its full name; each a bit more in a list or a range.
SHORT, NUMBER, FULL = 0, 2, 4

Scope = list["Given"]


class Given(NamedTuple):
    """One option, as it was given. `word` is the whole of it as it was typed, for messages."""

    spelling: str
    value: str | None  # None of a flag
    word: str
    is_own: bool = False  # an option of the command itself
    is_known: bool = True


class Line(NamedTuple):
    """A command line, taken apart. `single` has the options for single nodes, by what was written behind the colon."""

    names: list[str]
    common: Scope
    single: dict[str, Scope]
    rest: list[str] | None  # what follows `--`; None without one
    signal: str | None

    @property
    def everything(self) -> Scope:
        """All options, whatever node they are for."""
        return [*self.common, *(given for scope in self.single.values() for given in scope)]

    def scopes(self, labels: Sequence[Label], nodes: Sequence[NodeName]) -> list[list[Scope]]:
        """For each node the options that it has of its own, the weakest first.

        A list or a range wins over what is for one, a number over a name, a full name over all, as in `celery multi`; and
        of two alike the later one. Raises `ConfigurationError` for what is for no node.
        """
        found: list[list[tuple[int, Scope]]] = [[] for _ in nodes]
        known = [_Node(number, label, name) for number, (label, name) in enumerate(zip(labels, nodes, strict=True), 1)]
        for text, scope in self.single.items():
            for number, strength in _meant(text, scope[0], known).items():
                found[number - 1].append((strength, scope))
        return [[scope for _, scope in sorted(each, key=lambda pair: pair[0])] for each in found]


class _Node(NamedTuple):
    number: int
    label: Label
    name: NodeName

    @property
    def strengths(self) -> dict[str, int]:
        """The words that mean it, with their strength."""
        short, _, host = self.label.text.partition("@")
        full = {f"{short}@{host}", str(self.name)}
        return dict.fromkeys((short, self.name.short, self.label.typed), SHORT) | dict.fromkeys(full, FULL)


def parse(
    words: Sequence[str], own: Mapping[str, bool], *, takes_signal: bool = False, is_worker: bool = False
) -> Line:
    """Take the words apart. `own` has the spellings of the command's own options, and whether they take a value.

    With `is_worker` they are the options of one worker, in which no node is meant by a colon in `-Qa:b`.
    """
    line = _Parser(words, own, takes_signal, None).line
    # whether a colon within a word means nodes tell the names, all of which are known now
    return line if is_worker else _Parser(words, own, takes_signal, line.names).line


class _Parser:
    def __init__(
        self, words: Sequence[str], own: Mapping[str, bool], takes_signal: bool, names: list[str] | None
    ) -> None:
        self.own = own
        self.takes_signal = takes_signal
        self.names = names
        self.line = Line([], [], {}, None, None)
        self.left = list(words)
        while self.left:
            word = self.left.pop(0)
            if word == "--":
                self.line = self.line._replace(rest=self.left)
                break
            if not word:
                continue  # of a variable of the shell that is empty
            if word[0] != "-":
                self.line.names.append(word)
            elif word == "-":
                raise ConfigurationError("'-' is neither an option nor a node's name")
            elif takes_signal and _is_signal(word):
                self.line = self.line._replace(signal=word[1:])
            elif word.startswith("--"):
                self._long(word)
            else:
                if takes_signal:
                    self._refuse_like_signal(word)
                self._short(word)

    def _long(self, word: str) -> None:
        left, equals, value = word.partition("=")
        spelling, colon, single = left.partition(":")
        takes = self._takes_value(spelling)
        if equals:
            if takes is False:
                raise ConfigurationError(f"{word}: {spelling} takes no value")
            self._add(spelling, single if colon else None, value, word)
        elif takes is None:
            self._unknown(spelling, single if colon else None, word)
        else:
            self._add(spelling, single if colon else None, self._value(spelling, word) if takes else None, word)

    def _short(self, word: str, whole: str = "") -> None:
        """One word of short options: `whole` is what was typed, of which `word` is the rest behind the first flags."""
        whole = whole or word
        spelling, more = word[:2], word[2:]
        takes = self._takes_value(spelling)
        if takes is None:
            self._unknown_short(word)
            return
        if more.startswith(":"):
            single, equals, value = more[1:].partition("=")
            if takes and not equals:
                value = self._value(spelling, whole)
            elif equals and not takes:
                raise ConfigurationError(f"{word}: {spelling} takes no value")
            self._add(spelling, single, value if takes else None, whole)
        elif takes:
            if more:
                self._joined(spelling, more.removeprefix("="), whole)
            else:
                self._add(spelling, None, self._value(spelling, whole), whole)
        elif more.startswith("="):
            raise ConfigurationError(f"{word}: {spelling} takes no value")
        else:
            self._flags(word, whole)

    def _flags(self, word: str, whole: str) -> None:
        """A flag, or several in one word, the last of which may take a value: what it says of nodes is for all of them."""
        spelling, more = word[:2], word[2:]
        at = len(self.line.common)
        self._add(spelling, None, None, whole)
        if not more:
            return
        if self._takes_value(f"-{more[0]}") is None:
            raise ConfigurationError(f"{word}: {self._no_option(f'-{more[0]}')}")
        before = {text: len(scope) for text, scope in self.line.single.items()}
        self._short(f"-{more}", whole)
        for text, scope in self.line.single.items():
            if len(scope) > before.get(text, 0):
                scope.insert(before.get(text, 0), self.line.common.pop(at))

    def _joined(self, spelling: str, value: str, word: str) -> None:
        """A value in one word with its option. To `celery multi` what stands behind a colon in it is a node: -c10:w1."""
        option = table.by_spelling(spelling)
        left, colon, nodes = value.partition(":")
        if self.names is None or spelling in self.own or option is None or not colon or ":" in nodes:
            self._add(spelling, None, value, word)
            return
        here = {part for name in self.names for part in (name, name.partition("@")[0]) if not part.isdecimal()}
        parts = nodes.split(",")
        is_named = all(part in here for part in parts)
        is_meant = all(part in here or part.isdecimal() or _RANGE.fullmatch(part) for part in parts)
        may_be_value = option.name in _WITH_COLON
        if option.name in _PLAIN or (is_meant and not may_be_value):
            self._add(spelling, nodes, left, word)
        elif (may_be_value and not is_named) or not left or not _NODES.fullmatch(nodes):
            self._add(spelling, None, value, word)
        else:
            raise ConfigurationError(
                f"{word}: is this {value}, or {left} for {nodes}? Write {spelling} {value}, or {spelling}:{nodes} {left}"
            )

    def _refuse_like_signal(self, word: str) -> None:
        """Refuse what is meant as a signal and is none, before it is taken for an option that changes nothing."""
        letters = word[1:]
        flags = all(self._takes_value(f"-{letter}") is False for letter in letters)
        if flags or not (_LIKE_SIGNAL.fullmatch(letters) or letters.upper() in _SIGNALS):
            return
        known = sorted(name for name in _SIGNALS if not name.startswith("SIG"))
        near = difflib.get_close_matches(letters.upper().removeprefix("SIG"), known, 1, 0.7)
        takes = self._takes_value(word[:2])
        if takes and not near:
            return
        meant = f" (did you mean -{near[0]}?)" if near else ""
        value = f"; if {letters[1:]} is the value of {word[:2]}, write {word[:2]} {letters[1:]}" if takes else ""
        raise ConfigurationError(f"{word}: there is no such signal{meant}{value}")

    def _value(self, spelling: str, word: str) -> str:
        following = self.left[0] if self.left else None
        if following is None or following == "--" or (self._is_option(following) and not _NUMBER.fullmatch(following)):
            behind = "" if following is None else f", but {following} follows"
            behind += f"; if that is its value, write {word}={following}" if following not in (None, "--") else ""
            written = "" if word == spelling else f"{word}: "
            raise ConfigurationError(f"{written}{spelling} takes a value{behind}")
        return self.left.pop(0)

    def _unknown(self, spelling: str, single: str | None, word: str) -> None:
        """An option that isn't in the table, and may be one of the project's own."""
        following = self.left[0] if self.left else None
        if following and following[0] != "-":
            raise ConfigurationError(
                f"{word} {following}: {self._no_option(spelling)}. If it is one of your project's own, write its value as in "
                f"{word}={following}; if it takes none, put {following} before it"
            )
        self._add(spelling, single, None, word)

    def _unknown_short(self, word: str) -> None:
        following = self.left[0] if self.left else None
        left, colon, single = word.partition(":")
        if _is_signal(word):
            raise ConfigurationError(f"{word}: this command takes no signal, nor an option of that name")
        if following and following[0] != "-" and len(left) == 2:
            raise ConfigurationError(
                f"{word} {following}: {self._no_option(left)}. If it is one of your project's own, write its value as in "
                f"{left}{following}; if it takes none, put {following} before it"
            )
        value = left[2:] or None
        self._add(left[:2], single if colon else None, value, word)

    def _add(self, spelling: str, single: str | None, value: str | None, word: str) -> None:
        given = Given(spelling, value, word, spelling in self.own, self._takes_value(spelling) is not None)
        if single is None:
            self.line.common.append(given)
        elif not single:
            raise ConfigurationError(f"{word}: which nodes? Name them behind the colon, as in {spelling}:w1")
        else:
            self.line.single.setdefault(single, []).append(given)

    def _takes_value(self, spelling: str) -> bool | None:
        """Whether it does; None of an option that nobody knows."""
        if spelling in self.own:
            return self.own[spelling]
        option = table.by_spelling(spelling)
        return None if option is None else option.metavar is not None

    def _is_option(self, word: str) -> bool:
        if not word.startswith("-") or word == "-" or " " in word:
            return False
        spelling = re.split("[:=]", word, maxsplit=1)[0]
        return self._takes_value(spelling) is not None or (
            word[1] != "-" and self._takes_value(word[:2]) is not None and not _NUMBER.fullmatch(word)
        )

    def _no_option(self, spelling: str) -> str:
        return no_option(spelling, self.own)


def _is_signal(word: str) -> bool:
    return word[1:].isdecimal() or word[1:] in _SIGNALS


def no_option(spelling: str, own: Mapping[str, bool]) -> str:
    """That there is no such option, with the one that may be meant."""
    known = [*own, *table.spellings()]
    if spelling.startswith("--"):
        long = [one[2:] for one in known if one.startswith("--")]
        near = [f"--{one}" for one in difflib.get_close_matches(spelling[2:], long, 1, 0.7)]
    else:
        near = [one for one in known if one == spelling.swapcase()]
    return f"there is no option {spelling}" + (f" (did you mean {near[0]}?)" if near else "")


def _meant(text: str, first: Given, nodes: Sequence[_Node]) -> dict[int, int]:
    """The numbers of the nodes that are meant by what stands behind a colon, each with how strongly."""
    found: dict[int, int] = {}
    parts = text.split(",")
    for part in parts:
        for number, strength in _part(part, first, nodes).items():
            several = len(parts) > 1 or (strength == NUMBER and not part.isdecimal())
            found[number] = max(found.get(number, 0), strength + several)
    return found


def _part(part: str, first: Given, nodes: Sequence[_Node]) -> dict[int, int]:
    if not part.isdecimal():
        filled = {node.number: node.strengths[part] for node in nodes if part in node.strengths}
        if filled:
            return filled
    if (found := _RANGE.fullmatch(part)) or part.isdecimal():
        low, high = (int(found[1]), int(found[2])) if found else (int(part), int(part))
        numbers = {node.number: NUMBER for node in nodes if low <= node.number <= high}
        if numbers and low >= 1:
            return numbers
        what = "number 0: they are counted from 1" if low < 1 else f"number {part}"
        if found and low > high:
            what = f"in {part}: write the smaller number first"
        raise ConfigurationError(f"{first.word}: there is no node {what}; {_those(nodes)}")
    if not part:
        raise ConfigurationError(f"{first.word}: a comma too many: before or behind one of them stands no node")
    raise ConfigurationError(f"{first.word}: no node is called {part}; {_those(nodes)}")


def _those(nodes: Sequence[_Node]) -> str:
    if not nodes:
        return "there are none here"
    names = ", ".join(node.name.short for node in nodes[:8])
    more = f" and {len(nodes) - 8} more" if len(nodes) > 8 else ""
    return f"there {'is' if len(nodes) == 1 else 'are'} {len(nodes)}: {names}{more}"


# ---- what follows from it for a node


def values(scopes: Sequence[Scope], kind: str = "worker") -> dict[str, Value]:
    """The options of the worker in these scopes, by name; the later scope wins.

    An option that isn't in the table is under its spelling, with all its values when it was repeated.
    """
    found: dict[str, Value] = {}
    for scope in scopes:
        here: dict[str, Value] = {}
        for given in scope:
            if given.is_own:
                continue
            option = table.by_spelling(given.spelling, kind)
            value: str | bool = True if given.value is None else given.value
            if option is None:
                before = here.get(given.spelling)
                listed = before if isinstance(before, list) else [str(before)] if isinstance(before, str) else []
                here[given.spelling] = [*listed, value] if listed and isinstance(value, str) else value
            elif option.is_list and isinstance(before := here.get(option.name), str):
                here[option.name] = ",".join(filter(None, (before, str(value))))
            else:
                here[option.name] = value
        found.update(here)
    return found


def expanded(given: Mapping[str, Value], name: NodeName) -> dict[str, Value]:
    """The same with the marks filled in for a node, in names and paths: not in URLs, nor in the patterns of its files."""
    return {option: _expanded(option, value, name) for option, value in given.items()}


def _expanded(option: str, value: Value, name: NodeName) -> Value:
    if option in _LITERAL or option in _PATTERNS:
        return value
    if isinstance(value, list):
        return [str(_expanded(option, one, name)) for one in value]
    return expand_once(value, name) if isinstance(value, str) and "://" not in value else value


def own_words(scopes: Sequence[Scope]) -> list[str]:
    """The command's own options in these scopes, as words that any parser takes apart in the same way."""
    found: list[str] = []
    for given in (given for scope in scopes for given in scope if given.is_own):
        if given.value is None:
            found.append(given.spelling)
        elif given.spelling.startswith("--"):
            found.append(f"{given.spelling}={given.value}")
        else:
            found += [given.spelling, given.value]
    return found


def unknown(scopes: Sequence[Scope]) -> list[Given]:
    """Those that are in no table."""
    return [given for scope in scopes for given in scope if not given.is_known]
