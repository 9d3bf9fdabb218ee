"""Starting nodes, many at once: a node is started when its keeper says that its worker consumes."""

from __future__ import annotations

import os
import re
import select
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from multi.controller import loading
from multi.controller.keeper.main import HELD
from multi.controller.keeper.node import BACKOFF, RELOADING, RUNNING, STARTING, STOPPED, STOPPING
from multi.controller.launch import Launched, environment, launch
from multi.controller.loading import Load
from multi.controller.node import ORPHANED, Node, Status
from multi.controller.tail import added
from multi.controller.watch import Watch

TIMEOUT = 60.0
OK, ALREADY, FAILED, WAITING = "ok", "already", "failed", "waiting"
_LOOK = 1.0  # for the rare keeper that can't be watched, since it has not said yet who it is
_TICK = 0.5
#: So begins what a keeper says of a worker that has ended in order and was not told to.
_BY_ITSELF = "the worker has stopped"
#: An import is no longer fresh when it is so old.
_FRESH = 30.0
#: With less on its disk a node may be unable to start.
_ROOM = 64 * 1024


def at_once() -> int:
    """So many nodes start at the same time, each importing its app by itself; more would only be in each other's way."""
    return max(8, 4 * (os.cpu_count() or 1))


class Result(NamedTuple):
    """What became of one start; `lines` are the last ones of its log, where it failed."""

    node: Node
    kind: str
    pid: int = 0
    seconds: float = 0.0
    since: float = 0.0
    message: str = ""
    lines: tuple[str, ...] = ()
    code: int | None = None  # with which the worker has ended
    wanted: Any = None  # of a start that has failed: the specification that it was to have
    kept: Any = None  # and the one that is kept now
    log_file: str | None = None  # where the lines are from


