"""Metrics of Prometheus about a whole fleet, on all hosts, made of the events of its workers and of the broker's counts.

Names and meanings `flower_…` are those of Flower 2, so that its dashboards go on; its faults don't: a worker that falls
silent is offline, and one that has been so for an hour is forgotten with its numbers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from time import time
from typing import TYPE_CHECKING, Any

from multi.app.events.state import State
from multi.errors import BrokerLost, MissingExtra, MultiError
from multi.log import get_logger

try:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.registry import Collector
except ImportError:
    raise MissingExtra("prometheus-client", "multi-workers[prometheus]", "metrics of a fleet") from None

if TYPE_CHECKING:
    from multi.app.app import App

logger = get_logger("multi.monitor")

#: A worker that has been offline for so long (s) is forgotten.
FORGOTTEN = 3600.0
#: So many workers are known, and so many names of tasks told apart; tasks after them are counted as "(others)".
MOST_WORKERS, MOST_TASKS = 5000, 1000
#: The broker's counts are asked for at most this often (s), whoever reads the metrics.
ASKED = 5.0
#: Seconds between two tries to reach the broker, and between two requests for events to workers that start meanwhile.
AGAIN, ENABLE = 2.0, 5.0
OTHERS = "(others)"


class FleetMetrics:
    """What is known of a fleet: `event` takes in one event, `text` is what Prometheus reads."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.state = State(max_tasks_in_memory=20_000)
        of_task = ["worker", "task"]
        self._events = Counter(
            "flower_events_total", "Number of events", ["worker", "type", "task"], registry=self.registry
        )
        self._runtime = Histogram("flower_task_runtime_seconds", "Task runtime", of_task, registry=self.registry)
        self._waited = Gauge(
            "flower_task_prefetch_time_seconds",
            "The time the last task that began waited at its worker, 0 when it has ended.",
            of_task,
            registry=self.registry,
        )
        self._waiting = Gauge(
            "flower_worker_prefetched_tasks",
            "Tasks that a worker has received and not begun.",
            of_task,
            registry=self.registry,
        )
        self._tasks: set[str] = set()
        #: clients send events, too: these have said that they are workers
        self._workers: set[str] = set()
        self._series: dict[str, set[tuple[Any, tuple[str, ...]]]] = {}
        self._last: dict[str, float] = {}
        self._mutex = threading.Lock()
        self.registry.register(_Workers(self))

    def event(self, event: dict[str, Any]) -> None:
        """Take in one event, as a receiver hands it over."""
        worker, kind = event.get("hostname"), event["type"]
        if not isinstance(worker, str):
            return
        with self._mutex:
            self._forget()
            if worker not in self._last and len(self._last) >= MOST_WORKERS:
                return
            self.state.event(event)
            self._last[worker] = time()
            if kind.startswith("task-"):
                self._of_task(worker, kind, event)
            else:
                if kind.startswith("worker-"):
                    self._workers.add(worker)
                self._count(self._events, worker, kind, "").inc()

    def _of_task(self, worker: str, kind: str, event: dict[str, Any]) -> None:
        task = self.state.tasks.get(str(event.get("uuid")))
        name = self._name(event.get("name") or (task.name if task is not None else "") or "")
        self._count(self._events, worker, kind, name).inc()
        runtime = event.get("runtime")
        if isinstance(runtime, int | float) and runtime > 0:
            self._count(self._runtime, worker, name).observe(runtime)
        if task is None or task.eta or not task.received:
            return
        if kind == "task-received":
            self._count(self._waiting, worker, name).inc()
        elif task.started:
            if kind == "task-started":
                self._count(self._waited, worker, name).set(task.started - task.received)
                self._count(self._waiting, worker, name).dec()
            elif kind in ("task-succeeded", "task-failed"):
                self._count(self._waited, worker, name).set(0)

    def _name(self, given: Any) -> str:
        name = str(given)
        if name not in self._tasks:
            if len(self._tasks) >= MOST_TASKS:
                return OTHERS
            self._tasks.add(name)
        return name

    def _count(self, metric: Any, *labels: str) -> Any:
        self._series.setdefault(labels[0], set()).add((metric, labels))
        return metric.labels(*labels)

    def _forget(self) -> None:
        """Workers that are gone for good: else a fleet whose names change on each start would grow here for ever."""
        limit = time() - FORGOTTEN
        for worker in [worker for worker, last in self._last.items() if last < limit]:
            del self._last[worker]
            self.state.workers.pop(worker, None)
            self._workers.discard(worker)
            for metric, labels in self._series.pop(worker, ()):
                metric.remove(*labels)

    def workers(self) -> list[tuple[str, bool, int]]:
        """Each worker: its name, whether it is online, how many tasks it runs."""
        with self._mutex:
            self._forget()
            found = ((name, self.state.workers.get(name)) for name in sorted(self._workers))
            return [
                (name, True, worker.active or 0) if worker is not None and worker.alive else (name, False, 0)
                for name, worker in found
            ]

    def text(self) -> str:
        """All of it as Prometheus reads it."""
        return str(generate_latest(self.registry).decode())

    def listen(self, host: str, port: int) -> tuple[Any, int]:
        """Answer Prometheus at this address, in a thread: the server, to be shut down, and its port."""
        server, _ = start_http_server(port, host, self.registry)
        return server, int(server.server_port)

    def watch(self, app: App, over: threading.Event, *, enable: bool = True) -> None:
        """Take in the events of the fleet until `over` is set, over lost connections, too.

        With `enable` workers are asked to send events of tasks, now and then again, as Flower does.
        """
        told = False
        while not over.is_set():
            receiver = app.events.Receiver(handlers={"*": self.event}, app=app)
            try:
                asked = 0.0
                subscription = receiver.subscribe()
                try:
                    receiver.wakeup_workers()
                    if told:
                        logger.warning("Connected to %s again", app.worker_broker.masked)
                    told = False
                    while not over.is_set():
                        if enable and time() - asked > ENABLE:
                            asked = time()
                            app.control.enable_events()
                        if (message := subscription.get(0.5)) is not None:
                            receiver.receive(message)
                finally:
                    subscription.close()
            except (BrokerLost, MultiError) as error:
                if not told:
                    logger.error("%s; it is tried again", error)
                told = True
                over.wait(AGAIN)


