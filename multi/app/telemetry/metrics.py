"""Metrics of Prometheus about tasks, also where a worker has many processes.

Each process writes its numbers into files of its own in `PROMETHEUS_MULTIPROC_DIR` (the library's multiprocess mode);
`multi metrics` adds them up. So no worker listens anywhere, and numbers outlive children and workers.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

from multi import signals
from multi.app.middleware import Middleware, Run, Sent
from multi.errors import ConfigurationError, MissingExtra
from multi.log import get_logger

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

if os.environ.get(VARIABLE):
    try:
        # the library wants it to be there; it looks at the variable when it is imported
        os.makedirs(os.environ[VARIABLE], exist_ok=True)
    except OSError as trouble:
        raise ConfigurationError(f"{VARIABLE}: {os.environ[VARIABLE]} can't be made: {trouble.strerror}") from None
try:
    import prometheus_client
    from prometheus_client import multiprocess
except ImportError:
    raise MissingExtra("prometheus-client", "multi-workers[prometheus]", "metrics of tasks") from None

if TYPE_CHECKING:
    from multi.app.app import App

SENT = prometheus_client.Counter("multi_tasks_sent", "Messages that the broker has taken.", ["task", "queue"])
ENDED = prometheus_client.Counter(
    "multi_tasks", "Runs of tasks that have come to an end, by state; and tasks that were revoked.", ["task", "state"]
)
SECONDS = prometheus_client.Histogram(
    "multi_task_seconds",
    "How long runs of tasks took.",
    ["task"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1800, 3600),
)


class Metrics(Middleware):
    """Counts the tasks of an app: `App(middleware=["prometheus"])`."""

    app: App

    def added_to(self, app: App) -> None:
        self.app = app
        signals.task_postrun.connect(self._ended)
        signals.task_revoked.connect(self._revoked)
        signals.worker_init.connect(self._look)

    def after_publish(self, message: Sent) -> None:
        SENT.labels(message.name, message.queue).inc()

    def run(self, run: Run, proceed: Callable[[], Any]) -> Any:
        start = perf_counter()
        try:
            return proceed()
        finally:
            SECONDS.labels(run.name).observe(perf_counter() - start)

    async def arun(self, run: Run, proceed: Callable[[], Awaitable[Any]]) -> Any:
        start = perf_counter()
        try:
            return await proceed()
        finally:
            SECONDS.labels(run.name).observe(perf_counter() - start)

    def _ended(self, task: Any, state: str, **_: Any) -> None:
        if task.app is self.app:
            ENDED.labels(task.name, state).inc()

    def _revoked(self, sender: Any, **_: Any) -> None:
        if sender is not None and sender.app is self.app:
            ENDED.labels(sender.name, "REVOKED").inc()

    def _look(self, **_: Any) -> None:
        if not os.environ.get(VARIABLE):
            get_logger("multi.telemetry").warning(
                "Metrics of the worker's children can't be read: set %s to a directory, and read it with `multi metrics`",
                VARIABLE,
            )


def registry(directory: str) -> prometheus_client.CollectorRegistry:
    """The numbers of all processes that have written into `directory`. Raises `ConfigurationError` if it isn't there."""
    if not os.path.isdir(directory):
        raise ConfigurationError(
            f"{directory} is no directory: it is to be the one that {VARIABLE} names where workers and senders run"
        )
    found = prometheus_client.CollectorRegistry()
    multiprocess.MultiProcessCollector(found, path=directory)  # type: ignore[no-untyped-call]
    return found


def text(directory: str) -> str:
    """The same as Prometheus reads it."""
    return prometheus_client.generate_latest(registry(directory)).decode()


def listen(directory: str, host: str, port: int) -> tuple[Any, int]:
    """Answer Prometheus at this address, in a thread: the server, to be shut down, and its port."""
    server, _ = prometheus_client.start_http_server(port, host, registry(directory))
    return server, int(server.server_port)
