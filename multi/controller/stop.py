"""Stopping nodes, many at once: a node is down when its keeper has ended, which goes last."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from multi.controller.keeper import proc
from multi.controller.keeper.node import FAILED
from multi.controller.launch import launch
from multi.controller.node import CRASHED, ORPHANED, Node, Status
from multi.controller.watch import Watch
from multi.errors import NodeError

_ADOPTION = 10.0
_TRIES = 20
TICK = 0.5  # between two calls of whoever tells how far it is
_LOOK = 0.5  # between looks at a keeper that can't be watched, since it has not said yet who it is


class Stop:
    """One node on its way down."""

    def __init__(self, node: Node, status: Status, fd: int) -> None:
        self.node = node
        self.status = status
        self.pid = status.keeper_pid
        self.fd = fd
        self._request: tuple[int, float | None, float | None] = (signal.SIGTERM, None, None)
        self._again = False

    @property
    def is_down(self) -> bool:
        return self.fd < 0

    def send(
        self, number: int, quit_after: float | None = None, kill_after: float | None = None, *, again: bool = False
    ) -> bool:
        """Ask the keeper to stop its node; False when the node is down already. `again` tells that it will be started again."""
        self._request = (number, quit_after, kill_after)
        self._again = again
        if self.is_down:
            if self.status.state in (CRASHED, FAILED):
                self.node.settle_stopped()
            return False
        if number == signal.SIGKILL:
            asked = self.node.ask("kill")
        else:
            self._remember()
            more = {"again": 1} if again else {}
            asked = self.node.ask("stop", signal=number, quit_after=quit_after, kill_after=kill_after, **more)
        if not asked:
            # no ear, or a full one: the signal itself says as much, to the process that we hold
            try:
                signal.pidfd_send_signal(self.fd, signal.SIGTERM if number == signal.SIGKILL else number)
            except ProcessLookupError:
                return False
        return True

    def _remember(self) -> None:
        if any(worker.get("foreign") for worker in self.status.workers):
            from multi.controller import asking  # speaks to brokers, which few nodes need

            asking.remember(self.node, self.status)

    def again(self) -> None:
        """Begin anew, with the keeper that the node has now."""
        fresh = begin(self.node)
        self.status, self.pid, self.fd = fresh.status, fresh.pid, fresh.fd
        self.send(*self._request, again=self._again)

    def step(self, watch: Watch) -> Down | None:
        """How it ended, once it has; `watch` knows its keeper."""
        if not select.select([self.fd], [], [], 0)[0]:
            return None
        watch.forget(self.fd)
        self.close()
        if self.node.status().state == ORPHANED:
            # somebody has killed the keeper on its way; the worker's new one gets the same request
            self.again()
        if self.is_down:
            return _down(self)
        watch.process(self.fd)
        return None

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Down(NamedTuple):
    """A node that is down; `forced` tells that it took a KILL."""

    node: Node
    forced: bool
    message: str = ""


def settled(node: Node) -> Status:
    """The node's status, once there is a plain one: an orphaned worker is adopted by a new keeper first, and a keeper that
    has just taken the node is given the moment to say so."""
    status = node.status()
    if _is_plain(status):
        return status
    spec = node.spec()
    launched = None
    deadline = time.monotonic() + _ADOPTION
    with Watch() as watch:
        watch.directory(node.place.run)
        try:
            while time.monotonic() < deadline:
                status = node.status()
                if _is_plain(status):
                    return status
                if status.state == ORPHANED and launched is None and not node.comes_back:
                    launched = launch(node, spec.environment if spec else {})
                    watch.process(launched.fd)
                elif launched is not None and select.select([launched.fd], [], [], 0)[0]:
                    # another command's keeper was quicker, or it could not begin and has said why
                    watch.forget(launched.fd)
                    _, words = launched.collect()
                    launched.close()
                    launched = None
                    if words:
                        raise NodeError(f"{node} runs without a keeper, and a new one can't adopt it: {words}")
                watch.wait(min(_LOOK, deadline - time.monotonic()))
        finally:
            if launched is not None:
                watch.forget(launched.fd)
                launched.close()
    raise NodeError(f"{node} has no keeper that says how it is, for {_ADOPTION:g} s; see its log: {node.log_file}")


def _is_plain(status: Status) -> bool:
    return status.state != ORPHANED and bool(status.record or not status.has_keeper)


def begin(node: Node) -> Stop:
    """Look whom a stop is for, by identity; nothing is sent yet."""
    if node.unit is not None or node.status().record.get("run_by"):
        from multi.controller.managed import refuse_beyond, stop_of

        refuse_beyond(node)
        if (stop := stop_of(node)) is not None:
            return stop
    for _ in range(_TRIES):
        status = settled(node)
        if status.is_loading:
            node.take_from_loader()
            continue  # it is down now, or has a keeper
        fd = node.keeper_fd(status) if status.has_keeper else -1
        if fd >= 0 or not status.has_keeper:
            return Stop(node, status, fd)
        # its keeper has ended between the two looks; the next one tells what has become of the node
    raise NodeError(
        f"{node} has a keeper (pid {status.keeper_pid}) that can't be held by a descriptor; Linux 5.3 or newer is needed"
    )


def force(stop: Stop) -> None:
    """End every process of a node whose keeper has not reacted to the request."""
    if stop.is_down:
        return
    # the keeper first: it would start the worker again
    try:
        signal.pidfd_send_signal(stop.fd, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has reacted after all
    if stop.status.record.get("boot") == proc.boot_id():
        for worker in stop.node.status().workers or stop.status.workers:
            (_kill_family if worker.get("foreign") else _kill_session)(worker["pid"], worker["start"])


def _kill_session(pid: int, start: str) -> None:
    leader = proc.open_identified(pid, start)
    if leader < 0:
        return
    # the leader goes last: while we hold it, the number of its session can't belong to others
    for member in proc.members(pid):
        fd = proc.open_identified(member, proc.start_time(member))
        if fd >= 0:
            if member != pid and proc.session(member) == pid:
                signal.pidfd_send_signal(fd, signal.SIGKILL)
            os.close(fd)
    signal.pidfd_send_signal(leader, signal.SIGKILL)
    os.close(leader)


def _kill_family(pid: int, start: str) -> None:
    """End a worker that was adopted while it ran, with all that descends from it: its session may be that of a terminal.

    Each is stopped before its children are looked for, and killed when all are held: so none can start another meanwhile,
    and no number can be given out anew.
    """
    leader = proc.open_identified(pid, start)
    if leader < 0:
        return
    held = {pid: leader}
    young = [pid]
    try:
        signal.pidfd_send_signal(leader, signal.SIGSTOP)
        while young:
            found = [child for child in proc.all_pids() if child not in held and _parent(child) in young]
            young = []
            for child in found:
                fd = proc.open_identified(child, proc.start_time(child))
                if fd < 0:
                    continue
                if _parent(child) not in held:
                    os.close(fd)
                    continue
                held[child] = fd
                young.append(child)
                _send(fd, signal.SIGSTOP)
        for fd in reversed(held.values()):
            _send(fd, signal.SIGKILL)
    finally:
        for fd in held.values():
            os.close(fd)


def _parent(pid: int) -> int:
    fields = proc.stat(pid)
    return int(fields[1]) if fields else 0


def _send(fd: int, number: int) -> None:
    try:
        signal.pidfd_send_signal(fd, number)
    except (ProcessLookupError, PermissionError):
        pass  # it has just ended, or has become another user


def wait_down(
    stops: list[Stop], timeout: float | None = None, tick: Callable[[], None] | None = None
) -> Iterator[Down]:
    """The nodes as they come to their end; those that don't within `timeout` are left out.

    `tick` is called about twice a second meanwhile, for whoever wants to tell how far it is.
    """
    pending = [stop for stop in stops if not stop.is_down]
    deadline = None if timeout is None else time.monotonic() + timeout
    with Watch() as watch:
        for stop in pending:
            watch.process(stop.fd)
        while pending:
            for stop in [*pending]:
                down = stop.step(watch)
                if down is not None:
                    pending.remove(stop)
                    yield down
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            if pending and tick is not None:
                tick()
                left = TICK if left is None else min(left, TICK)
            if pending:
                watch.wait(left)


def _down(stop: Stop) -> Down:
    status = stop.node.status()
    if status.keeper_pid != stop.pid:
        return Down(stop.node, False)  # somebody has started it again
    message = status.message if status.state == FAILED else ""
    return Down(stop.node, bool(status.record.get("forced")), message)
