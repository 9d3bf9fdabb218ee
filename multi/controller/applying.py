"""Carries out a plan: stops, restarts and starts nodes at the same time, as far as the order between them allows."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from multi.controller import stop as stopping
from multi.controller.gates import Gate
from multi.controller.managed import start_of
from multi.controller.node import Node
from multi.controller.start import ALREADY, OK, Result, Start, together
from multi.controller.stop import Down, Stop
from multi.controller.watch import Watch
from multi.errors import NodeError
from multi.nodes.description.plan import FORGET, RESTART, STOP, Step

_GOING = (STOP, FORGET)
_TICK = 0.2
_NEWS = 1.0


class Began(NamedTuple):
    """A step is under way: `pid` is the keeper that is told to stop, 0 where the node is started."""

    node: Node
    pid: int = 0


class Skipped(NamedTuple):
    """A node that is not started, since what it depends on isn't there."""

    node: Node
    why: str


class Opened(NamedTuple):
    """Something that had to be waited for is there."""

    what: str
    seconds: float


class Forgotten(NamedTuple):
    """Nothing is kept any more of a node that is down, but for its log; or `why` tells what keeps it from that."""

    node: Node
    log_file: str | None
    why: str = ""


Event = Began | Skipped | Opened | Forgotten | Down | Result | tuple[Node, str]


class Work:
    """One step of a plan, with its node. `record` is the new specification, `environment` goes with it."""

    def __init__(self, step: Step, node: Node, record: dict[str, Any] | None, environment: dict[str, str]) -> None:
        self.step = step
        self.node = node
        self.record = record
        self.environment = environment
        self.stop: Stop | None = None
        self.start: Start | None = None
        self.is_over = False
        self.is_good = False
        self.gates: list[Gate] = []

    @property
    def name(self) -> str:
        return self.step.name

    @property
    def is_waiting(self) -> bool:
        return not self.is_over and self.stop is None and self.start is None

    def close(self, watch: Watch) -> None:
        """Let go of it, whatever it does."""
        if self.start is not None:
            self.start.close(watch)
        if self.stop is not None and not self.stop.is_down:
            watch.forget(self.stop.fd)
            self.stop.close()


