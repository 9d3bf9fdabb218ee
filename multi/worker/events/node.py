"""A node's events: whether they are wanted, the worker's own, and the way of all of them to the broker.

Only the worker's process sends. What its children write into their rings it takes a few times in a blink of the eye, as long
as there is something, and joins it to lists; when there is nothing it sleeps, and the next line wakes it. So no task waits for
a broker, what a killed child has written isn't lost, and a flood is bounded by the rings.
"""

from __future__ import annotations

import os
import platform
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from multi import __version__, signals
from multi.app.events.event import MANY, group_from, message, routing_key
from multi.codecs import codec
from multi.log import get_logger
from multi.worker.events.ring import ASLEEP, WANTED, Ring, Rings, keyed, unkeyed
from multi.worker.events.telling import Telling

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multi.loop import Timer
    from multi.message import Message
    from multi.outcome import Outcome
    from multi.worker.worker import Worker

logger = get_logger("multi.worker")

#: Seconds between two looks into the rings while something comes.
TICK = 0.02
#: Bytes of events in one message, about; what is made of them stays near the processor.
CHUNK = 64 * 1024
#: Bytes of the worker's own events that wait to be sent; what would be more is dropped.
OWN = 1024 * 1024
#: Messages of one child's events at a time, at most.
ROUNDS = 32
#: That events are dropped is told again after so long (s).
TOLD = 60.0
#: Worst case (s) for a line whose ring at the worker's door went unheard.
SAFETY = 1.0


def keep_memory() -> None:
    """Have the C library keep what is freed for what comes next.

    By itself glibc gives pieces of the size of our messages back to the system at once, whose pages then cost more than the
    messages. A larger piece that was freed once teaches it another measure; other libraries take no notice.
    """
    bytearray(64 * CHUNK)


