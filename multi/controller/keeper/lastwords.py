"""The last words of a worker that has fallen silent: before it is ended, its children are asked where they are.

A worker dies of ABRT with its own stacks in the log; its children die with it, and would say nothing. Each of them that
listens for the signal STACKS writes its stacks into one file (`multi.stacks` has the form), so they are asked one after the
other, the busy ones first; what they wrote comes to the log.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import time

from . import proc, record, tasks

TYPE_CHECKING = False  # the module `typing` alone would cost the keeper 7 ms
if TYPE_CHECKING:
    from typing import Any

    from .node import Node
    from .worker import Worker

STACKS = _signal.SIGRTMIN + 1
#: Of so many children at most the stacks are wanted; they, all together and each of them, may take so long (s).
MOST, LONGEST, PATIENCE = 16, 4.0, 0.5
#: Between two looks at the file; so many without anything new are the end of an answer.
LOOK, _STEADY = 0.02, 3
_LONGEST_ANSWER = 64 * 1024


class LastWords:
    """The children of one worker on their way through being asked."""

    def __init__(self, node: Node, one: Worker) -> None:
        self._node = node
        self._path = f"{node.files}/stacks.{one.generation}"
        self._tasks: dict[int, dict[str, Any]] = {
            task["pid"]: task for task in tasks.running(f"{node.files}/stats.{one.generation}")
        }
        found = [pid for pid in one.processes() if pid != one.pid and _listens(pid)]
        self._left = sorted(found, key=lambda pid: (pid not in self._tasks, pid))[:MOST]
        self._until = time.monotonic() + LONGEST
        self._pid = 0  # who is asked at present
        self._patience = 0.0
        self._before = self._seen = 0
        self._steady = 0

    def go_on(self) -> bool:
        """Take what has been written, and ask the next; False when there is nobody left to be waited for."""
        if self._pid and not self._is_over():
            return True
        if self._pid:
            self._tell()
        while self._left and time.monotonic() < self._until:
            if self._ask(self._left.pop(0)):
                return True
        return False

    def _ask(self, pid: int) -> bool:
        start = proc.start_time(pid)
        fd = proc.open_identified(pid, start) if start else -1
        if fd < 0:
            return False
        try:
            self._before = self._seen = os.stat(self._path, follow_symlinks=False).st_size
            if not _listens(pid):  # of whom it would be the end
                return False
            _signal.pidfd_send_signal(fd, STACKS)
            _signal.pidfd_send_signal(fd, _signal.SIGCONT)  # one that was stopped has to go on, to say where it was
        except OSError:
            return False
        finally:
            os.close(fd)
        self._pid, self._steady = pid, 0
        self._patience = time.monotonic() + PATIENCE
        return True

    def _is_over(self) -> bool:
        try:
            size = os.stat(self._path, follow_symlinks=False).st_size
        except OSError:
            return True
        self._steady = self._steady + 1 if size == self._seen and size > self._before else 0
        self._seen = size
        return self._steady >= _STEADY or time.monotonic() >= self._patience

    def _tell(self) -> None:
        text = ""
        try:
            with open(record.read_regular(self._path), "rb") as file:
                file.seek(self._before)
                text = file.read(_LONGEST_ANSWER).decode("utf-8", "replace").rstrip()
        except OSError:
            pass  # its folder was cleared
        task = self._tasks.get(self._pid) or {}
        runs = f", which runs {task.get('name') or 'a task'}[{task.get('id') or '?'}]," if task else ""
        said = f"was here:\n{text}" if text else "has not said where it is"
        self._node.log.say("ERROR", f"{self._node.name}: the child (pid {self._pid}){runs} {said}")
        self._pid = 0


def _listens(pid: int) -> bool:
    """Whether the process has a handler for the signal, which would end it otherwise."""
    try:
        with open(f"/proc/{pid}/status", errors="replace") as lines:
            for line in lines:
                if line.startswith("SigCgt:"):
                    return bool(int(line.split()[1], 16) >> (STACKS - 1) & 1)
    except OSError:
        pass  # it has just ended
    return False