class Start:
    """One node's way from whatever it is to running.

    `record` is a new specification (None: the kept one), `environment` what is kept of the environment with it.
    """

    #: whether nodes that start together may come from one import of their app
    shares_imports = True

    def __init__(self, node: Node, record: dict[str, Any] | None, environment: dict[str, str]) -> None:
        self.node = node
        self.record = record
        self.environment = environment
        self.begun = time.monotonic()
        self.launched: Launched | None = None
        self.has_begun = False
        self.load: Load | None = None  # the import that it shares with others
        self._is_ordered = False  # from its loader
        self._is_shared = False  # the loader has delivered it
        self._looked = 0.0
        self.mine = 0  # the pid of the keeper that we have started, once there is one
        self.told = ""
        self._followed = -1
        self._nudged = False
        self._log_from = 0
        self._new_spec = ""

    def begin(self, watch: Watch) -> None:
        """Set out."""
        self.has_begun = True
        self.begun = time.monotonic()
        watch.directory(self.node.place.run)
        status = self.node.status()
        if not status.has_keeper:
            self._launch(watch, adopt=status.state == ORPHANED)

    def step(self, watch: Watch) -> Result | None:
        """Go as far as it goes now; the result when it is over."""
        if self._is_ordered and not self._delivered(watch):
            return None if self._is_ordered else self._failed("it was stopped before it was ready")
        if self.launched is not None and _ended(self.launched.fd):
            return self._lost(watch)
        now = time.monotonic()
        is_quiet = self.is_watched and not (self._followed >= 0 and _ended(self._followed))
        if not watch.has_news(self.node.place.run) and is_quiet and now - self._looked < _LOOK:
            return None  # of many nodes one wakes us at a time
        self._looked = now
        status = self.node.status()
        if status.state in (RUNNING, RELOADING):
            return self._arrived(status)
        if self.launched is not None:
            return None  # ours, or the one that ours gives way to: its end wakes us
        if not status.has_keeper:
            self._unfollow(watch)
            self._launch(watch, adopt=status.state == ORPHANED)
        elif status.state == BACKOFF and not self._nudged:
            self._nudged = self.node.ask("reload")  # does not wait for the end of the pause
        if self.launched is None and self._followed < 0:
            self._followed = self.node.keeper_fd(status)
            if self._followed >= 0:
                watch.process(self._followed)
        elif self._followed >= 0 and _ended(self._followed):
            self._unfollow(watch)
        return None

    @property
    def is_watched(self) -> bool:
        return self.launched is not None or self._followed >= 0 or self._is_ordered

    @property
    def is_alone(self) -> bool:
        """Whether it imports its app by itself."""
        return self.load is None and not self._is_shared

    def news(self) -> str:
        """What a node that takes long says about itself; each news once."""
        status = self.node.status()
        if status.is_loading and self.load is not None:
            if self.load.is_told:
                return ""
            self.load.is_told = True
        text = f"{status.state}: {status.message}" if status.message else status.state
        gist = re.sub(r"[\d.]+ s\b", "", text)  # a pause that has become longer is no news
        is_no_news = status.state == RUNNING or (status.state == STARTING and not status.message)
        # a keeper of ours that gives up: its result comes in a moment
        is_no_news = is_no_news or (status.state == STOPPING and self.launched is not None)
        if gist == self.told or is_no_news or not status.has_keeper:
            return ""
        self.told = gist
        return text

    def close(self, watch: Watch) -> None:
        """Let go of it, whatever it does."""
        self._unfollow(watch)
        self._leave_load(watch)
        if self.launched is not None:
            watch.forget(self.launched.fd)
            self.launched.close()
            self.launched = None

    def waiting(self) -> Result:
        """The result when the patience is over before the node is ready."""
        status = self.node.status()
        lines = tuple(added(self.node.log_file, self._log_from)) if self.mine else ()
        seconds = time.monotonic() - self.begun
        return Result(
            self.node,
            WAITING,
            status.keeper_pid,
            seconds,
            message=status.message,
            lines=lines,
            log_file=self.node.log_file,
        )

    def _launch(self, watch: Watch, *, adopt: bool) -> None:
        new_spec = "" if adopt or self.record is None else self.node.put(self.record)
        log_file = (self.record or self.node.record() or {}).get("log_file")
        try:
            self._log_from = os.stat(log_file).st_size if log_file else 0
        except OSError:
            self._log_from = 0
        self._new_spec = new_spec
        if self.load is not None:
            argv = (self.record or self.node.record() or {}).get("argv")
            if argv and not adopt and not self.load.is_over and time.monotonic() - self.load.begun < _FRESH:
                self.load.order(self.node, argv, new_spec)
                self._is_ordered = True
                watch.process(self.load.fd)
                return
            self._leave_load(watch)
        self.launched = launch(self.node, self.environment, new_spec)
        self.mine = 0 if adopt else self.launched.pid
        watch.process(self.launched.fd)

    def _delivered(self, watch: Watch) -> bool:
        """Whether the keeper is there that the loader was to start. If there will be none, the node starts by itself, unless
        somebody has stopped it meanwhile: then nothing is on order any more."""
        assert self.load is not None
        try:
            launched = self.load.answer(self.node)
        except KeyError:
            return False
        self._is_ordered = False
        self._leave_load(watch)
        if launched is None:
            if not self.node.take_from_loader():
                return False
            launched = launch(self.node, self.environment, self._new_spec)
        else:
            self._is_shared = True
        self.launched = launched
        self.mine = launched.pid
        watch.process(launched.fd)
        return True

    def _leave_load(self, watch: Watch) -> None:
        if self.load is not None:
            load, self.load = self.load, None
            watch.forget(load.fd)
            load.leave()
            if not load.is_over:
                watch.process(load.fd)

    def _arrived(self, status: Status) -> Result:
        worker = status.worker or {}
        if status.keeper_pid == self.mine:
            return Result(self.node, OK, status.keeper_pid, time.monotonic() - self.begun)
        kept = self.node.record() or {}
        differs = self.record is not None and self.record["argv"] != kept.get("argv")
        message = "it runs with other options; `multi restart` with these changes them" if differs else ""
        return Result(self.node, ALREADY, status.keeper_pid, since=worker.get("ready") or status.since, message=message)

    def _lost(self, watch: Watch) -> Result | None:
        """The keeper that we started has ended."""
        assert self.launched is not None
        watch.forget(self.launched.fd)
        code, words = self.launched.collect()
        self.launched.close()
        self.launched = None
        if self._new_spec and os.path.exists(self._new_spec):
            os.unlink(self._new_spec)
        if code == HELD:
            return None  # somebody else's keeper was quicker: follow that one
        status = self.node.status()
        if status.state == ORPHANED and not words:
            # somebody has killed it on the way; its worker goes on, and a new keeper takes it from there
            self._launch(watch, adopt=True)
            self.mine = self.launched.pid if self.launched is not None else 0
            return None
        if words:
            return self._failed(words)
        if status.has_keeper:
            return None  # it was stopped, and somebody has started it again: follow that one
        if status.state == STOPPED and status.record.get("again"):
            # another command restarts it at the same moment: whichever of us is the first to start it now
            self._launch(watch, adopt=False)
            return None
        message = status.message or f"its keeper has ended ({_status(code)})"
        if status.state == STOPPED:
            message = f"it was stopped before it was ready{': ' + message if status.message else ''}"
            if status.message.startswith(_BY_ITSELF) and (status.record.get("last_end") or {}).get("code") == 0:
                # nobody has stopped it; an interpreter that ends in this way is none, most likely
                program = next(iter((self.record or self.node.record() or {}).get("argv") or ()), "its program")
                message = (
                    f"its worker has ended by itself before it was ready{status.message.removeprefix(_BY_ITSELF)}; is {program} "
                    "the right one?"
                )
        end = status.record.get("last_end") or {}
        lines = tuple(added(status.record.get("log_file"), self._log_from))
        return self._failed(message, lines, end.get("code"))

    def _failed(self, message: str, lines: tuple[str, ...] = (), code: int | None = None) -> Result:
        kept = (self.node.record() or {}).get("kept")
        record = self.record or {"kept": kept}
        if "No space left" not in message:
            # then neither its log nor its keeper's record tell why
            folders = (self.node.place.run, os.path.dirname(record.get("log_file") or self.node.place.log_file))
            full = next(filter(_is_full, folders), None)
            message += f"; the file system of {full} is full: make room there" if full else ""
        return Result(
            self.node,
            FAILED,
            message=message,
            lines=lines,
            code=code,
            wanted=record["kept"],
            kept=kept,
            log_file=record.get("log_file", self.node.log_file),
        )

    def _unfollow(self, watch: Watch) -> None:
        if self._followed >= 0:
            watch.forget(self._followed)
            os.close(self._followed)
            self._followed = -1


