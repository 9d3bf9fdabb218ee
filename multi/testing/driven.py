"""The far end of a test's node: the process or thread in which watch and lanes really are."""

from __future__ import annotations

import os
import pickle
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

from multi.brokers.base import Broker, Claim, Delivery, Lane, Settlement, WatchEvents
from multi.loop import Loop
from multi.store import Storage


class Driven:
    """Does what it is told over a pipe, and tells what the watch says."""

    def __init__(
        self, pipe: Connection, broker: Broker, queues: Sequence[str], storage: Storage | None, owner: str, forks: bool
    ) -> None:
        self._pipe = pipe
        self._owner = owner
        self._forks = forks
        self._claims: list[Claim] = []
        self._lanes: dict[int, tuple[Connection, Any, int]] = {}
        self._loop = Loop()
        tell = self._tell
        self._watch = broker.watch(
            self._loop,
            queues,
            storage,
            owner,
            WatchEvents(
                on_up=lambda: tell("up", True),
                on_down=lambda reason: tell("down", reason),
                on_refused=lambda error: tell("refused", str(error)),
                on_message=lambda count: tell("message", count),
                claims=lambda: list(self._claims),
            ),
        )

    def run(self) -> None:
        self._loop.on_readable(self._pipe.fileno(), self._command)
        self._loop.run()
        self._loop.close()

    def _tell(self, kind: str, value: object) -> None:
        self._pipe.send((None, kind, value))

    def _command(self) -> None:
        try:
            number, name, arguments = self._pipe.recv()
        except (EOFError, OSError):
            self._end()
            return
        try:
            answer = getattr(self, f"do_{name}")(number, *arguments)
        except Exception as error:
            self._pipe.send((number, "error", _portable(error)))
            return
        if answer is not _LATER:
            self._pipe.send((number, "answer", answer))

    def do_start(self, number: int) -> None:
        self._watch.start()

    def do_arm(self, number: int, idle: int) -> None:
        self._watch.arm(idle)

    def do_consume(self, number: int, queues: list[str], idle: int) -> None:
        self._watch.consume(queues)
        self._watch.arm(idle)

    def do_hold(self, number: int, claims: list[Claim]) -> None:
        self._claims = claims

    def do_renew(self, number: int) -> None:
        self._watch.renew()

    def do_settle(self, number: int, settlements: list[Settlement]) -> None:
        self._watch.settle(settlements)

    def do_pending(self, number: int) -> bool:
        return self._watch.pending()

    def do_recall(self, number: int, tag: str, fence: str) -> object:
        self._watch.recall(tag, fence, lambda message: self._pipe.send((number, "answer", message)))
        return _LATER

    def do_depth(self, number: int) -> object:
        self._watch.depth(lambda waiting: self._pipe.send((number, "answer", waiting)))
        return _LATER

    def do_lane(self, number: int) -> int:
        port = self._watch.port(f"{self._owner}:{number}")
        near, far = Pipe()
        pid = 0
        if self._forks:
            pid = os.fork()
            if pid == 0:
                self._child(port.open, near, far)
        else:
            threading.Thread(target=_serve, args=(port.open, far), daemon=True).start()
        if self._forks:
            far.close()
        self._lanes[number] = (near, port, pid)
        self._loop.on_readable(near.fileno(), lambda: self._from_lane(number))
        return pid

    def _child(self, opened: Callable[[], Lane], near: Connection, far: Connection) -> None:
        status = 1
        try:
            near.close()
            self._pipe.close()
            for pipe, _, _ in self._lanes.values():
                pipe.close()
            self._loop.close()
            _serve(opened, far)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def do_exchange(self, number: int, lane: int, settlements: list[Settlement], claim: int, patience: float) -> object:
        self._lanes[lane][0].send((number, settlements, claim, patience))
        return _LATER

    def do_close(self, number: int, lane: int) -> None:
        """Let a lane's process end, and give its port back."""
        pipe, port, pid = self._lanes.pop(lane)
        self._loop.forget(pipe.fileno())
        pipe.close()
        if pid:
            os.waitpid(pid, 0)
        port.release()

    def _from_lane(self, lane: int) -> None:
        pipe, _, pid = self._lanes[lane]
        try:
            self._pipe.send(pipe.recv())
        except (EOFError, OSError):
            self._loop.forget(pipe.fileno())
            self._tell("lane ended", (lane, os.waitpid(pid, 0)[1] if pid else 0))
            self._lanes[lane] = (pipe, self._lanes[lane][1], 0)

    def do_stop(self, number: int) -> None:
        for lane in list(self._lanes):
            self.do_close(number, lane)
        self._watch.stop()
        self._watch.stop()  # twice is fine

    def do_end(self, number: int) -> None:
        self._loop.stop()

    def _end(self) -> None:
        """The test has gone away."""
        for lane in list(self._lanes):
            self.do_close(0, lane)
        self._loop.stop()


_LATER = object()


def _serve(opened: Callable[[], Lane], pipe: Connection) -> None:
    """The life of a lane: opened by its own process or thread, and used by it alone."""
    lane = opened()
    while True:
        try:
            number, settlements, claim, patience = pipe.recv()
        except (EOFError, OSError):
            break
        try:
            pipe.send((number, "answer", _take(lane, settlements, claim, patience)))
        except Exception as error:
            pipe.send((number, "error", _portable(error)))
    lane.close()


def _take(lane: Lane, settlements: list[Settlement], claim: int, patience: float) -> list[Delivery]:
    """One exchange; with patience, more of them until as many have come as were wanted."""
    found = lane.exchange(settlements, claim)
    deadline = time.monotonic() + patience
    while patience and len(found) < claim and time.monotonic() < deadline:
        if lane.fileno() >= 0:
            wait([lane.fileno()], max(0.0, min(0.2, deadline - time.monotonic())))
        else:
            time.sleep(0.005)
        found += lane.exchange([], claim - len(found))
    return found


def _portable(error: Exception) -> Exception:
    """The error if it can travel, else its text."""
    error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(traceback.format_exc())
    return error
