"""What has happened to a node, for `multi why`: history.jsonl in its kept directory, one JSON object a line.

The file before it is history.1.jsonl; together they stay below half a megabyte, however often a node crashes.
"""

from __future__ import annotations

import os
import time

from . import record

_LARGEST = 256 * 1024


class History:
    """Appends; a line that can't be written is left out, whole."""

    def __init__(self, folder: str) -> None:
        self._path = f"{folder}/history.jsonl"
        self._older = f"{folder}/history.1.jsonl"

    def add(self, event: str, **fields: object) -> None:
        """Put an event on record; fields without a value are left out."""
        value = {"at": round(time.time(), 3), "event": event}
        value.update({name: item for name, item in fields.items() if item is not None and item != "" and item != []})
        line = (record.encode(value) + "\n").encode("utf-8", "surrogateescape")
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                size = os.fstat(fd).st_size
                if os.write(fd, line) != len(line):
                    os.ftruncate(fd, size)  # the disk is full: no half lines
                elif size + len(line) > _LARGEST:
                    os.replace(self._path, self._older)
            finally:
                os.close(fd)
        except OSError:
            pass  # the log says the same
