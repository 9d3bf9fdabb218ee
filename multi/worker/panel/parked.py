"""What waits for its time in a worker's queues: it lies in the broker, and is looked at by a copy of the worker's process.

So the worker itself waits for nobody. Who asks while one is looking gets what that one finds.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from multi.brokers.looking import PARKED
from multi.errors import MultiError
from multi.log import get_logger
from multi.loop import Timer
from multi.message import Message
from multi.worker.child import die_with_parent

if TYPE_CHECKING:
    from multi.worker.worker import Worker

logger = get_logger("multi.worker")

#: Messages that are told of one queue at most.
MOST = 1000
#: So long (s) a look may take.
PATIENCE = 5.0

#: When it is due, its queue, and the message.
Waiting = tuple[float, str, Message]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Waiting]).decode


class Parked:
    """Looks for one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._asked: list[Callable[[list[Waiting]], None]] = []
        self._found = bytearray()
        self._timer: Timer | None = None

    def ask(self, then: Callable[[list[Waiting]], None]) -> None:
        """Call `then` with what is parked in the queues that are consumed, as far as the broker can tell; soon."""
        broker = self._worker.app.worker_broker
        if PARKED not in broker.abilities.peeks or not self._worker.consumed:
            then([])
            return
        self._asked.append(then)
        if len(self._asked) == 1:
            self._look()

    def _look(self) -> None:
        reader, writer = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD):
                    signal.signal(number, signal.SIG_DFL)
                signal.set_wakeup_fd(-1)
                die_with_parent(parent)
                self._tell(writer)
            finally:
                os._exit(0)
        os.close(writer)
        os.set_blocking(reader, False)
        self._found = bytearray()
        loop = self._worker.loop
        self._timer = loop.later(PATIENCE, lambda: os.kill(pid, signal.SIGKILL))  # not reaped before the timer is gone
        loop.on_readable(reader, lambda: self._read(reader, pid))

    def _tell(self, writer: int) -> None:
        """In the copy: look, and write it down."""
        worker = self._worker
        broker = worker.app.worker_broker
        found: list[Waiting] = []
        try:
            for queue in worker.consumed:
                found += (
                    (seen.due, queue, seen.message)
                    for seen in broker.peek(queue, MOST, PARKED)
                    if seen.message is not None
                )
        except MultiError as error:
            logger.error("What waits for its time can't be looked at: %s", error)
        data = memoryview(_encode(found))
        while data:
            data = data[os.write(writer, data) :]

    def _read(self, reader: int, pid: int) -> None:
        try:
            while data := os.read(reader, 1 << 20):
                self._found += data
        except BlockingIOError:
            return
        self._worker.loop.forget(reader)
        os.close(reader)
        if self._timer is not None:
            self._timer.cancel()
        os.waitpid(pid, 0)
        try:
            found = _decode(bytes(self._found))
        except msgspec.DecodeError:
            found = []  # it took too long
        self._found = bytearray()
        asked, self._asked = self._asked, []
        for then in asked:
            then(found)
