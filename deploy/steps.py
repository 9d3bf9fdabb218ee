"""What a deploy does, as values: commands, files, uploads, and the steps and plans made of them.

Nothing here touches a host. A plan is made of these values (`multi.deploy.planning.plan`), and carried out by a runner on a
`multi.deploy.base.Backend`: over SSH, or on the model of a fleet (`multi.deploy.connections.simulation`).
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from multi.nodes.spec import NodeSpec

MASK = "***"

#: When a step is due. PREPARE touches nothing that runs and is done on all hosts before any of them goes on; ONCE is done on
#: one host for the fleet (a migration); SWITCH goes batch by batch, with the health gate; FINISH is for what may fail
#: without harm.
PREPARE, ONCE, SWITCH, FINISH = "prepare", "once", "switch", "finish"
PHASES = (PREPARE, ONCE, SWITCH, FINISH)

#: What a step is about.
RUN, WRITE, REMOVE, LINK, UPLOAD, BUILD, HOOK, RELOAD = (
    "run",
    "write",
    "remove",
    "link",
    "upload",
    "build",
    "hook",
    "reload",
)
START, STOP, RESTART, GATE, GOOD, PRUNE = "start", "stop", "restart", "gate", "good", "prune"


class Secret:
    """A value that must not be seen. It is no text, so that joining or formatting it can't give it away."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not to be stored")


Word = str | Secret
_NO_ENV: Mapping[str, Word] = MappingProxyType({})
_NOTHING: Mapping[str, str] = MappingProxyType({})


def quote(word: Word, *, reveal: bool = False) -> str:
    """One word as a POSIX shell reads it back; a secret as its mask unless it is to be revealed."""
    if isinstance(word, Secret):
        return shlex.quote(word.reveal()) if reveal else MASK
    return shlex.quote(word)


def digest(content: str | bytes) -> str:
    """SHA-256, as sha256sum prints it."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


class Command(NamedTuple):
    """A program to be run on a host, by the words of its command line.

    `sudo`: as root, or as `user` where that is given; a `user` alone is reached through sudo too. `cwd` is entered before.
    Everybody on the host can read a command line, and the variables in `env` may be part of one: a secret belongs into
    `stdin` or a file. `timeout` in seconds; None: as long as it takes.
    """

    argv: tuple[Word, ...]
    sudo: bool = False
    user: str | None = None
    cwd: str | None = None
    env: Mapping[str, Word] = _NO_ENV
    stdin: bytes | None = None
    timeout: float | None = None

    def line(self, *, login: str = "", sudo: Sequence[str] = ("sudo", "-n"), reveal: bool = False) -> str:
        """The line for the host's shell. `login` is the user that the connection has; as that user, or as root, nothing
        is asked of sudo. Secrets are masked unless they are to be revealed."""
        words: list[str] = [*self._become(login, sudo)]
        if self.env:
            words.append("env")
            words += [
                f"{name}={quote(value, reveal=reveal)}" for name, value in self.env.items()
            ]  # names can be no more than identifiers
        words += [quote(word, reveal=reveal) for word in self.argv]
        line = " ".join(words)
        return f"cd {quote(self.cwd)} && {line}" if self.cwd is not None else line

    def _become(self, login: str, sudo: Sequence[str]) -> list[str]:
        wanted = self.user or ("root" if self.sudo else login)
        if wanted == login:
            return []
        if login == "root":
            return ["runuser", "-u", quote(wanted), "--"]  # sudo may not be installed there
        # directly before the program, so that a rule of sudoers for just this command line fits
        return [*map(quote, sudo), *(() if wanted == "root" else ("-u", quote(wanted)))]

    def __str__(self) -> str:
        return self.line()


class File(NamedTuple):
    """A file on a host, put there whole and at once (written beside, then renamed).

    With `backup`, a path, what was there before is kept there (nothing is, where there was nothing), so that `Restore`
    can bring it back.
    """

    path: str
    text: str | Secret
    mode: int = 0o644
    owner: str | None = None  # "user" or "user:group"
    sudo: bool = False
    backup: str | None = None

    @property
    def content(self) -> bytes:
        return (self.text.reveal() if isinstance(self.text, Secret) else self.text).encode()

    @property
    def digest(self) -> str:
        """SHA-256 of the content, as sha256sum prints it."""
        return digest(self.content)

    def __str__(self) -> str:
        return f"{self.path} ({len(self.content)} bytes, {self.mode:04o}{f', {self.owner}' if self.owner else ''})"


class Restore(NamedTuple):
    """Brings back what a `File` or `Remove` with this `backup` replaced: its former content, or its absence. Does nothing
    where the backup is not there (then it was not replaced)."""

    path: str
    backup: str
    sudo: bool = False

    def __str__(self) -> str:
        return f"{self.path} from {self.backup}"


class Remove(NamedTuple):
    """Takes a file or a folder away; it may be gone already."""

    path: str
    sudo: bool = False
    backup: str | None = None
    owner: str | None = None

    def __str__(self) -> str:
        return self.path


class Link(NamedTuple):
    """A symbolic link, made or changed in one step. `target` None: there is none."""

    path: str
    target: str | None
    owner: str | None = None

    def __str__(self) -> str:
        return f"{self.path} -> {self.target}" if self.target is not None else f"no {self.path}"


class Upload(NamedTuple):
    """The source of a release, into a folder of its own.

    Files that are the same in `base` (the folder of a release that is on the host) are taken from there and not sent.
    """

    into: str
    release: str
    digest: str
    base: str | None = None
    owner: str | None = None

    def __str__(self) -> str:
        return f"{self.into}{f', what is the same from {self.base}' if self.base else ''}"


class Build(NamedTuple):
    """A virtual environment from a file of requirements. `path` exists when it is complete, and only then."""

    path: str
    python: str
    installer: str  # "auto" (uv where it is, else pip), "uv" or "pip"
    requirements: str | None  # on the host; None: nothing but the wheel
    wheel: str | None = None
    owner: str | None = None

    def __str__(self) -> str:
        return f"{self.path} with {self.python}"


class Gate(NamedTuple):
    """These nodes are up, and stay so for `healthy` seconds, before `deadline` seconds have passed.

    `units` are their names with the unit manager. `multi` is the command on the host whose `status --json` is asked; None:
    the unit manager is. `command` is to succeed as well.
    """

    nodes: tuple[str, ...]
    manager: str
    units: tuple[str, ...]
    healthy: float
    deadline: float
    multi: str | None = None
    command: Command | None = None
    release: str | None = None  # the folder that their code is to be in
    folder: str | None = None  # where `multi` is asked; None: in the current release
    asked: tuple[NodeSpec, ...] = ()  # workers that Celery itself is asked about
    unseen: Mapping[str, str] = _NOTHING  # nodes of which only processes are seen, and why

    def __str__(self) -> str:
        also = f" and {self.command}" if self.command else ""
        return f"{', '.join(self.nodes)} up for {self.healthy:g} s{also}, within {self.deadline:g} s"


class Watch(NamedTuple):
    """What is looked at while a manager stops or starts nodes: these, by its names for them. They may take `stop` seconds to end,
    and are to be up `start` seconds after their start."""

    manager: str
    nodes: tuple[str, ...]
    units: tuple[str, ...]
    stop: float
    start: float


Do = Command | File | Restore | Remove | Link | Upload | Build | Gate


class Step(NamedTuple):
    """One thing to be done on one host, and why. `node` is the node that it changes, where it is one; `also` those that go
    with it at the same time."""

    host: str
    kind: str
    title: str
    reason: str
    do: Do
    phase: str = SWITCH
    node: str | None = None
    also: tuple[str, ...] = ()
    watch: Watch | None = None

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "host": self.host,
            "phase": self.phase,
            "kind": self.kind,
            "title": self.title,
            "reason": self.reason,
            "does": str(self.do),
        }
        if self.node is not None:
            found["node"] = self.node
        return found


class HostPlan(NamedTuple):
    """What is done on one host.

    `steps` stand in their order. `back` brings the host to what it was before, from any point of its SWITCH steps: done in
    order, and without harm where nothing had changed; those with a `node` only need to be done for nodes that a step has
    touched. `error` tells why nothing can be planned for it: it can't be reached, or lacks what is needed.
    """

    host: str
    current: str | None  # the release before, None where there is none
    steps: tuple[Step, ...] = ()
    back: tuple[Step, ...] = ()
    error: str | None = None
    notes: tuple[str, ...] = ()

    def of(self, phase: str) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.phase == phase)

    def switches_to(self, release: str) -> bool:
        """Whether it comes to run this release; one that has the same content under another name doesn't."""
        target = f"releases/{release}"
        return any(isinstance(step.do, Link) and step.do.target == target for step in self.of(SWITCH))


