"""Metrics of OpenTelemetry about tasks, named as the semantic conventions for messaging have it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

from multi import __version__, signals
from multi.app.middleware import Middleware, Run, Sent
from multi.errors import Ignore, MissingExtra, Reject, Retry

try:
    from opentelemetry import metrics
except ImportError:
    raise MissingExtra("opentelemetry-api", "multi-workers[opentelemetry]", "metrics of tasks") from None

if TYPE_CHECKING:
    from multi.app.app import App

_STATES = ((Retry, "RETRY"), (Ignore, "IGNORED"), (Reject, "REJECTED"))


class Meters(Middleware):
    """Metrics of an app's tasks: `App(middleware=["opentelemetry-metrics"])`, or `Meters(meter_provider)` for one of your own."""

    def __init__(self, meter_provider: metrics.MeterProvider | None = None) -> None:
        self.provider = meter_provider
        # where no provider is given it is the global one, which may be set later
        meter = metrics.get_meter("multi", __version__, meter_provider)
        self._sent = meter.create_counter(
            "messaging.client.sent.messages", "{message}", "Messages that the broker has taken"
        )
        self._lasted = meter.create_histogram("messaging.process.duration", "s", "How long runs of tasks took")

    def added_to(self, app: App) -> None:
        signals.worker_process_shutdown.connect(self._flush)

    def after_publish(self, message: Sent) -> None:
        self._sent.add(1, _attributes("apply_async", message.queue, message.name))

    def run(self, run: Run, proceed: Callable[[], Any]) -> Any:
        with self._timed(run):
            return proceed()

    async def arun(self, run: Run, proceed: Callable[[], Awaitable[Any]]) -> Any:
        with self._timed(run):
            return await proceed()

    @contextmanager
    def _timed(self, run: Run) -> Iterator[None]:
        found = {**_attributes("run", run.queue, run.name), "celery.state": "SUCCESS"}
        start = perf_counter()
        try:
            yield
        except BaseException as error:
            state = next((state for kind, state in _STATES if isinstance(error, kind)), "FAILURE")
            found["celery.state"] = state
            if state == "FAILURE":
                found["error.type"] = f"{type(error).__module__}.{type(error).__qualname__}"
            raise
        finally:
            self._lasted.record(perf_counter() - start, found)

    def _flush(self, **_: Any) -> None:
        """A child ends without Python's own end: what isn't exported yet would be lost."""
        flush = getattr(self.provider or metrics.get_meter_provider(), "force_flush", None)
        if flush is not None:
            flush()


def _attributes(operation: str, queue: str | None, name: str) -> dict[str, Any]:
    return {
        "messaging.system": "multi",
        "messaging.operation.name": operation,
        "messaging.destination.name": queue or "",
        "celery.task_name": name,
    }