class Events:
    """One worker's.

    `enabled` says whether events of tasks are sent: by -E or its setting, by `enable` and `disable` since then.
    """

    def __init__(self, worker: Worker) -> None:
        options, conf = worker.options, worker.app.conf
        self._worker = worker
        self._loop = worker.loop
        self.enabled: bool = options.task_events
        if self.enabled:
            keep_memory()
        self._talks = options.events
        self._beats = options.heartbeats
        self.interval = options.heartbeat_interval
        self._exchange: str = conf.event_exchange
        self._serializer = codec(conf.event_serializer)
        self.telling = Telling(worker.app, options.hostname, os.getpid())
        self._rings: dict[int, Rings] = {}
        self._lines: deque[bytes] = deque()
        self._keyed: deque[bytes] = deque()
        self._waiting = 0
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._timer: Timer | None = None
        self._online = False
        self._told = 0.0
        self._told_of = 0
        self._lost = 0  # what rings that are gone had dropped, and the worker's own
        #: messages, of one event or many, that were given to the broker's watch
        self.sent = 0
        worker.app.event_sink = self._sink
        self._loop.on_readable(self._bell, self._rung)
        self._loop.every(SAFETY, self._look)
        if self._beats:
            self._loop.every(self.interval, self._beat)

    # what is wanted --------------------------------------------------------------------------------------------------------

    def enable(self) -> bool:
        """Send events of tasks from now on; whether that is new."""
        return self._want(True)

    def disable(self) -> bool:
        """Send no more events of tasks; whether that is new."""
        return self._want(False)

    def _want(self, wanted: bool) -> bool:
        changed = wanted is not self.enabled
        if wanted:
            keep_memory()
        self.enabled = wanted
        for rings in self._rings.values():
            rings.tasks.header[WANTED] = wanted
        return changed

    # the worker's own ------------------------------------------------------------------------------------------------------

    def send(self, type: str, **fields: Any) -> None:
        """Send an event of the worker's own; one of tasks only if they are wanted. Never blocks. Raises `EncodeError`."""
        group = group_from(type)
        if group == "task":
            if self.enabled:
                self._put([self.telling.custom(type, fields)])
        elif self._talks and (group == "worker" or self.enabled):
            self._say(self.telling.custom(type, fields)[:-1], routing_key(type))

    def _sink(self, key: str, hostname: str, text: bytes) -> None:
        """What the project's code in this process tells."""
        self._put([keyed(key, hostname, text)], self._keyed)

    def heartbeat(self) -> None:
        """Send a heartbeat now, besides those of every few seconds."""
        self._tell("worker-heartbeat")

    def online(self) -> None:
        """The worker is ready."""
        self._online = True
        if self._beats:
            self._tell("worker-online")

    def hand_over(self) -> None:
        """Another process is the node from now on: only the ends of what still runs here are told."""
        self._online = self._beats = False

    def offline(self) -> None:
        """The worker ends; all that has been written is sent before."""
        self._take()
        if self._online and self._beats:
            self._tell("worker-offline")
        self._online = False

    def _beat(self) -> None:
        if self._online and self._beats:
            self._tell("worker-heartbeat")

    def _tell(self, type: str) -> None:
        if signals.heartbeat_sent.receivers:
            signals.heartbeat_sent.send(self)
        stats = self._worker.page.snapshot()
        self.send(
            type,
            freq=self.interval,
            active=stats.active,
            processed=sum(map(self._worker.totals.of_row, range(self._worker.page.rows))),
            loadavg=[round(load, 2) for load in os.getloadavg()],
            sw_ident="py-multi",
            sw_ver=__version__,
            sw_sys=platform.system(),
        )

    # of tasks --------------------------------------------------------------------------------------------------------------

    def ended(self, outcome: Outcome, message: Message) -> None:
        """Tell what became of a task whose child can't."""
        if self.enabled:
            self._put(self.telling.ended(outcome, message))

    def terminated(self, task_id: str, name: str, signum: int) -> None:
        """A run was ended by force, as somebody has asked for."""
        if self.enabled and self._tells(name):
            self._put([self.telling.revoked(task_id, terminated=True, signum=signum)])

    def told(self, type: str, task_id: str, name: str, **fields: Any) -> None:
        """An event of one task."""
        if self.enabled and task_id and self._tells(name):
            self._put([self.telling.line(type, uuid=task_id, **fields)])

    def _tells(self, name: str) -> bool:
        task = self._worker.app.tasks.get(name)
        return task is None or bool(task.send_events)

    # the way to the broker -------------------------------------------------------------------------------------------------

    def rings(self) -> Rings:
        """Rings for a child that is about to be forked."""
        rings = Rings(self._bell)
        rings.tasks.header[WANTED] = self.enabled
        return rings

    def add(self, number: int, rings: Rings) -> None:
        """The child of this number writes into them."""
        self._rings[number] = rings

    def remove(self, number: int) -> None:
        """The child is gone; what it has written comes before what is told of its end."""
        rings = self._rings.pop(number)
        while lines := rings.tasks.take(CHUNK):
            self._put([lines])
        while lines := rings.own.take(CHUNK):
            self._put(lines.splitlines(keepends=True), self._keyed)
        for ring in (rings.tasks, rings.own):
            self._lost += ring.dropped
            ring.close()

    @property
    def _every(self) -> list[Ring]:
        return [ring for rings in self._rings.values() for ring in (rings.tasks, rings.own)]

    @property
    def dropped(self) -> int:
        """Events that found no room in the rings or in the worker, and messages of them that the broker could not be given."""
        return self._lost + sum(ring.dropped for ring in self._every) + self._worker.watch.unsaid

    def figures(self) -> dict[str, int | bool]:
        """For `stats`: whether events of tasks are sent, how many messages of events were, and what was dropped."""
        return {"enabled": self.enabled, "messages": self.sent, "dropped": self.dropped}

    def _put(self, lines: Iterable[bytes], where: deque[bytes] | None = None) -> None:
        """Let lines wait for the next turn."""
        where = self._lines if where is None else where
        for line in lines:
            if self._waiting + len(line) > OWN:
                self._lost += line.count(b"\n")
                continue
            where.append(line)
            self._waiting += len(line)
        if self._waiting and self._timer is None:
            self._timer = self._loop.later(TICK, self._turn)

    def _rung(self) -> None:
        try:
            os.eventfd_read(self._bell)
        except BlockingIOError:
            pass
        if self._timer is None:
            self._timer = self._loop.later(TICK, self._turn)
        elif any(rings.tasks.plenty for rings in self._rings.values()):
            self._take()

    def _look(self) -> None:
        if self._timer is None and any(not ring.empty for ring in self._every):
            self._turn()

    def _turn(self) -> None:
        self._timer = None
        if not self._take():
            for ring in self._every:
                ring.header[ASLEEP] = 1
            if all(ring.empty for ring in self._every):
                return  # the next line wakes us
        self._timer = self._loop.later(TICK, self._turn)

    def _take(self) -> bool:
        """Send all that has been written; whether there was anything."""
        lines, keyed = list(self._lines), list(self._keyed)
        self._lines.clear()
        self._keyed.clear()
        self._waiting = 0
        size = sum(map(len, lines))
        any_line = bool(lines)
        for rings in self._rings.values():
            # no more than there is now: a child that writes all the time is not to keep us here
            for _ in range(ROUNDS):
                if not (piece := rings.tasks.take(CHUNK)):
                    break
                any_line = True
                if size + len(piece) > CHUNK and lines:
                    self._say_lines(lines)
                    lines, size = [], 0
                lines.append(piece)
                size += len(piece)
            for _ in range(ROUNDS):
                if not (piece := rings.own.take(CHUNK)):
                    break
                keyed += piece.splitlines(keepends=True)
        if lines:
            self._say_lines(lines)
        for line in keyed:
            key, hostname, text = unkeyed(line)
            self._say(text, key, hostname)
        self._complain()
        return any_line or bool(keyed)

    def _say_lines(self, pieces: list[bytes]) -> None:
        lines = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        events = lines.replace(b"\n", b",")
        self._say(b"".join((b"[", memoryview(events)[:-1], b"]")), MANY)

    def _say(self, body: bytes, key: str, hostname: str = "") -> None:
        serializer = self._serializer
        self.sent += 1
        if serializer.name != "json":
            body = serializer.dumps(msgspec.json.decode(body))
        self._worker.watch.say(
            self._exchange,
            message(
                body,
                hostname or self._worker.options.hostname,
                serializer.content_type,
                serializer.content_encoding,
            ),
            key=key,
            kind="topic",
        )

    def _complain(self) -> None:
        dropped = self.dropped
        if dropped > self._told_of and (now := monotonic()) - self._told > TOLD:
            logger.warning(
                "%d events were dropped: there were more of them than could be sent (that changes nothing for the tasks)",
                dropped - self._told_of,
            )
            self._told, self._told_of = now, dropped

    def close(self) -> None:
        """Let go of the bell, and of the app."""
        self._worker.app.event_sink = None
        self._loop.forget(self._bell)
        os.close(self._bell)
