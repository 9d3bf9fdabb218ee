"""What tasks and libraries print, as lines of the log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from threading import local
from typing import Any, TextIO, cast

from multi.log import get_logger, parse_level


class StreamToLog:
    """Stands in for `sys.stdout` or `sys.stderr`: what is printed goes to a logger, a record for each line."""

    encoding = "utf-8"
    errors = "backslashreplace"
    newlines = None
    closed = False

    def __init__(self, original: TextIO | None, logger: logging.Logger, level: int) -> None:
        self.original = original
        self._logger = logger
        self._level = level
        self._threads = local()  # each thread has its own unfinished line, and must not log while logging

    def write(self, data: str) -> int:
        threads = self._threads
        if getattr(threads, "busy", False):  # a handler that itself prints
            return self.original.write(data) if self.original is not None else len(data)
        text = getattr(threads, "rest", "") + data
        *lines, threads.rest = text.split("\n")
        for line in lines:
            self._log(line)
        return len(data)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        rest = getattr(self._threads, "rest", "")
        if rest:
            self._threads.rest = ""
            self._log(rest)

    def _log(self, line: str) -> None:
        if not line.strip():
            return
        self._threads.busy = True
        try:
            self._logger.log(self._level, "%s", line.rstrip("\r"))
        finally:
            self._threads.busy = False

    def isatty(self) -> bool:
        return False

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        if self.original is None:
            raise OSError("this process has no such stream")
        return self.original.fileno()

    @property
    def buffer(self) -> Any:
        return self.original.buffer if self.original is not None else None


def redirect_stdouts(level: int | str = logging.WARNING) -> None:
    """Send what this process and those it forks print to the log, at `level`."""
    logger = get_logger("multi.redirected")
    number = parse_level(level)
    sys.stdout = cast(TextIO, StreamToLog(_original(sys.stdout), logger, number))
    sys.stderr = cast(TextIO, StreamToLog(_original(sys.stderr), logger, number))


def restore_stdouts() -> None:
    """Take `redirect_stdouts` back."""
    sys.stdout = cast(TextIO, _original(sys.stdout))
    sys.stderr = cast(TextIO, _original(sys.stderr))


def _original(stream: Any) -> TextIO | None:
    return stream.original if isinstance(stream, StreamToLog) else stream
