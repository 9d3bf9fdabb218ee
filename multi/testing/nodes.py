"""A test's hold on a worker without tasks: a watch on its loop and the lanes of its children.

For a broker that processes share, node and children are real processes, forked as a worker forks them, so that a test
can kill them; for one that lives in a single process they are threads.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from multi.brokers.base import Broker, Claim, Delivery, Settlement
from multi.message import Message
from multi.store import Storage
from multi.testing.driven import Driven

#: Seconds within which anything that is promised at once must have happened; generous, machines are slow sometimes.
PATIENCE = 15.0
#: Seconds for which nothing must happen when nothing may happen.
QUIET = 0.3

_names = itertools.count(1)
#: This end of the pipes to all nodes; a forked node must not hold those of others open.
_pipes: set[Connection] = set()


class LaneHandle:
    """A test's hold on one lane."""

    def __init__(self, node: Node, number: int, pid: int) -> None:
        self.node = node
        self.number = number
        self.pid = pid

    def exchange(self, settlements: Sequence[Settlement], claim: int) -> list[Delivery]:
        """Exactly one exchange."""
        deliveries: list[Delivery] = self.node.ask("exchange", self.number, list(settlements), claim, 0.0)
        return deliveries

    def begin(self, settlements: Sequence[Settlement], claim: int) -> int:
        """Begin an exchange; `node.answer` of the number that is returned gives its deliveries."""
        return self.node.send("exchange", self.number, list(settlements), claim, 0.0)

    def settle(self, *settlements: Settlement) -> None:
        self.exchange(settlements, 0)

    def take(self, count: int = 1, patience: float = PATIENCE) -> list[Delivery]:
        """`count` messages, in as many exchanges as it takes."""
        found: list[Delivery] = self.node.ask("exchange", self.number, [], count, patience)
        assert len(found) == count, f"{len(found)} of {count} messages came within {patience:g} s"
        return found

    def one(self, patience: float = PATIENCE) -> Delivery:
        return self.take(1, patience)[0]

    def expect_nothing(self) -> None:
        """Nothing is there to claim, and nothing comes for a moment."""
        found: list[Delivery] = self.node.ask("exchange", self.number, [], 1, QUIET)
        assert not found, f"{found} came, where nothing should"

    def close(self) -> None:
        self.node.ask("close", self.number)

    def kill(self) -> None:
        """End the lane's process as the kernel does it, without any farewell."""
        os.kill(self.pid, signal.SIGKILL)
        self.node.until(
            lambda: any(lane == self.number for lane, _ in self.node.told("lane ended")), "the lane is dead"
        )


