"""The command line of a Celery worker or beat, taken apart into keys."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping

from multi.errors import ConfigurationError
from multi.nodes import commandline
from multi.nodes import options as table
from multi.nodes.commandline import Scope
from multi.nodes.description.portrait import of_options
from multi.nodes.description.sources.base import Found
from multi.nodes.options import Value

KINDS = ("worker", "beat")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_SHELLS = ("sh", "bash", "dash")
#: Options that become keys, and the keys.
AS_KEYS = {
    "logfile": "log.file",
    "pidfile": "pidfile",
    "uid": "user",
    "gid": "group",
    "umask": "umask",
    "workdir": "directory",
    "executable": "python",
}
#: Those that say what holds for every node.
_NEEDLESS = ("detach", "no_color", "quiet")


class Program:
    """A command, unwrapped: without a shell around it, `exec`, `env A=b`."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.env: dict[str, str] = {}
        self.notes: list[str] = []
        while self._unwrap():
            pass

    def _unwrap(self) -> bool:
        words = self.words
        if not words:
            return False
        first = os.path.basename(words[0])
        if first in _SHELLS and len(words) == 3 and words[1] in ("-c", "-lc", "-ec"):
            try:
                inner = shlex.split(words[2])
            except ValueError:
                return False
            if any(set(word) & set("|&;<>`$") for word in inner):
                return False  # it takes a shell indeed
            self.words = inner
            return True
        if first == "exec" and len(words) > 1:
            self.words = words[1:]
            return True
        if first == "env" and len(words) > 1 and not words[1].startswith("-"):
            self.words = words[1:]
            return self._assignments() or True
        return self._assignments()

    def _assignments(self) -> bool:
        found = False
        while self.words and _ASSIGNMENT.match(self.words[0]):
            name, _, value = self.words[0].partition("=")
            self.env[name] = value
            self.words = self.words[1:]
            found = True
        return found

    def celery(self) -> tuple[str, list[str]] | None:
        """The interpreter ("" where it isn't told) and the arguments, when it is Celery's command."""
        words = self.words
        if not words:
            return None
        program = os.path.basename(words[0])
        if program == "celery":
            folder = os.path.dirname(words[0])
            return (os.path.join(folder, "python") if folder else ""), words[1:]
        if re.fullmatch(r"python[0-9.]*", program):
            if words[1:3] == ["-m", "celery"]:
                return words[0], words[3:]
            if len(words) > 1 and os.path.basename(words[1]) == "celery":
                return words[0], words[2:]
        return None


def take(found: Found, words: list[str], *, of_multi: bool = False) -> None:
    """Fill in the values of a node from its command: a Celery worker, a beat, or any other program."""
    program = Program(words)
    found.old = program.words
    if program.env:
        found.values["env"] = {**found.values.get("env", {}), **program.env}
    celery = program.celery()
    kind = _subcommand(celery[1]) if celery is not None else None
    if celery is None or kind not in KINDS:
        found.values |= {"kind": "command", "command": program.words}
        return
    python, arguments = celery
    try:
        line = commandline.parse(_without(arguments, kind), {}, is_worker=True)
        if line.names:
            raise ConfigurationError(f"{' '.join(line.names)}: words that are no options")
    except ConfigurationError as error:
        found.values |= {"kind": "command", "command": program.words}
        found.left.append(f"{found.name} is taken over as a program, not as a Celery {kind}: {error}")
        return
    found.values["engine"] = "celery"
    if kind == "beat":
        found.values["kind"] = "beat"
    if python:
        found.set("python", python)
    else:
        found.left.append(
            f"{found.name}: `celery` is looked for on the PATH; say in python whose it is, if that isn't multi's own"
        )
    fill(found, [line.common], kind, rest=line.rest, as_worker=not of_multi)


def fill(
    found: Found, scopes: list[Scope], kind: str, *, rest: list[str] | None = None, as_worker: bool = True
) -> None:
    """The values for these options. `as_worker`: %h and %d mean what they mean to Celery's worker, not to `celery multi`."""
    given = commandline.values(scopes, kind)
    options: dict[str, Value] = {}
    for name, value in given.items():
        spelling = _spelling(name)
        if name == "hostname":
            _take_hostname(found, str(value))
        elif name in AS_KEYS:
            text = str(value)
            if name in ("logfile", "pidfile"):
                if not text:
                    continue  # as --pidfile= , which asks for none
                text = _pattern(found, text) if as_worker else text
            found.set(AS_KEYS[name], text, spelling)
        elif name in _NEEDLESS:
            if name == "detach":
                found.became.append(f"{spelling}: nodes always run in the background")
        else:
            options[name] = value
    unknown = {name: value for name, value in options.items() if name.startswith("-")}
    found.values |= of_options({name: value for name, value in options.items() if name not in unknown})
    words = table.words(unknown)
    if rest:
        words += ["--", *rest]
    if words:
        found.values["args"] = words


