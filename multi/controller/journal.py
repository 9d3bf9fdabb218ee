"""The lines of a node that its manager keeps in a journal: copied into a file, from which they are read as any log."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import IO

from multi.controller.keeper import libc
from multi.controller.managers.base import ManagerError, Unit

_FIELDS = "--output-fields=MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_PID"
#: The levels of syslog.
_LEVELS = ("CRITICAL", "CRITICAL", "CRITICAL", "ERROR", "WARNING", "INFO", "INFO", "DEBUG")


class Journal:
    """A copy of what a unit's journal holds; `lines` and `since` say how much is wanted of it (None: all)."""

    def __init__(self, unit: Unit, *, lines: int | None, since: float | None) -> None:
        self._unit = unit
        self._follower: subprocess.Popen[bytes] | None = None
        self._copying: threading.Thread | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="multi-journal-")  # its own, since that is what is watched
        self.path = os.path.join(self._folder.name, "lines")
        self._file = open(self.path, "w", encoding="utf-8")  # noqa: SIM115 (it is open as long as this object)
        self._cursor = ""
        words = _with_fields(unit.journal(follow=False, lines=lines, since=since))
        with tempfile.TemporaryFile() as errors:
            try:
                with subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
                ) as process:
                    assert process.stdout is not None
                    self._copy(process.stdout)
            except FileNotFoundError:
                self.close()
                raise ManagerError(f"the lines of {unit} are in the journal, and there is no journalctl here") from None
            errors.seek(0)
            said = " ".join(errors.read().decode("utf-8", "replace").split())
        # with nothing in the wanted time it ends with 1, and says nothing of it
        is_empty = process.returncode == 1 and not said
        if not self._cursor and not is_empty and (process.returncode or "not seeing messages" in said):
            self.close()
            raise ManagerError(
                f"the journal of {unit} can't be read ({said or f'exit status {process.returncode}'}); read it as root, or as a "
                "member of the group systemd-journal"
            )

    def follow(self) -> None:
        """Have what comes from now on added to the copy."""
        words = _with_fields(self._unit.journal(follow=True, lines=None, since=None))
        if self._cursor:
            words.append(f"--after-cursor={self._cursor}")
        self._follower = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            preexec_fn=libc.end_with_parent,  # noqa: PLW1509 (no threads yet; it would go on for ever when we are killed)
        )
        self._copying = threading.Thread(target=self._copy, args=(self._follower.stdout,), daemon=True)
        self._copying.start()

    def close(self) -> None:
        """End it; the copy is gone then."""
        if self._follower is not None:
            self._follower.terminate()
            self._follower.wait()
            if self._copying is not None:
                self._copying.join()
            self._follower = None
        self._file.close()
        self._folder.cleanup()

    def _copy(self, entries: IO[bytes] | Iterable[bytes]) -> None:
        for line in entries:
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # cut off by its end
            self._cursor = str(entry.get("__CURSOR") or self._cursor)
            self._file.write(text(entry) + "\n")
            if self._follower is not None:
                self._file.flush()
        self._file.flush()


def text(entry: Mapping[str, object]) -> str:
    """A line of the copy: what the node has written, or, as if it were a line of a log, what systemd says of it."""
    given = entry.get("MESSAGE")
    # what is no text comes as numbers
    message = bytes(given).decode("utf-8", "replace") if isinstance(given, list) else str(given or "")
    if entry.get("SYSLOG_IDENTIFIER") != "systemd":
        return message
    at = int(str(entry.get("__REALTIME_TIMESTAMP") or 0)) / 1e6
    stamp = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at))},{int(at % 1 * 1000):03d}"
    priority = str(entry.get("PRIORITY"))
    level = _LEVELS[int(priority)] if priority in "01234567" else "INFO"
    return f"[{stamp}: {level}/systemd] {message}"


def _with_fields(words: Sequence[str]) -> list[str]:
    """The command, with entries in JSON: of a line alone nobody could tell who has written it, and when."""
    return [*("--output=json" if word == "--output=cat" else word for word in words), _FIELDS]
