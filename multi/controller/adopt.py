"""Takes over Celery workers that run already: what would be kept of each, as the specification of a node."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from multi.controller import asking
from multi.controller.fleet import Fleet
from multi.controller.foreign import Foreign, worth_keeping
from multi.controller.keeper import proc
from multi.controller.keeper.node import RUNNING
from multi.controller.launch import launch
from multi.controller.node import Node
from multi.controller.places import translated
from multi.controller.watch import Watch
from multi.errors import ConfigurationError, MultiError
from multi.nodes import commandline, names
from multi.nodes.names import NodeName
from multi.nodes.options import Value
from multi.nodes.shown import shown
from multi.nodes.spec import NodeSpec, difference

#: These are said otherwise of a node: it is in the background by itself, and its host is part of its name.
SAID_OTHERWISE = frozenset({"detach", "executable", "hostname", "uid", "gid"})
_PATIENCE = 30.0
_LOOK = 0.5
#: Asked of the project's own interpreter, once: where its workers can be asked what they do.
_WHERE = """
import json, sys
from celery.app.utils import find_app
sys.path.insert(0, "")
app = find_app(sys.argv[1]) if len(sys.argv) > 1 else __import__("celery").current_app
url = app.connection_for_write().as_uri(include_password=True)
options = {key: value for key, value in dict(app.conf.broker_transport_options or {}).items()
           if isinstance(value, (str, int, float, bool))}
sys.stdout.write(json.dumps({"url": url, "options": options, "namespace": app.conf.control_exchange}))
"""


class Candidate:
    """A running worker and the node that it would become. `refusal` says why not, where it can't be; `is_taken` that it is a
    node already, by an earlier adoption. `name` is there where its command line tells it, also of one that is refused."""

    def __init__(self, foreign: Foreign, state_dir: str | None) -> None:
        self.foreign = foreign
        self.refusal = foreign.refusal
        self.is_taken = False
        self.name: NodeName | None = None
        self.node: Node | None = None
        self.spec: NodeSpec | None = None
        self.replaced: list[str] = []  # what is kept of a stopped node of this name, and would be another
        try:
            line = commandline.parse(foreign.options, {}, is_worker=True)
            given = commandline.values([line.common], foreign.kind)
            if not foreign.is_hidden:
                self.name = self._named(given)
            if not self.refusal:
                self._read(given, line.rest, state_dir)
        except MultiError as error:
            self.refusal = self.refusal or str(error)

    def _read(self, given: dict[str, Value], rest: list[str] | None, state_dir: str | None) -> None:
        foreign, name = self.foreign, self.name
        assert name is not None
        cwd = foreign.cwd
        if workdir := given.get("workdir"):
            cwd = os.path.join(cwd, str(workdir))
        if not os.path.isdir(cwd):
            raise ConfigurationError(
                f"its directory {cwd} is gone (a release that was removed?), so it could not be started again; stop it, and "
                "start it where its code is now, with multi start"
            )
        options = {option: value for option, value in given.items() if option not in SAID_OTHERWISE}
        app = options.get("app") or foreign.env.get("CELERY_APP")
        fleet = Fleet(cwd, str(app) if app else None, state_dir)
        (self.node,) = fleet.to_start([str(name)])
        status = self.node.status()
        if any(worker["pid"] == foreign.pid for worker in status.workers):
            self.is_taken = True
            return
        if status.is_up:
            raise ConfigurationError(
                f"there is a node {self.node} in its project already, which is {status.state}; stop or forget that one first"
            )
        self.spec = NodeSpec(
            name,
            executable=foreign.executable,
            cwd=cwd,
            options=options,
            rest=rest,
            env=worth_keeping(foreign.env),
            umask=foreign.umask,
            kind=foreign.kind,
            engine="celery",
            user=self._user(),
        )
        self.spec.check()
        kept = self.node.spec()
        if kept is not None:
            lines = difference(kept, self.spec)
            self.replaced = [line for line in lines if not line.startswith("environment: ")]

    def _named(self, given: dict[str, Value]) -> NodeName:
        """As Celery names it: `-n`, where a bare name is the host's, else celery@ this host."""
        host = names.this_host()
        if self.foreign.kind == "beat":
            return NodeName("beat", host)
        text = str(given.get("hostname") or "")
        short, at, rest = text.partition("@")
        if not at:
            short, rest = "celery", text
        marks = NodeName(short or "celery", host)
        return names.parse(f"{short or 'celery'}@{names.expand(rest, marks, host_only=True) if rest else host}")

    def _user(self) -> str | None:
        if self.foreign.uid == os.geteuid():
            return None
        import pwd

        return pwd.getpwuid(self.foreign.uid).pw_name

    @property
    def later(self) -> list[str]:
        """The command line of its next start, with what its keeper will do of it."""
        assert self.spec is not None
        return shown(self.spec, self.spec.argv(None))

    @property
    def pidfile(self) -> str | None:
        """The pid file that it has written, which will name the keeper."""
        given = self.spec.options.get("pidfile") if self.spec else None
        if not given or self.spec is None:
            return None
        return os.path.join(self.spec.cwd, names.expand(os.path.expanduser(str(given)), self.spec.name))

    def differences(self) -> list[str]:
        """What of its options would be another at the next start, option by option; empty is the proof that none is."""
        kind = self.foreign.kind
        before = commandline.values([commandline.parse(self.foreign.options, {}, is_worker=True).common], kind)
        words = self.later
        at = words.index(kind)
        # the interpreter and the launcher stand before Celery's own words
        line = commandline.parse([*words[2:at], *words[at + 1 :]], {}, is_worker=True)
        after = commandline.values([line.common], kind)
        hidden = {option for option in before if option not in after and self._is_secret(str(before[option]))}
        assert self.spec is not None
        before = {option: self._filled(option, value) for option, value in before.items()}
        after = {option: self._filled(option, value) for option, value in after.items()}
        return [
            f"{option}: {before.get(option, '(not given)')} -> {after.get(option, '(not given)')}"
            for option in sorted({*before, *after} - SAID_OTHERWISE - hidden)
            if before.get(option) != after.get(option)
        ]

    def _filled(self, option: str, value: Value) -> Value:
        """A path as it is used."""
        if option not in ("logfile", "pidfile", "workdir") or self.spec is None:
            return value
        return os.path.join(self.spec.cwd, names.expand_once(str(value), self.spec.name))

    @staticmethod
    def _is_secret(value: str) -> bool:
        from multi.urls import mask

        return mask(value) != value

    def where(self) -> dict[str, Any] | None:
        """Where its worker can be asked: `url`, `options`, `namespace`; None when its project doesn't tell."""
        assert self.spec is not None
        app = self.spec.options.get("app") or self.spec.env.get("CELERY_APP")
        try:
            done = subprocess.run(
                [self.spec.executable, "-c", _WHERE, *([str(app)] if app else [])],
                cwd=self.spec.cwd,
                env={**os.environ, **self.spec.environment},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PATIENCE,
                check=True,
            )
            found = json.loads(done.stdout.splitlines()[-1])
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            return None
        if broker := self.spec.options.get("broker"):
            found["url"] = str(broker)
        return found if isinstance(found, dict) else None


