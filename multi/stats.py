"""The stats page: what a node is doing, in a small shared-memory file of fixed layout.

The worker writes the header, each of its children one row; `multi status` and the like read it at any time without
asking the node. Nobody locks: every field has one writer, and a reader that may have met a half-written row reads it
again.

The layout, version 2, little-endian; texts are UTF-8, filled up with zero bytes and cut where they are too long:

```
header, 2048 bytes
     0  8s    "MULTISTA"                  16  I     state: 0 starting 1 ready 2 stopping 3 stopped
     8  H     version                     20  I     pid of the worker
    10  H     size of the header          24  I     generation
    12  H     size of a row               28  I     concurrency
    14  H     number of rows              32  d     started, seconds since the epoch
                                          40  d     last turn of the worker's loop, the same
                                          48  Q     resident memory of the worker in bytes
                                          56  32s   pool
                                          88  1024s queues that are consumed now, joined by commas
                                        1112  II    the most and the least that run at once, where that follows the load
row, 512 bytes, one per child
     0  I     pid of the child; 0: none  144  64s   id of the task
     4  I     tasks that run in it       208  256s  what it was called with: argsrepr, and after a blank kwargsrepr
     8  d     since when the one named   464  Q     tasks that succeeded
              runs                       472  Q     tasks that failed
    16  128s  name of the task           480  Q     tasks that are retried
```

A file appears under its name only when it is whole (written beside it and renamed). In version 1 a row had 256 bytes:
no id and no arguments, the counts at 144.

The arguments are on the page as they came, in a file that only the node's user can read; readers mask them.
"""

from __future__ import annotations

import mmap
import os
from struct import Struct
from typing import NamedTuple

from multi.masking import mask_arguments

MAGIC = b"MULTISTA"
VERSION = 2

STARTING, READY, STOPPING, STOPPED = range(4)
STATES = ("starting", "ready", "stopping", "stopped")

# magic, version, size of the header, size of a row, number of rows: the same in every version
_PREFIX = Struct("<8sHHHH")
_NODE = Struct("<IIIIddQ32s1024s")
_NODE_AT = 16
_LIMITS = Struct("<II")
_LIMITS_AT = _NODE_AT + _NODE.size
_HEADER_SIZE = 2048
_TASK = Struct("<IId128s64s256s")
_COUNTS = Struct("<QQQ")
_COUNTS_AT = _TASK.size
_ROW_SIZE = 512
#: What a row holds of its task, by version; the counts follow.
_TASK_OF = {1: Struct("<IId128s"), 2: _TASK}


class ChildStats(NamedTuple):
    """One child's row."""

    row: int
    pid: int
    active: int
    since: float
    name: str
    succeeded: int
    failed: int
    retried: int
    id: str = ""
    args: str = ""
    """What the task was called with, with its secrets masked; perhaps cut off."""


class NodeStats(NamedTuple):
    """A whole page, as read at one moment."""

    state: str
    pid: int
    generation: int
    concurrency: int
    started: float
    last_loop: float
    rss: int
    pool: str
    queues: list[str]
    children: list[ChildStats]
    limits: tuple[int, int] | None = None
    """The most and the least that run at once, where that follows the load."""

    @property
    def active(self) -> int:
        return sum(child.active for child in self.children)

    @property
    def succeeded(self) -> int:
        return sum(child.succeeded for child in self.children)

    @property
    def failed(self) -> int:
        return sum(child.failed for child in self.children)

    @property
    def retried(self) -> int:
        return sum(child.retried for child in self.children)


class ChildRow:
    """A child's own row. Times are seconds since the epoch; texts that are too long are cut."""

    __slots__ = ("_at", "_counts_at", "_failed", "_memory", "_pid", "_retried", "_succeeded")

    def __init__(self, memory: mmap.mmap, at: int, pid: int) -> None:
        self._memory = memory
        self._at = at
        self._counts_at = at + _COUNTS_AT
        self._pid = pid
        self._succeeded, self._failed, self._retried = _COUNTS.unpack_from(memory, self._counts_at)
        self.task(0, 0.0, b"")

    def task(self, active: int, since: float, name: bytes, id: bytes = b"", args: bytes = b"") -> None:
        """How many tasks run in this child, since when the one named runs, which it is and what it was called with."""
        _TASK.pack_into(self._memory, self._at, self._pid, active, since, name, id, args)

    def count(self, succeeded: int = 0, failed: int = 0, retried: int = 0) -> None:
        """Add to the counts of this row; they go on over the row's successive children."""
        self._succeeded += succeeded
        self._failed += failed
        self._retried += retried
        _COUNTS.pack_into(self._memory, self._counts_at, self._succeeded, self._failed, self._retried)


