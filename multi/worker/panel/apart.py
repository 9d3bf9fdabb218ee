"""What would take long is done in a copy of the worker's process: the worker itself waits for nobody."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable
from typing import NoReturn

from multi.log import get_logger
from multi.loop import Loop
from multi.worker.child import die_with_parent

logger = get_logger("multi.worker")


#: Copies at once; what more is asked for waits, and beyond so many it isn't done.
AT_ONCE, MOST = 2, 100

Work = Callable[[], bytes]
Then = Callable[[bytes | None], None]


class Apart:
    """Makes the copies of one worker."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._running = 0
        self._waiting: deque[tuple[Work, Then, float]] = deque()

    def do(self, work: Work, then: Then, patience: float) -> None:
        """Call `then` with what `work` returns in a copy; with None where it has failed, took longer than `patience` (s), or too
        much is to be done already."""
        if self._running < AT_ONCE:
            self._run(work, then, patience)
        elif len(self._waiting) < MOST:
            self._waiting.append((work, then, patience))
        else:
            then(None)

    def _run(self, work: Work, then: Then, patience: float) -> None:
        self._running += 1
        loop = self._loop
        reader, writer = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _work(work, reader, writer, parent)
        os.close(writer)
        os.set_blocking(reader, False)
        found = bytearray()
        # it is reaped when the pipe has ended, and the timer is gone then: this is no other process
        timer = loop.later(patience, lambda: os.kill(pid, signal.SIGKILL))

        def read() -> None:
            try:
                while data := os.read(reader, 1 << 20):
                    found.extend(data)
            except BlockingIOError:
                return
            timer.cancel()
            loop.forget(reader)
            os.close(reader)
            _, status = os.waitpid(pid, 0)
            self._running -= 1
            if self._waiting:
                self._run(*self._waiting.popleft())
            then(bytes(found) if status == 0 else None)

        loop.on_readable(reader, read)


def _work(work: Work, reader: int, writer: int, parent: int) -> NoReturn:
    """In the copy."""
    code = 1
    try:
        os.close(reader)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        die_with_parent(parent)
        data = memoryview(work())
        while data:
            data = data[os.write(writer, data) :]
        code = 0
    except BaseException as error:
        logger.error("What remote control has asked for can't be done: %r", error)
    finally:
        os._exit(code)