def _take_hostname(found: Found, text: str) -> None:
    short, _, host = text.partition("@")
    if short and "%" not in short:
        found.name = short
    elif short and short not in ("%n", "%N"):
        found.left.append(f"{found.name}: the name {text} can't be filled in here; the node is called {found.name}")
    if host and host not in ("%h", "%%h"):
        found.set("hostname", host.replace("%n", "%n"))


def _pattern(found: Found, text: str) -> str:
    """To Celery's worker %h is the host, and %d its domain; in a pattern of multi they are the full name and the host."""
    if "%d" in text:
        found.left.append(f"{found.name}: %d in {text} was the domain, and is the host here")
    return re.sub(r"%(.)", lambda mark: {"h": "%d"}.get(mark[1], mark[0]), text)


def _subcommand(arguments: list[str]) -> str | None:
    """The first word that is neither an option nor the value of one."""
    takes = False
    for word in arguments:
        if takes:
            takes = False
        elif word.startswith("-"):
            option = table.by_spelling(word)
            takes = option is not None and option.metavar is not None
        else:
            return word
    return None


def _without(arguments: list[str], word: str) -> list[str]:
    at = arguments.index(word)
    return [*arguments[:at], *arguments[at + 1 :]]


def _spelling(name: str) -> str:
    option = table.by_name(name)
    return option.spellings[-1] if option is not None else name


def options_of(words: list[str]) -> dict[str, Value] | None:
    """The options of a Celery command line, by name, for comparing two; None for anything else."""
    program = Program(list(words))
    celery = program.celery()
    if celery is None:
        return None
    kind = _subcommand(celery[1])
    if kind not in KINDS:
        return None
    try:
        line = commandline.parse(_without(celery[1], kind), {}, is_worker=True)
    except ConfigurationError:
        return None
    found = commandline.values([line.common], kind)
    if line.rest:
        found["--"] = " ".join(line.rest)
    return found


def as_celery(words: list[str], launcher: str) -> list[str]:
    """The command line of a node of the engine celery, as one would type it."""
    if len(words) > 1 and words[1] == launcher:
        return [words[0], "-m", "celery", *words[2:]]
    return words


def differences(old: list[str], new: list[str]) -> list[str]:
    """What differs between two command lines of Celery, options that became keys aside; words where they are no Celery's."""
    before, after = options_of(old), options_of(new)
    if before is None or after is None:
        return [] if old == new else [f"{shlex.join(old)} -> {shlex.join(new)}"]
    lines = []
    for name in dict.fromkeys((*before, *after)):
        if name in AS_KEYS or name in _NEEDLESS:
            continue
        was, becomes = before.get(name), after.get(name)
        if name == "hostname" and was is not None and becomes is not None and _same_name(str(was), str(becomes)):
            continue
        if was != becomes:
            spelling = name if name.startswith("-") else _spelling(name)
            lines.append(f"{spelling}: {_shown(was)} -> {_shown(becomes)}")
    return lines


def _same_name(pattern: str, name: str) -> bool:
    short, _, host = pattern.partition("@")
    return name.partition("@")[0] == short and host in ("", "%h", name.partition("@")[2])


def _shown(value: Value | None) -> str:
    from multi.urls import mask

    if value is None:
        return "(not given)"
    return "given" if value is True else mask(str(value))


def expand(text: str, variables: Mapping[str, str], missing: list[str]) -> str:
    """`text` with $NAME, ${NAME} and ${NAME:-default} filled in; names without a value are added to `missing`."""

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        name = found["braced"] or found["bare"]
        if name in variables and (variables[name] or not (found["sign"] or "").startswith(":")):
            return variables[name]
        if found["sign"]:
            return found["default"] or ""
        missing.append(name)
        return found[0]

    pattern = r"\$\$|\$(?:\{(?P<braced>[A-Za-z_]\w*)(?:(?P<sign>:?-)(?P<default>[^}]*))?\}|(?P<bare>[A-Za-z_]\w*))"
    return re.sub(pattern, value, text)
