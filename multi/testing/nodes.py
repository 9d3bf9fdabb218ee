"""A worker without tasks: a watch on its loop and lanes of its children, driven by a test.

For a broker that processes share, node and children are real processes, forked as a worker forks them, so that a test
can kill them; for one that lives in a single process they are threads.
"""

from __future__ import annotations

import itertools
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

from multi.brokers.base import Broker, Claim, Delivery, Lane, Settlement, WatchEvents
from multi.loop import Loop
from multi.message import Message
from multi.store import Storage

#: Seconds within which anything that is promised at once must have happened; generous, machines are slow sometimes.
PATIENCE = 15.0
#: Seconds for which nothing must happen when nothing may happen.
QUIET = 0.3

_names = itertools.count(1)
#: This end of the pipes to all nodes; a forked node must not hold those of others open.
_pipes: set[Connection] = set()


class Driven:
    """The far end: node and lanes in their own process or thread, which do what they are told over a pipe."""

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

    def _hear(self, seconds: float) -> None:
        if self._pipe.poll(seconds):
            try:
                number, kind, value = self._pipe.recv()
            except (EOFError, ConnectionError):
                raise AssertionError("the node has ended by itself; see its output") from None
            if number is None:
                self._events.append((kind, value))
            else:
                self._answers[number] = (kind, value)

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

    def rings(self) -> int:
        """How many times it was rung so far, after hearing what has come."""
        self.quiet(0.0)
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