class Plan(NamedTuple):
    """What makes a fleet match its description and a release. `release` is that of all hosts afterwards; `refusal`: why it is not
    to be carried out unless somebody insists, "" where nothing speaks against it."""

    project: str
    release: str | None
    hosts: dict[str, HostPlan]
    batches: list[list[str]]
    once: tuple[Step, ...] = ()  # for the fleet, on one host, after all PREPARE and before any SWITCH
    notes: tuple[str, ...] = ()
    refusal: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.once and not any(host.steps for host in self.hosts.values())

    @property
    def errors(self) -> dict[str, str]:
        """Why nothing can be planned, by host."""
        return {name: host.error for name, host in self.hosts.items() if host.error is not None}

    def steps(self) -> Iterator[Step]:
        """All of them: host by host, what is done once between PREPARE and SWITCH."""
        for phase in PHASES:
            if phase == ONCE:
                yield from self.once
                continue
            for host in self.hosts.values():
                yield from host.of(phase)

    def json(self) -> dict[str, Any]:
        return {
            "project": self.project,
            "release": self.release,
            "changes": not self.is_empty,
            "batches": self.batches,
            "once": [step.json() for step in self.once],
            "hosts": {
                name: {
                    "current": host.current,
                    "error": host.error,
                    "notes": list(host.notes),
                    "steps": [step.json() for step in host.steps],
                }
                for name, host in self.hosts.items()
            },
            "notes": list(self.notes),
            "refused": self.refusal or None,
        }


def batches(hosts: Sequence[str], serial: Iterable[int | str]) -> list[list[str]]:
    """The hosts in batches of these sizes: numbers, or percentages of all of them; the last size holds for the rest."""
    left, found = list(hosts), []
    sizes = list(serial) or ["100%"]
    number = 0
    while left:
        size = batch_size(sizes[min(number, len(sizes) - 1)], len(hosts))
        found.append(left[:size])
        left = left[size:]
        number += 1
    return found


def batch_size(given: int | str, total: int) -> int:
    """A number of hosts, or the percentage of so many; a percentage of a few hosts is one of them."""
    return max(1, int(total * float(given.rstrip("%")) / 100) if isinstance(given, str) else given)