def together(starts: Iterable[Start]) -> None:
    """Let those of the nodes that can share one import of their app do so; it begins now."""
    groups: dict[str, list[tuple[Start, dict[str, Any]]]] = {}
    for start in starts:
        if not start.shares_imports:
            continue
        record = start.record or start.node.record() or {}
        found = loading.key(record, environment(start.node, start.environment))
        if found is not None:
            groups.setdefault(found, []).append((start, record))
    for members in groups.values():
        if len(members) > 1 and loading.can_load():
            first = members[0][0]
            load = Load([record for _, record in members], environment(first.node, first.environment))
            for start, _ in members:
                start.load = load


def start_all(
    starts: list[Start], timeout: float = TIMEOUT, tick: Callable[[], None] | None = None
) -> Iterator[Result | tuple[Node, str]]:
    """Start all at once; results as they come, and (node, text) for news of a node that takes its time.

    `tick` is called about twice a second meanwhile, for whoever wants to tell how far it is.
    """
    with Watch() as watch:
        for start in starts:
            start.node.place.make()
        together(start for start in starts if not start.node.status().is_up)
        yield from follow(starts, watch, timeout, tick)


def follow(
    starts: list[Start], watch: Watch, timeout: float, tick: Callable[[], None] | None = None
) -> Iterator[Result | tuple[Node, str]]:
    """What becomes of starts; those that have not begun begin when there is room. `timeout` counts from the beginning of each."""
    pending = [start for start in starts if start.has_begun]
    later = deque(start for start in starts if not start.has_begun)
    room = at_once()
    try:
        while pending or later:
            while later and (later[0].load is not None or sum(one.is_alone for one in pending) < room):
                pending.append(later.popleft())
                pending[-1].begin(watch)
            for start in [*pending]:
                result = start.step(watch)
                now = time.monotonic()
                if result is None and now - start.begun >= timeout:
                    result = start.waiting()
                if result is not None:
                    pending.remove(start)
                    start.close(watch)
                    yield result
                elif now - start.begun > _LOOK and (text := start.news()):
                    yield start.node, text
            if pending and not (later and sum(one.is_alone for one in pending) < room):
                left = min(start.begun for start in pending) + timeout - time.monotonic()
                young = any(time.monotonic() - start.begun <= _LOOK for start in pending)
                if tick is not None:
                    tick()
                    left = min(left, _TICK)
                watch.wait(left if all(one.is_watched for one in pending) and not young else min(left, _LOOK))
    finally:
        for start in pending:
            start.close(watch)


def _is_full(folder: str) -> bool:
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return bool(found.f_blocks) and found.f_bavail * found.f_frsize < _ROOM


def _ended(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def _status(code: int) -> str:
    return f"exit status {code}" if code >= 0 else f"killed by signal {-code}"
