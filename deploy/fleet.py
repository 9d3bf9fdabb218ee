"""Nodes on many hosts, steered without releases: for code that comes to the hosts another way.

A host is asked for its nodes by its own `multi status`, and told what to do by its own `multi`; one without multi by its unit
manager. Nodes go in waves, each ready before the next, and never the last one that consumes a queue.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from multi.deploy.base import Backend, Result, Session
from multi.deploy.hosts.inventory import Host
from multi.deploy.hosts.settings import KEEPER
from multi.deploy.members import Member, Place, look
from multi.deploy.planning.managers import NoManager, choose
from multi.deploy.rollout import health
from multi.deploy.rollout.operation import each
from multi.deploy.rollout.report import BEGIN, END, FAULT, LINE, PHASE, Event, Tell
from multi.deploy.steps import Command, Gate, batches
from multi.errors import ConfigurationError, DeployError, HostUnreachable, MultiError, NodeError, StepFailed
from multi.topology import is_own

#: The last line of a traceback.
_ERROR = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception|Exit|NotFound)\b: \S")


class Outcome(NamedTuple):
    """What has become of nodes, by `Member.full`: "" where it is as was asked, else why not. `untouched` were not reached."""

    results: dict[str, str]
    untouched: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.untouched and not any(self.results.values())

    def json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "nodes": {name: {"ok": not text, "reason": text or None} for name, text in self.results.items()},
            "untouched": list(self.untouched),
        }


class Fleet:
    """The nodes of these hosts. `lost` are hosts that can't be asked, with the reason."""

    def __init__(
        self,
        hosts: Iterable[Host],
        backend: Backend,
        tell: Tell,
        *,
        project: str = "",
        program: str = "",
        password: bool = False,
        max_parallel: int = 20,
    ) -> None:
        self.backend = backend
        self.project = project
        self.cancel = threading.Event()
        self._tell = tell
        self._password = password
        self._max_parallel = max_parallel
        found = each(backend, hosts, lambda session: look(session, project, program), max_parallel)
        self.places = {name: place for name, place in found.items() if isinstance(place, Place)}
        self.lost = {name: error for name, error in found.items() if isinstance(error, MultiError)}

    @property
    def members(self) -> list[Member]:
        return [member for place in self.places.values() for member in place.members]

    def select(self, patterns: Sequence[str], hosts: Iterable[str] | None = None) -> list[Member]:
        """The nodes that these patterns mean, on these hosts (all); `NodeError` for a pattern that means none."""
        wanted = set(self.places if hosts is None else hosts)
        there = [member for member in self.members if member.host in wanted]
        for pattern in patterns:
            if not any(fnmatchcase(member.name, pattern) for member in there):
                names = sorted({member.name for member in there})
                known = f"there are {', '.join(names[:20])}" if names else "no nodes are known there"
                raise NodeError(f"{pattern}: no node has such a name; {known}")
        return [one for one in there if not patterns or any(fnmatchcase(one.name, text) for text in patterns)]

    # ---- what queues keep

    def uncovered(self, going: Iterable[Member]) -> dict[str, list[str]]:
        """The queues that would have no consumer without these nodes, and the nodes that are their last ones."""
        gone = {member.full for member in going}
        consumers: dict[str, list[str]] = {}
        for member in self.members:
            for queue in member.consumes:
                if is_own(queue, str(member.told.get("node") or member.name)):
                    continue  # nobody else could consume from it
                consumers.setdefault(queue, []).append(member.full)
        return {queue: names for queue, names in consumers.items() if gone.issuperset(names)}

    def guard(self, going: Sequence[Member], verb: str = "restart") -> None:
        """Refuse to take away a queue's last consumers."""
        found = self.uncovered(going)
        if found:
            told = "; ".join(f"{' and '.join(names)} would leave the queue {queue!r}" for queue, names in found.items())
            way = "; to load new code without a gap use: multi fleet reload" if verb == "restart" else ""
            raise NodeError(f"refused: {told} without a consumer in the fleet. To do it all the same add --force{way}")

    # ---- doing

    def waves(self, members: Sequence[Member], batch: int | str) -> list[list[Member]]:
        """Who goes at the same time: one node of each host of a batch."""
        hosts = list(dict.fromkeys(member.host for member in members))
        found = []
        for group in batches(hosts, [batch]):
            of_host = [[member for member in members if member.host == host] for host in group]
            most = max(map(len, of_host))
            found += [[nodes[number] for nodes in of_host if number < len(nodes)] for number in range(most)]
        return found

    def roll(
        self,
        verb: str,
        members: Sequence[Member],
        *,
        batch: int | str = 1,
        healthy: float = 5.0,
        deadline: float = 120.0,
        force: bool = False,
        dry: bool = False,
    ) -> Outcome:
        """Restart, reload or start nodes wave by wave, each healthy before the next; what fails ends it. `dry`: only tell the
        waves."""
        waves = self.waves(members, batch)
        if verb == "restart" and not force:
            for wave in waves:
                self.guard(wave)
        results: dict[str, str] = {}
        for number, wave in enumerate(waves, 1):
            if self.cancel.is_set():
                break
            title = ", ".join(member.full for member in wave)
            self._tell(Event(PHASE, "", f"{number} of {len(waves)}: {title}" if len(waves) > 1 else title))
            if dry:
                continue
            results |= self._all(verb, wave, (), healthy, deadline)
            if any(results.values()):
                break
        return Outcome(results, () if dry else tuple(one.full for one in members if one.full not in results))

    def all_at_once(self, verb: str, members: Sequence[Member], words: Sequence[str] = ()) -> Outcome:
        """Stop, pause or resume nodes on all hosts at the same time."""
        return Outcome(self._all(verb, members, words, None, 0.0))

    def _all(
        self, verb: str, members: Sequence[Member], words: Sequence[str], healthy: float | None, deadline: float
    ) -> dict[str, str]:
        hosts = [self.places[name].host for name in dict.fromkeys(member.host for member in members)]

        def one(session: Session) -> None:
            mine = [member for member in members if member.host == session.host.name]
            self._one(session, verb, mine, words, healthy, deadline)

        found = each(self.backend, hosts, one, self._max_parallel)
        results = {}
        for member in members:
            error = found[member.host]
            is_bad = isinstance(error, MultiError)
            results[member.full] = str(getattr(error, "reason", None) or error) if is_bad else ""
        return results

    def _one(
        self,
        session: Session,
        verb: str,
        members: Sequence[Member],
        words: Sequence[str],
        healthy: float | None,
        deadline: float,
    ) -> None:
        host = session.host.name
        title = f"{verb} {', '.join(member.name for member in members)}"
        self._tell(Event(BEGIN, host, title))
        place = self.places[host]
        try:
            for command in self._commands(place, verb, members, words):
                result = session.run(command, lambda line: self._tell(Event(LINE, host, line)))
                if _wants_password(command, result) and verb == "reload":
                    # a node's own user may have its keeper reload it, whoever runs that
                    result = session.run(
                        command._replace(sudo=False, user=place.host.settings.owner_user),
                        lambda line: self._tell(Event(LINE, host, line)),
                    )
                if result.code is None:
                    raise HostUnreachable(host, f"{title}: {result.err}")
                if _wants_password(command, result) and verb != "reload":
                    why = f"its nodes are root's to {verb} ({', '.join({member.run_by: None for member in members})})"
                    raise StepFailed(
                        host, title, f"{why}, and sudo wants a password; give it with --ask-sudo-password", result.tail
                    )
                if not result.ok:
                    raise StepFailed(host, title, f"exit code {result.code}: {reason(result)}", result.tail)
            if healthy is not None:
                gate = self._gate(place, members, healthy, deadline)
                health.wait(session, gate, lambda line: self._tell(Event(LINE, host, line)), self.cancel)
        except MultiError as error:
            self._tell(Event(FAULT, host, f"{title}: {getattr(error, 'reason', error)}"))
            raise
        self._tell(Event(END, host, title))

    def _commands(self, place: Place, verb: str, members: Sequence[Member], words: Sequence[str]) -> list[Command]:
        """What is run on the host. Nodes of its own unit manager are root's to steer."""
        settings = place.host.settings
        if place.multi is None:
            return [self._by_manager(place, verb, member) for member in members]
        names = tuple(member.name for member in members)
        own = {"stop": "stopwait"}.get(verb, verb)
        forced = ("--force",) if verb in ("restart", "stop", "pause") else ()  # the fleet was asked before
        as_root = any(member.run_by != KEEPER for member in members) and verb not in ("pause", "resume")
        user = None if as_root and settings.sudo else settings.owner_user
        argv = (place.multi, own, *names, "--nosplash", *forced, *words)
        return [Command(argv, sudo=as_root and settings.sudo, user=user, cwd=place.folder)]

    def _by_manager(self, place: Place, verb: str, member: Member) -> Command:
        assert place.facts is not None
        try:
            manager = choose(place.facts, place.host.settings, has_multi=False, password=self._password)
        except NoManager as error:
            raise DeployError(str(error)) from None
        command = {
            "start": manager.start,
            "stop": manager.stop,
            "restart": manager.restart,
            "reload": manager.reload,
        }.get(verb)
        made = command(member.unit) if command is not None else None
        if made is None:
            raise DeployError(f"there is no multi on {place.host.name}, and {manager.name} can't {verb} nodes")
        return made

    def _gate(self, place: Place, members: Sequence[Member], healthy: float, deadline: float) -> Gate:
        names = tuple(member.name for member in members)
        # its own multi tells of nodes that others run, too
        manager = KEEPER if place.multi is not None else members[0].run_by
        units = tuple(member.unit or member.name for member in members)
        return Gate(names, manager, units, healthy, deadline, place.multi, folder=place.folder)

    # ---- looking

    def run(
        self,
        command: Sequence[str],
        hosts: Iterable[str],
        *,
        as_root: bool = False,
        say: Callable[[str, str], None] | None = None,
    ) -> dict[str, Result | MultiError]:
        """Run a command in the project's folder on these hosts."""

        def one(session: Session) -> Result:
            place, settings = self.places[session.host.name], session.host.settings
            user = None if as_root else settings.owner_user
            wanted = Command(tuple(command), sudo=as_root, user=user, cwd=place.folder)
            return session.run(wanted, None if say is None else lambda line: say(session.host.name, line))

        return each(self.backend, [self.places[name].host for name in hosts], one, self._max_parallel)

    def multi(
        self, words: Sequence[str], hosts: Iterable[str], say: Callable[[str, str], None] | None = None
    ) -> dict[str, Result | MultiError]:
        """Run the hosts' own `multi` with these words; as root where a unit manager runs nodes, whose logs are root's."""
        found: dict[str, Result | MultiError] = {}
        able = []
        for name in hosts:
            if self.places[name].multi is None:
                found[name] = DeployError(f"there is no multi on {name}, in {self.places[name].folder} or on its PATH")
            else:
                able.append(name)

        def one(session: Session) -> Result:
            place = self.places[session.host.name]
            assert place.multi is not None
            settings = session.host.settings
            as_root = settings.sudo and any(member.run_by != KEEPER for member in place.members)
            user = None if as_root else settings.owner_user
            wanted = Command((place.multi, *words), sudo=as_root, user=user, cwd=place.folder)
            return session.run(wanted, None if say is None else lambda line: say(session.host.name, line))

        return found | each(self.backend, [self.places[name].host for name in able], one, self._max_parallel)


