"""The lines that tell the life of a task in the log, in the words that Celery's users know.

A child makes one `TaskLines` when it starts. Its two flags say once what the log level lets through, so that at WARNING
a task that succeeds costs the log nothing but a look at `info`.
"""

from __future__ import annotations

import logging

from multi.app.saferepr import saferepr
from multi.log import OF_TASKS, get_logger

CONNECTED = "Connected to %s"
READY = "%s ready."
RECEIVED = "Task %s[%s] received"
SUCCEEDED = "Task %s[%s] succeeded in %ss: %s"
FAILED = "Task %s[%s] raised unexpected: %s"
EXPECTED = "Task %s[%s] raised expected: %s"
RETRY = "Task %s[%s] retry: %s"
IGNORED = "Task %s[%s] ignored"
REJECTED = "Task %s[%s] rejected: %s"
PARKED = "Task %s[%s] is not due before %s: parked in the broker"
PACED = "Task %s[%s] waits for its turn at %s (%s): parked in the broker"
REVOKED = "Discarding revoked task: %s[%s] (%s)"
BURIED = "Task %s[%s] goes to the dead-letter queue of %r: %s"

#: Of so many waiting tasks it is remembered at least that their waiting was told.
REMEMBERED = 10_000
#: Characters of a result where its task says nothing (`resultrepr_maxsize`).
RESULT_LENGTH = 1024


class TaskLines:
    """Writes them; `info` and `error` say whether lines of that level are written at all."""

    __slots__ = ("_waited", "_waiting", "error", "info", "logger")

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self.logger = logger if logger is not None else get_logger(OF_TASKS)
        self.info = self.logger.isEnabledFor(logging.INFO)
        self.error = self.logger.isEnabledFor(logging.ERROR)
        # the tasks whose waiting was told, the latest ones and those before
        self._waiting: set[str] = set()
        self._waited: set[str] = set()

    def received(self, name: str, task_id: str) -> None:
        if self.info:
            self.logger.info(RECEIVED, name, task_id)

    def succeeded(self, name: str, task_id: str, runtime: float, result: object, length: int = RESULT_LENGTH) -> None:
        if self.info:
            self.logger.info(SUCCEEDED, name, task_id, f"{runtime:.6f}", saferepr(result, length))

    def failed(self, name: str, task_id: str, error: object, traceback: str | None, *, expected: bool = False) -> None:
        """`error` is the exception or what is known of it; an expected one (of the task's `throws`) is told at INFO."""
        if expected:
            if self.info:
                self.logger.info(EXPECTED, name, task_id, _whole(error))
        elif self.error:
            values = (name, task_id, _whole(error))
            record = self.logger.makeRecord(
                self.logger.name, logging.ERROR, __file__, 0, FAILED, values, None, "failed"
            )
            # as text only there is, since a child may have had the exception: it is no part of the message all the same
            record.exc_text = traceback.rstrip() if traceback else None
            self.logger.handle(record)

    def retried(self, name: str, task_id: str, reason: object) -> None:
        if self.info:
            self.logger.info(RETRY, name, task_id, reason)

    def ignored(self, name: str, task_id: str) -> None:
        if self.info:
            self.logger.info(IGNORED, name, task_id)

    def rejected(self, name: str, task_id: str, reason: object) -> None:
        if self.info:
            self.logger.info(REJECTED, name, task_id, reason)

    def parked(self, name: str, task_id: str, due: str) -> None:
        if self.info:
            self.logger.info(PARKED, name, task_id, due)

    def waits(self, name: str, task_id: str, due: str, limit: str) -> None:
        """It has to wait because of a limit of this kind: told once, and at DEBUG whenever it has asked again."""
        if not self.info:
            return
        level = logging.DEBUG
        if task_id not in self._waiting:
            if task_id not in self._waited:
                level = logging.INFO
            if len(self._waiting) >= REMEMBERED:
                self._waited, self._waiting = self._waiting, set()
            self._waiting.add(task_id)
        self.logger.log(level, PACED, name, task_id, due, limit)

    def revoked(self, name: str, task_id: str, why: str) -> None:
        if self.info:
            self.logger.info(REVOKED, name, task_id, why)

    def buried(self, name: str, task_id: str, queue: str, reason: str) -> None:
        if self.error:
            self.logger.error(BURIED, name, task_id, queue, reason)


def _whole(error: object) -> str:
    if not isinstance(error, BaseException):
        return str(error)
    try:
        return repr(error)
    except Exception:  # a repr of anybody's
        return f"<{type(error).__name__}>"