def refuse_alike(candidates: Sequence[Candidate]) -> None:
    """Two workers of one name, as there are where one was started twice, can't be one node."""
    found: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.node is not None and not candidate.is_taken and not candidate.refusal:
            found.setdefault(candidate.node.place.kept, []).append(candidate)
    for alike in found.values():
        pids = ", ".join(str(one.foreign.pid) for one in alike)
        for one in alike if len(alike) > 1 else ():
            what = f"{len(alike)} {one.foreign.kind}s have this name (pids {pids})"
            one.refusal = f"{what}; stop all but one of them, then adopt that"


def take_over(candidate: Candidate, record: dict[str, Any]) -> str:
    """Start a keeper that takes the process as its worker. Returns why that has failed, "" when it has not."""
    node, spec, foreign = candidate.node, candidate.spec, candidate.foreign
    assert node is not None
    assert spec is not None
    node.place.make()
    where = candidate.where()
    wish = os.path.join(node.place.run, "adopt.json")
    with translated(wish):
        _write(wish, {"pid": foreign.pid, "start": foreign.start, "boot": proc.boot_id()})
        if where is not None:
            _write(asking.place(node), where)
    with Watch() as watch:
        watch.directory(node.place.run)
        launched = launch(node, spec.environment, node.put(record))
        watch.process(launched.fd)
        deadline = time.monotonic() + _PATIENCE
        try:
            while time.monotonic() < deadline:
                status = node.status()
                if status.state == RUNNING and status.worker is not None and status.worker["pid"] == foreign.pid:
                    return ""
                if select.select([launched.fd], [], [], 0)[0]:
                    watch.forget(launched.fd)
                    code, words = launched.collect()
                    return words or f"its keeper has ended with exit status {code}"
                watch.wait(_LOOK)
        finally:
            launched.close()
    return f"its keeper has not said that it has it, for {_PATIENCE:g} s; see multi status {node}"


def _write(path: str, value: dict[str, Any]) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        json.dump(value, file)
