"""Go to the background, and let the one who asked know how the start went."""

from __future__ import annotations

import os
import select
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable

TAIL_BYTES = 4000


def detach(log: str, say: Callable[[str], None], who: str = "worker") -> int | None:
    """Fork. Returns None in the background process, and the exit code in the one that stays: 0 when the worker is ready.

    The background process has its own session; its output goes to `log`. The one in front waits until the worker
    consumes from its queues, repeats through `say` what it tells of itself meanwhile, or, when it dies, the end of the
    log. Raises `OSError` when `log` can't be opened. To be called before threads or connections exist.
    """
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    begin = os.fstat(fd).st_size
    directory = tempfile.mkdtemp(prefix="multi-")
    ears = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    child = -1
    alive, hold = os.pipe()  # closed by the worker's end, however it ends
    try:
        address = os.path.join(directory, "notify")
        ears.bind(address)
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            ears.close()
            os.close(alive)
            _leave(fd)
            os.environ["NOTIFY_SOCKET"] = address
            os.register_at_fork(after_in_child=lambda: _close(hold))
            return None
        os.close(hold)
        os.close(fd)
        ready = _wait(ears, alive, say)
    finally:
        if child != 0:
            ears.close()
            os.close(alive)
            shutil.rmtree(directory, ignore_errors=True)
    if ready:
        say(f"running in the background: pid {child}, log {log}")
        return 0
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    ending = f"exit status {code}" if code >= 0 else f"signal {-code}"
    say(f"the {who} has ended before it was ready ({ending}); the end of {log}:\n{_tail(log, begin)}")
    return code if code > 0 else 1


def _leave(log: int) -> None:
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for fd in {nothing, log} - {0, 1, 2}:
        os.close(fd)


def _wait(ears: socket.socket, alive: int, say: Callable[[str], None]) -> bool:
    while True:
        readable, _, _ = select.select([ears.fileno(), alive], [], [])
        if ears.fileno() in readable:
            for line in ears.recv(65536).decode("utf-8", "replace").splitlines():
                key, _, value = line.partition("=")
                if key == "READY" and value == "1":
                    return True
                if key == "STATUS":
                    say(value)
        elif alive in readable:
            return False


def _tail(log: str, begin: int) -> str:
    with open(log, "rb") as file:
        file.seek(max(begin, os.fstat(file.fileno()).st_size - TAIL_BYTES))
        return file.read().decode("utf-8", "replace").rstrip()


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        pass  # closed with all other descriptors already