def _wants_password(command: Command, result: Result) -> bool:
    return command.sudo and not result.ok and "a password is required" in result.err


def reason(result: Result) -> str:
    """Why a command of a host's multi has failed, in a line: what multi says, and the error that the worker has left."""
    lines = [line.strip() for line in result.tail.splitlines() if line.strip()]
    said = next((line.removeprefix("multi: ") for line in lines if line.startswith("multi: ")), None)
    more = [line.removeprefix("multi: ").rstrip(":") for line in lines if line.startswith("multi: ")][1:]
    error = next((line for line in reversed(lines) if _ERROR.match(line)), more[0] if more else None)
    if said is not None and error is not None and error not in said:
        return f"{said} ({error})"
    return said or error or (lines[-1] if lines else "it says nothing")


def parse_batch(text: str | int) -> int | str:
    """A number of hosts, or a share of them such as "25%"."""
    if isinstance(text, int):
        number = text
    elif text.endswith("%"):
        try:
            share = float(text[:-1])
        except ValueError:
            share = 0.0
        if not 0 < share <= 100:
            raise ConfigurationError(f"batch {text}: a share is from 1% to 100%")
        return text
    elif text.isdecimal():
        number = int(text)
    else:
        raise ConfigurationError(f'batch {text}: it should be a number of hosts, or a share such as "25%"')
    if number < 1:
        raise ConfigurationError(f"batch {text}: at least one host goes at a time")
    return number
