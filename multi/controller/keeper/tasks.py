"""What a worker was running when it ended, from its stats page (`multi.stats` has the layout)."""

from __future__ import annotations

from struct import Struct

from . import record

TYPE_CHECKING = False  # the module `typing` alone would cost the keeper 7 ms
if TYPE_CHECKING:
    from typing import Any

_PREFIX = Struct("<8sHHHH")
_TASKS = {1: Struct("<IId128s"), 2: Struct("<IId128s64s256s")}
_LARGEST = 4 << 20
_MOST = 20


def running(page: str) -> list[dict[str, Any]]:
    """The tasks that ran, the eldest first, a few at most. Arguments are as they came: who shows them masks them."""
    try:
        with open(record.read_regular(page), "rb") as file:
            data = file.read(_LARGEST)
    except OSError:
        return []
    if len(data) < _PREFIX.size:
        return []
    _, version, header, size, rows = _PREFIX.unpack_from(data, 0)
    layout = _TASKS.get(version)
    found: list[dict[str, Any]] = []
    if layout is None or size < layout.size or len(data) < header + rows * size:
        return found
    for row in range(rows):
        pid, active, since, *texts = layout.unpack_from(data, header + row * size)
        if active:
            name, task_id, args = [*(text.partition(b"\0")[0].decode("utf-8", "replace") for text in texts), "", ""][:3]
            found.append({"name": name, "id": task_id, "since": since, "args": args, "pid": pid, "active": active})
    return sorted(found, key=lambda one: one["since"])[:_MOST]