class Node:
    """A test's hold on a node."""

    def __init__(self, broker: Broker, queues: Sequence[str], storage: Storage | None, owner: str, forks: bool) -> None:
        self._pipe, far = Pipe()
        _pipes.add(self._pipe)
        self._numbers = itertools.count(1)
        self._answers: dict[int, tuple[str, Any]] = {}
        self._events: list[tuple[str, Any]] = []
        self._lanes: list[LaneHandle] = []
        self._pid = 0
        self.forks = forks
        if not forks:
            driven = Driven(far, broker, queues, storage, owner, forks)
            self._thread = threading.Thread(target=driven.run, daemon=True)
            self._thread.start()
            return
        self._pid = os.fork()
        if self._pid:
            far.close()
            return
        status = 1
        try:
            for pipe in _pipes:
                pipe.close()
            Driven(far, broker, queues, storage, owner, forks).run()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    # -- talking to the other end

    def send(self, name: str, *arguments: object) -> int:
        number = next(self._numbers)
        self._pipe.send((number, name, arguments))
        return number

    def answer(self, number: int, patience: float = PATIENCE + 5.0) -> Any:
        """The answer to what was sent under this number; an error there is raised here."""
        self.until(lambda: number in self._answers, "an answer", patience)
        kind, value = self._answers.pop(number)
        if kind == "error":
            raise value
        return value

    def ask(self, name: str, *arguments: object) -> Any:
        return self.answer(self.send(name, *arguments))

    def until(self, fact: Callable[[], object], what: str = "", patience: float = PATIENCE) -> None:
        """Hear what comes until `fact` holds."""
        deadline = time.monotonic() + patience
        while not fact():
            left = deadline - time.monotonic()
            assert left > 0, f"after {patience:g} s still not: {what}"
            self._hear(min(left, 0.05))

    def _hear(self, seconds: float) -> bool:
        """Take one thing that comes; whether one came."""
        if not self._pipe.poll(seconds):
            return False
        try:
            number, kind, value = self._pipe.recv()
        except (EOFError, ConnectionError):
            raise AssertionError("the node has ended by itself; see its output") from None
        if number is None:
            self._events.append((kind, value))
        else:
            self._answers[number] = (kind, value)
        return True

    def told(self, kind: str) -> list[Any]:
        """What was told of this kind so far."""
        return [value for name, value in self._events if name == kind]

    def quiet(self, seconds: float = QUIET) -> None:
        """Hear what comes for a moment."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._hear(left)

    # -- the watch

    def start(self) -> None:
        self.ask("start")
        self.until(lambda: self.told("up"), "the watch is connected")

    def arm(self, idle: int) -> None:
        self.ask("arm", idle)

    def consume(self, *queues: str, idle: int = 0) -> None:
        """Let its lanes claim from these queues only; `idle` of them wait."""
        self.ask("consume", list(queues), idle)

    def rings(self) -> int:
        """How many times it was rung so far, after hearing what has come."""
        while self._hear(0.0):
            pass
        return len(self.told("message"))

    def await_ring(self, after: int = 0, patience: float = PATIENCE) -> None:
        """Wait until it has been rung more than `after` times."""
        self.until(lambda: len(self.told("message")) > after, "the watch rings", patience)

    def hold(self, *claims: Claim) -> None:
        """The claims that its children hold from now on, as far as the watch is told."""
        self.ask("hold", list(claims))

    def renew(self) -> None:
        self.ask("renew")

    def settle(self, *settlements: Settlement) -> None:
        """Settle through the watch, and wait until it has done so."""
        self.ask("settle", list(settlements))
        self.until(lambda: not self.ask("pending"), "the watch has settled")

    def depth(self) -> int:
        """How many messages the watch says that wait."""
        return int(self.ask("depth"))

    def recall(self, tag: str, fence: str) -> Message | None:
        message: Message | None = self.ask("recall", tag, fence)
        return message

    def lane(self) -> LaneHandle:
        number = self.send("lane")
        lane = LaneHandle(self, number, self.answer(number))
        self._lanes.append(lane)
        return lane

    def stop(self) -> None:
        self.ask("stop")

    def kill(self) -> None:
        """End the node and its children as a power cut would."""
        for lane in self._lanes:
            try:
                os.kill(lane.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # had ended before
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._pid = 0
        self._hang_up()

    def end(self) -> None:
        """Stop and be gone, whatever has happened."""
        if self._pipe.closed:
            return
        try:
            self.ask("stop")
            self.ask("end")
        except (AssertionError, OSError):
            if self._pid:
                os.kill(self._pid, signal.SIGKILL)
        finally:
            self._hang_up()
            if self._pid:
                os.waitpid(self._pid, 0)
            elif not self.forks:
                self._thread.join(PATIENCE)

    def _hang_up(self) -> None:
        _pipes.discard(self._pipe)
        self._pipe.close()


@contextmanager
def nodes(forks: bool) -> Iterator[Callable[..., Node]]:
    """Makes nodes, started and connected; ends them all."""
    made: list[Node] = []

    def make(
        broker: Broker, queues: Sequence[str] = ("work",), storage: Storage | None = None, *, start: bool = True
    ) -> Node:
        node = Node(broker, queues, storage, f"node{next(_names)}@{os.getpid()}", forks)
        made.append(node)
        if start:
            node.start()
        return node

    try:
        yield make
    finally:
        for node in made:
            node.end()