class StatsPage:
    """The writer's side; `read` is the reader's."""

    def __init__(self, memory: mmap.mmap, rows: int) -> None:
        self._memory = memory
        self.rows = rows
        self._node: dict[str, int | float | bytes] = {
            "state": STARTING,
            "pid": os.getpid(),
            "generation": 1,
            "concurrency": 0,
            "started": 0.0,
            "last_loop": 0.0,
            "rss": 0,
            "pool": b"",
            "queues": b"",
        }

    @classmethod
    def create(cls, path: str | None, children: int) -> StatsPage:
        """A fresh page with room for `children` rows, in a file or (None) in anonymous memory that forks share.

        A file appears under its name only when it is whole.
        """
        size = _HEADER_SIZE + children * _ROW_SIZE
        if path is None:
            memory = mmap.mmap(-1, size)
            _PREFIX.pack_into(memory, 0, MAGIC, VERSION, _HEADER_SIZE, _ROW_SIZE, children)
            return cls(memory, children)
        temporary = f"{path}.{os.getpid()}"
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            # written out, not just extended: on a full disk a hole would end the worker later, with SIGBUS
            left = size
            while left:
                left -= os.write(fd, bytes(left))
            memory = mmap.mmap(fd, size)
            _PREFIX.pack_into(memory, 0, MAGIC, VERSION, _HEADER_SIZE, _ROW_SIZE, children)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        finally:
            os.close(fd)
        return cls(memory, children)

    def node(
        self,
        *,
        state: int | None = None,
        pid: int | None = None,
        generation: int | None = None,
        concurrency: int | None = None,
        started: float | None = None,
        last_loop: float | None = None,
        rss: int | None = None,
        pool: str | None = None,
        queues: list[str] | None = None,
        most: int | None = None,
        least: int | None = None,
    ) -> None:
        """Write the header; what is not given keeps its value. Only the worker itself calls it."""
        if most is not None and least is not None:
            _LIMITS.pack_into(self._memory, _LIMITS_AT, most, least)
        values = self._node
        if state is not None:
            values["state"] = state
        if pid is not None:
            values["pid"] = pid
        if generation is not None:
            values["generation"] = generation
        if concurrency is not None:
            values["concurrency"] = concurrency
        if started is not None:
            values["started"] = started
        if last_loop is not None:
            values["last_loop"] = last_loop
        if rss is not None:
            values["rss"] = rss
        if pool is not None:
            values["pool"] = pool.encode()
        if queues is not None:
            values["queues"] = ",".join(queues).encode()
        _NODE.pack_into(
            self._memory,
            _NODE_AT,
            values["state"],
            values["pid"],
            values["generation"],
            values["concurrency"],
            values["started"],
            values["last_loop"],
            values["rss"],
            values["pool"],
            values["queues"],
        )

    def child(self, index: int, pid: int | None = None) -> ChildRow:
        """The row of child `index`, to be written by that child alone (call it in the child, after the fork)."""
        if not 0 <= index < self.rows:
            raise IndexError(f"the stats page has {self.rows} rows; there is no row {index}")
        return ChildRow(self._memory, _HEADER_SIZE + index * _ROW_SIZE, os.getpid() if pid is None else pid)

    def clear(self, index: int) -> None:
        """Child `index` is gone: nothing runs in its row; its counts stay. Called by the worker."""
        ChildRow(self._memory, _HEADER_SIZE + index * _ROW_SIZE, 0)

    def snapshot(self) -> NodeStats:
        """The page as it is now, as a reader would see it."""
        stats = _parse(self._memory, len(self._memory))
        assert stats is not None
        return stats

    @staticmethod
    def read(path: str) -> NodeStats | None:
        """The page at `path`; None where there is none, or one of a version that isn't known here."""
        try:
            # it may be another user's file: no link is followed, no pipe waited for
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            size = os.fstat(fd).st_size
            return None if size < _HEADER_SIZE else _parse(_File(fd), size)
        except (OSError, ValueError):
            return None
        finally:
            os.close(fd)


class _File:
    """A page that is read, not mapped: who cuts it short meanwhile would end the reader with SIGBUS."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __getitem__(self, part: slice) -> bytes:
        size = part.stop - part.start
        data = os.pread(self._fd, size, part.start)
        if len(data) != size:
            raise ValueError("the page has been cut short")
        return data


def _parse(memory: mmap.mmap | _File, size: int) -> NodeStats | None:
    magic, version, header_size, row_size, rows = _PREFIX.unpack(memory[0 : _PREFIX.size])
    task = _TASK_OF.get(version)
    if magic != MAGIC or task is None or size < header_size + rows * row_size:
        return None
    state, pid, generation, concurrency, started, last_loop, rss, pool, queues = _NODE.unpack(
        _steady(memory, _NODE_AT, _NODE.size)
    )
    limits = _LIMITS.unpack(_steady(memory, _LIMITS_AT, _LIMITS.size))
    children = []
    for index in range(rows):
        row = _steady(memory, header_size + index * row_size, task.size + _COUNTS.size)
        child_pid, active, since, *texts = task.unpack_from(row, 0)
        succeeded, failed, retried = _COUNTS.unpack_from(row, task.size)
        if child_pid or succeeded or failed or retried:
            name, task_id, args = [*map(_text, texts), "", ""][:3]
            children.append(
                ChildStats(
                    index, child_pid, active, since, name, succeeded, failed, retried, task_id, mask_arguments(args)
                )
            )
    return NodeStats(
        STATES[state] if state < len(STATES) else f"state {state}",
        pid,
        generation,
        concurrency,
        started,
        last_loop,
        rss,
        _text(pool),
        [queue for queue in _text(queues).split(",") if queue],
        children,
        (limits[0], limits[1]) if limits[0] else None,
    )


def _steady(memory: mmap.mmap | _File, at: int, size: int) -> bytes:
    """The bytes there, read until two reads agree; after a few tries the last one, which may be torn, has to do."""
    data = memory[at : at + size]
    for _ in range(4):
        again = memory[at : at + size]
        if again == data:
            break
        data = again
    return data


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "replace")