class Applying:
    """The whole plan on its way. `timeout` is how long a node may take to get ready, `patience` the longest that what nodes
    depend on is waited for, whatever the description says (None: as it says)."""

    def __init__(
        self,
        works: list[Work],
        timeout: float,
        tick: Callable[[], None] | None = None,
        patience: float | None = None,
    ) -> None:
        self.works = works
        self.timeout = timeout
        self.tick = tick
        self.patience = patience
        self._by_name = {work.name: work for work in works}
        self._gates: dict[tuple[object, ...], Gate] = {}
        self._told: set[int] = set()
        self._prepared: dict[str, Start] = {}

    @property
    def left(self) -> list[Work]:
        """What isn't over yet."""
        return [work for work in self.works if not work.is_over]

    def run(self) -> Iterator[Event]:
        """Do it; what happens, as it happens."""
        self._share_imports()
        with Watch() as watch:
            try:
                while self.left:
                    yield from self._begin(watch)
                    yield from self._step(watch)
                    yield from self._look_at_gates()
                    if any(self._may_begin(work) or self._hopeless(work) for work in self.left if work.is_waiting):
                        continue
                    if self.left:
                        watch.wait(self._pause())
                    if self.tick is not None:
                        self.tick()
            finally:
                for work in self.works:
                    work.close(watch)
                for gate in self._gates.values():
                    gate.close()

    # ---- beginning

    def _share_imports(self) -> None:
        """Nodes of one app that wait for nothing are started from one import."""
        for work in self.works:
            if work.step.action not in _GOING and not work.step.needs:
                work.node.place.make()
                self._prepared[work.name] = start_of(work.node, work.record, work.environment)
        together(self._prepared.values())

    def _begin(self, watch: Watch) -> Iterator[Event]:
        for work in [work for work in self.left if work.is_waiting]:
            why = self._hopeless(work)
            if why:
                work.is_over = True
                yield Skipped(work.node, why)
            elif self._may_begin(work):
                if work.step.action == FORGET:
                    yield from self._forget(work)
                elif work.step.action in (STOP, RESTART):
                    yield from self._stop(work, watch)
                else:
                    yield from self._start(work, watch)

    def _stop(self, work: Work, watch: Watch) -> Iterator[Event]:
        stop = stopping.begin(work.node)
        is_again = work.step.action == RESTART
        if stop.send(signal.SIGTERM, again=is_again):
            work.stop = stop
            watch.process(stop.fd)
            yield Began(work.node, stop.pid)
            return
        stop.close()
        if is_again:
            yield from self._start(work, watch)
        else:
            yield Down(work.node, False)
            yield from self._forget(work)

    @staticmethod
    def _forget(work: Work) -> Iterator[Event]:
        """What is gone from the description would be started again by `multi restart --all` as long as it is kept."""
        work.is_over = work.is_good = True
        if work.node.unit is not None:
            return  # it is known as long as its unit is installed
        log_file = work.node.log_file
        try:
            work.node.forget()
        except NodeError as error:
            work.is_good = False
            yield Forgotten(work.node, log_file, str(error))
        else:
            yield Forgotten(work.node, log_file)

    def _start(self, work: Work, watch: Watch) -> Iterator[Event]:
        work.node.place.make()
        work.start = self._prepared.pop(work.name, None) or start_of(work.node, work.record, work.environment)
        work.start.begin(watch)
        if work.stop is None:
            yield Began(work.node)

    def _may_begin(self, work: Work) -> bool:
        """Whether all is there that it depends on; gates are opened on the way, once the nodes before it are ready."""
        if work.step.action in _GOING:
            return True
        if any(not other.is_over for other in self._before(work)):
            return False
        for need in work.step.needs:
            if need.kind == "node":
                continue
            # a command runs where its node does
            spec = work.step.spec
            cwd, env = (spec.cwd, spec.env) if spec is not None and need.kind == "command" else ("/", {})
            key = (need, cwd, *sorted(env.items()))
            gate = self._gates.get(key)
            if gate is None:
                gate = self._gates[key] = Gate(need, cwd, env, self.patience)
                gate.look()
            if gate not in work.gates:
                work.gates.append(gate)
        return all(gate.is_open for gate in work.gates)

    def _before(self, work: Work) -> list[Work]:
        names = [need.target[0] for need in work.step.needs if need.kind == "node"]
        found = [self._by_name[name] for name in names if name in self._by_name]
        # there is to be one of a singleton, under whatever name
        if work.step.spec is not None and work.step.spec.singleton:
            found += [other for other in self.works if other.step.action == STOP and self._is_singleton(other)]
        return found

    @staticmethod
    def _is_singleton(work: Work) -> bool:
        return bool((work.node.record() or {}).get("singleton"))

    def _hopeless(self, work: Work) -> str:
        if work.step.action in _GOING:
            return ""
        for other in self._before(work):
            if other.is_over and not other.is_good:
                return f"{other.name}, which it depends on, is not ready"
        for gate in work.gates:
            if gate.has_failed:
                return f"it depends on {gate}, which is not there after {gate.patience:g} s: {gate.why or 'no answer'}"
        return ""

    # ---- going on

    def _step(self, watch: Watch) -> Iterator[Event]:
        for work in self.left:
            if work.stop is not None and work.start is None:
                down = work.stop.step(watch)
                if down is None:
                    continue
                yield down
                if work.step.action == STOP:
                    yield from self._forget(work)
                    continue
                yield from self._start(work, watch)
            if work.start is not None:
                yield from self._step_start(work, work.start, watch)

    def _step_start(self, work: Work, start: Start, watch: Watch) -> Iterator[Event]:
        result = start.step(watch)
        age = time.monotonic() - start.begun
        if result is None and age >= self.timeout:
            result = start.waiting()
        if result is not None:
            start.close(watch)
            work.is_over = True
            work.is_good = result.kind in (OK, ALREADY)
            yield result
        elif age > _NEWS and (text := start.news()):
            yield work.node, text

    def _look_at_gates(self) -> Iterator[Event]:
        for gate in self._gates.values():
            gate.look()
            if gate.is_open and id(gate) not in self._told:
                self._told.add(id(gate))
                yield Opened(str(gate), time.monotonic() - gate.begun)

    def closed_gates(self) -> list[Gate]:
        """What is waited for now, beside nodes."""
        return [gate for gate in self._gates.values() if not gate.is_open]

    def _pause(self) -> float:
        if self.closed_gates():
            return 0.05
        starts = [work.start for work in self.left if work.start is not None]
        if not starts:
            return _TICK * 2
        longest = min(start.begun for start in starts) + self.timeout - time.monotonic()
        return max(0.0, min(longest, _TICK * 2 if self.tick else _NEWS))
