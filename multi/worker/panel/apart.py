"""What would take long is done in a copy of the worker's process: the worker itself waits for nobody."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from multi.log import get_logger
from multi.loop import Loop
from multi.worker.child import die_with_parent

logger = get_logger("multi.worker")


def apart(loop: Loop, work: Callable[[], bytes], then: Callable[[bytes | None], None], patience: float) -> None:
    """Call `then` with what `work` returns in the copy; with None where it has failed, or took longer than `patience` (s)."""
    reader, writer = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
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
        then(bytes(found) if status == 0 else None)

    loop.on_readable(reader, read)
