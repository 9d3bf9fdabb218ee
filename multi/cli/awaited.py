"""What has become of a task: waited for, shown, and told as an exit code."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from multi.cli.group import DONE, FAILED, INTERRUPTED
from multi.cli.progress import bar
from multi.cli.screen import Screen, ago, complain
from multi.errors import ConfigurationError
from multi.errors import TimeoutError as WaitedEnough
from multi.nodes.policy import parse_span

if TYPE_CHECKING:
    from multi.app.result import AsyncResult

F = TypeVar("F", bound=Callable[..., Any])

#: The exit code for a task that has not ended.
PENDING = 3
_LOOK = 0.5
_WHOLE = 100


def _span(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return parse_span(value)
    except ConfigurationError as error:
        raise ConfigurationError(f"--timeout: {error}") from None


def timeout_option(command: F) -> F:
    return click.option(
        "--timeout",
        metavar="SPAN",
        callback=_span,
        help="Wait no longer than this, as in 30s; else as long as it takes.",
    )(command)


class Awaited(NamedTuple):
    """A task's record, and the exit code that it means."""

    id: str
    record: dict[str, Any]
    code: int

    @property
    def state(self) -> str:
        return str(self.record["status"])

    def told(self) -> dict[str, Any]:
        """For programs."""
        found: dict[str, Any] = {"id": self.id, "state": self.state, "result": self.record.get("result")}
        if isinstance(found["result"], BaseException):
            error = found["result"]
            found["result"] = {"type": type(error).__name__, "message": list(map(_plain, error.args))}
        else:
            found["result"] = _plain(found["result"])
        for name in ("traceback", "date_done", "name", "args", "kwargs", "worker", "retries", "queue"):
            if self.record.get(name) is not None:
                found[name] = _plain(self.record[name])
        return found

    def show(self, screen: Screen) -> None:
        """For people: a result on standard output, everything else as a complaint."""
        value = self.record.get("result")
        if self.state == "SUCCESS":
            screen.show(_text(value))
        elif self.state == "FAILURE":
            complain(f"{self.id} failed: {_error(value)}")
        elif self.state == "REVOKED":
            complain(f"{self.id} was revoked: {_error(value)}")
        elif self.code == PENDING:
            complain(f"{self.id} has not ended: {self.state}{_detail(self.record)}")
        else:
            complain(f"{self.id} is {self.state}: {_error(value)}")


def wait_for(screen: Screen, result: AsyncResult, timeout: float | None, *, shows: bool) -> Awaited:
    """Wait for the end of a task, and show how far it is on a terminal."""
    last: dict[str, Any] = {"status": "PENDING"}
    begun = time.monotonic()
    live = shows and screen.is_live

    def heard(record: dict[str, Any]) -> None:
        last.clear()
        last.update(record)
        tick()

    def tick() -> None:
        if live and time.monotonic() - begun >= _LOOK:
            screen.live(f"{ago(time.monotonic() - begun)}  {last['status']}{_detail(last)}")

    try:
        result.get(timeout, propagate=False, on_message=heard, on_interval=tick if live else None, interval=_LOOK)
    except WaitedEnough:
        return Awaited(result.id, last, PENDING)
    except KeyboardInterrupt:
        complain(f"no longer waiting; the task goes on: multi result {result.id} --wait")
        raise click.exceptions.Exit(INTERRUPTED) from None
    finally:
        screen.settle()
    return of(result)


def of(result: AsyncResult) -> Awaited:
    """What is recorded of a task now."""
    record = result._record()
    state = str(record["status"])
    code = DONE if state == "SUCCESS" else FAILED if result.ready() else PENDING
    return Awaited(result.id, record, code)


def _detail(record: dict[str, Any]) -> str:
    from multi.app.progress import read

    progress = read(record)
    if progress is None:
        return ""
    if progress.percent is None:
        return f"  {progress}"
    return f"  {bar(int(progress.percent), _WHOLE)} {progress}"


def _plain(value: Any) -> Any:
    """What JSON knows as it is, all else as text."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return str(value)
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _error(value: Any) -> str:
    return repr(value) if isinstance(value, BaseException) else _text(value)