class _Workers(Collector):
    """What is true at the moment when it is asked for."""

    def __init__(self, metrics: FleetMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[GaugeMetricFamily]:
        online = GaugeMetricFamily("flower_worker_online", "Worker online status", labels=["worker"])
        active = GaugeMetricFamily(
            "flower_worker_number_of_currently_executing_tasks",
            "Number of tasks currently executing at a worker",
            labels=["worker"],
        )
        for name, alive, running in self._metrics.workers():
            online.add_metric([name], float(alive))
            active.add_metric([name], running)
        yield online
        yield active


class Queues(Collector):
    """Where the messages of the queues are: `FleetMetrics.registry.register(Queues(app, names))`."""

    def __init__(self, app: App, queues: list[str]) -> None:
        self._app = app
        self._queues = queues
        self._found: list[Any] = []
        self._asked = 0.0
        self._mutex = threading.Lock()

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing is asked for at the registration."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        messages = GaugeMetricFamily("multi_queue_messages", "Messages of a queue.", labels=["queue", "state"])
        with self._mutex:
            if time() - self._asked > ASKED:
                try:
                    self._found = self._app.worker_broker.counts(self._queues)
                    self._asked = time()
                except MultiError as error:
                    self._found = []
                    logger.error("The queues can't be counted: %s", error)
            found = list(self._found)
        for queue in found:
            for state in ("waiting", "parked", "claimed", "dead"):
                value = getattr(queue, state)
                if value is not None:
                    messages.add_metric([queue.name, state], value)
        yield messages
