"""What is known of workers and tasks from the events that they send: `app.events.State()`.

    state = app.events.State()
    app.events.Receiver(handlers={"*": state.event}).capture()

Events may come in any order, and of some nothing may come at all. Everything here is bounded: the oldest tasks and workers
make room for new ones, texts are cut, names beyond a number aren't kept.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cmp_to_key
from itertools import islice
from time import time
from typing import Any, TypeVar
from weakref import ref

from multi.app.events import tracked
from multi.app.events.tracked import Event, trimmed
from multi.app.states import READY_STATES

R = TypeVar("R")

#: Clock, timestamp, who it is of, the task: what the tasks are ordered by.
Moment = tuple[int, float, str, "ref[tracked.Task]"]

Task, Worker = tracked.Task, tracked.Worker

_SPARE = 1.25  # the list of moments may grow so far beyond its limit before the oldest are cut off, many at once
_NOTHING: frozenset[tracked.Task] = frozenset()


class Index(dict[str, set[tracked.Task]]):
    """Tasks by a name; called, it gives those of one name in the order of time."""

    def __init__(self, ordered: Callable[..., Iterator[tuple[str, tracked.Task]]]) -> None:
        super().__init__()
        self._ordered = ordered

    def __call__(self, name: str, limit: int | None = None, reverse: bool = True) -> Iterator[tuple[str, tracked.Task]]:
        return self._ordered(name, limit, reverse)

    def __missing__(self, name: str) -> frozenset[tracked.Task]:
        return _NOTHING

    def move(self, task: tracked.Task, old: str | None, new: str | None) -> None:
        """Have a task under another name; what is empty then is gone."""
        if old is not None and (found := self.get(old)) is not None:
            found.discard(task)
            if not found:
                del self[old]
        if new is not None:
            self.setdefault(new, set()).add(task)


class State:
    """Workers and tasks as their events tell of them. `callback(state, event)` is called before each event is taken in.

    `handlers` takes functions for events of other groups, or in place of what is done here: `{"order": f}` has
    `f("paid", event)` called for an event "order-paid". `ignored` counts events that make no sense.
    """

    Worker: type[tracked.Worker] = tracked.Worker
    Task: type[tracked.Task] = tracked.Task
    heap_multiplier = 4
    """How many events of each task the order of tasks is known from."""

    def __init__(
        self,
        callback: Callable[[State, Event], Any] | None = None,
        workers: Mapping[str, tracked.Worker] | None = None,
        tasks: Mapping[str, tracked.Task] | None = None,
        taskheap: Iterable[Moment] | None = None,
        max_workers_in_memory: int = 5000,
        max_tasks_in_memory: int = 10000,
        on_node_join: Callable[[tracked.Worker], Any] | None = None,
        on_node_leave: Callable[[tracked.Worker], Any] | None = None,
    ) -> None:
        self.event_callback = callback
        self.max_workers_in_memory = max_workers_in_memory
        self.max_tasks_in_memory = max_tasks_in_memory
        self.on_node_join = on_node_join
        self.on_node_leave = on_node_leave
        self.event_count = 0
        self.task_count = 0
        self.ignored = 0
        self.handlers: dict[str, Callable[[str, Event], Any]] = {}
        self.workers: OrderedDict[str, tracked.Worker] = OrderedDict()
        self.tasks: OrderedDict[str, tracked.Task] = OrderedDict()
        self.tasks_by_type = Index(self._by_type)
        self.tasks_by_worker = Index(self._by_worker)
        self._children = Index(lambda *_: iter(()))
        self._taskheap: list[Moment] = []
        self._in_order = True
        self._seen_types: set[str] = set()
        # the callbacks of whoever looks while nothing changes may look through the methods here
        self._mutex = threading.RLock()
        for name, worker in (workers or {}).items():
            self._add_worker(name, worker)
        for task in (tasks or {}).values():
            self._add_task(task)
            self._place(task, task.worker.hostname if task.worker is not None else None)
        if taskheap is None:
            self.rebuild_taskheap()
        else:
            self._taskheap = sorted(taskheap, key=_IN_ORDER)

    # events ----------------------------------------------------------------------------------------------------------

    def event(self, event: Event) -> tuple[tuple[Any, bool], str] | None:
        """Take in one event, as a receiver hands it over. `((worker or task, whether it is new), what has happened to it)`;
        None for an event of no known group, or one that lacks what it must have."""
        with self._mutex:
            return self._event(event)  # type: ignore[no-any-return]  # a handler of anybody's gives what it will

    def task_event(self, type_: str, fields: Event) -> Any:
        """As `event`, for the task event `type_` ("received"); the task, and whether it is new."""
        found = self.event({**fields, "type": f"task-{type_}"})
        return found and found[0]

    def worker_event(self, type_: str, fields: Event) -> Any:
        """As `event`, for the worker event `type_` ("heartbeat"); the worker, and whether it is new."""
        found = self.event({**fields, "type": f"worker-{type_}"})
        return found and found[0]

    def _event(self, event: Event) -> Any:
        self.event_count += 1
        if self.event_callback is not None:
            self.event_callback(self, event)
        kind = event.get("type")
        if type(kind) is not str:
            return self._ignore()
        group, _, subject = kind.partition("-")
        handler = self.handlers.get(group)
        if handler is not None:
            return handler(subject, event), subject
        if group == "task":
            return self._of_task(subject, event)
        if group == "worker":
            return self._of_worker(subject, event)
        return None

    def _ignore(self) -> None:
        self.ignored += 1

    def _of_worker(self, subject: str, event: Event) -> Any:
        hostname, timestamp = event.get("hostname"), event.get("timestamp")
        if type(hostname) is not str or not isinstance(timestamp, float | int):
            return self._ignore()
        is_offline = subject == "offline"
        worker = self.workers.get(hostname)
        is_new = worker is None and not is_offline
        if worker is None:
            worker = self.Worker(hostname)
            if is_new:
                self._add_worker(hostname, worker)
        else:
            self.workers.move_to_end(hostname)
        type(worker).event(worker, subject, timestamp, event.get("local_received") or time(), trimmed(event))
        if self.on_node_join is not None and (is_new or subject == "online"):
            self.on_node_join(worker)
        if is_offline:
            self.workers.pop(hostname, None)
            if self.on_node_leave is not None:
                self.on_node_leave(worker)
        return (worker, is_new), subject

    def _of_task(self, subject: str, event: Event) -> Any:
        uuid, hostname, timestamp = event.get("uuid"), event.get("hostname"), event.get("timestamp")
        clock = event.get("clock") or 0
        if (
            type(uuid) is not str
            or type(hostname) is not str
            or not isinstance(timestamp, float | int)
            or not isinstance(clock, int)
        ):
            return self._ignore()
        received = event.get("local_received") or time()
        task = self.tasks.get(uuid)
        is_new = task is None
        if task is None:
            task = self.Task(uuid, cluster_state=self)
            self._add_task(task)
        if subject == "sent":  # a client's event, not a worker's
            task.client = origin = hostname
        else:
            worker = self.workers.get(hostname)
            if worker is None:
                worker = self.Worker(hostname)
                self._add_worker(hostname, worker)
            worker.heard(received)
            task.worker = worker
            origin = worker.id
        self._order(clock, timestamp, origin, task)
        if subject == "received":
            self.task_count += 1
        type(task).event(task, subject, timestamp, received, trimmed(event))
        self._place(task, None if subject == "sent" else hostname)
        parent = task.parent_id
        if isinstance(parent, str) and parent in self.tasks:
            self.tasks.move_to_end(parent)  # it is kept as long as its youngest child
        return (task, is_new), subject

    def _order(self, clock: int, timestamp: float, origin: str, task: tracked.Task) -> None:
        heap = self._taskheap
        if heap and self._in_order:
            last = heap[-1]
            # most events are later than all before; where one isn't, the list is put in order when somebody asks for it
            self._in_order = clock > last[0] if clock and last[0] else timestamp > last[1]
        heap.append((clock, timestamp, origin, ref(task)))
        most = self.max_tasks_in_memory * self.heap_multiplier
        if len(heap) > most * _SPARE:
            del self._moments()[:-most]

    def _moments(self) -> list[Moment]:
        if not self._in_order:
            self._taskheap.sort(key=_IN_ORDER)
            self._in_order = True
        return self._taskheap

    def _place(self, task: tracked.Task, hostname: str | None) -> None:
        """Have the task found by its name, its worker and its parent."""
        if task.name is not task.known_name and isinstance(task.name, str):
            self.tasks_by_type.move(task, task.known_name, task.name)
            task.known_name = task.name
            if len(self._seen_types) < self.max_tasks_in_memory:
                self._seen_types.add(task.name)
        if hostname is not None and hostname != task.known_worker:
            self.tasks_by_worker.move(task, task.known_worker, hostname)
            task.known_worker = hostname
        if task.parent_id is not task.known_parent and isinstance(task.parent_id, str):
            self._children.move(task, task.known_parent, task.parent_id)
            task.known_parent = task.parent_id

    def _add_worker(self, hostname: str, worker: tracked.Worker) -> None:
        self.workers[hostname] = worker
        if len(self.workers) > self.max_workers_in_memory:
            self.workers.popitem(last=False)

    def _add_task(self, task: tracked.Task) -> None:
        task.cluster_state = self
        self.tasks[task.uuid] = task
        if len(self.tasks) > self.max_tasks_in_memory:
            self._forget(self.tasks.popitem(last=False)[1])

    def _forget(self, task: tracked.Task) -> None:
        self.tasks_by_type.move(task, task.known_name, None)
        self.tasks_by_worker.move(task, task.known_worker, None)
        self._children.move(task, task.known_parent, None)

    # what is known ---------------------------------------------------------------------------------------------------

    def get_or_create_worker(self, hostname: str, **fields: Any) -> tuple[tracked.Worker, bool]:
        """A worker by its name, with these values, and whether it is new."""
        with self._mutex:
            worker = self.workers.get(hostname)
            is_new = worker is None
            if worker is None:
                worker = self.Worker(hostname)
                self._add_worker(hostname, worker)
            worker.update(fields)
            return worker, is_new

    def get_or_create_task(self, uuid: str) -> tuple[tracked.Task, bool]:
        """A task by its id, and whether it is new."""
        with self._mutex:
            task = self.tasks.get(uuid)
            if task is not None:
                return task, False
            task = self.Task(uuid, cluster_state=self)
            self._add_task(task)
            return task, True

    def itertasks(self, limit: int | None = None) -> Iterator[tuple[str, tracked.Task]]:
        """Ids and tasks, at most `limit`, as they have become known."""
        with self._mutex:
            return iter([*islice(self.tasks.items(), limit or None)])

    def tasks_by_time(self, limit: int | None = None, reverse: bool = True) -> Iterator[tuple[str, tracked.Task]]:
        """Ids and tasks, at most `limit`, in the order of their last events (`reverse`) or their first ones."""
        with self._mutex:
            moments = [*reversed(self._moments())] if reverse else [*self._moments()]
        return islice(self._each_once(moments), limit)

    tasks_by_timestamp = tasks_by_time

    def _each_once(self, moments: Iterable[Moment]) -> Iterator[tuple[str, tracked.Task]]:
        seen: set[str] = set()
        for moment in moments:
            task = moment[3]()
            if task is not None and task.uuid not in seen and self.tasks.get(task.uuid) is task:
                seen.add(task.uuid)
                yield task.uuid, task

    def _by_type(self, name: str, limit: int | None, reverse: bool) -> Iterator[tuple[str, tracked.Task]]:
        return islice((found for found in self.tasks_by_time(reverse=reverse) if found[1].name == name), limit)

    def _by_worker(self, hostname: str, limit: int | None, reverse: bool) -> Iterator[tuple[str, tracked.Task]]:
        found = self.tasks_by_time(reverse=reverse)
        return islice((each for each in found if each[1].known_worker == hostname), limit)

    def children_of(self, uuid: str) -> set[tracked.Task]:
        """The tasks that this one has called, as far as they are known."""
        with self._mutex:
            return {*self._children[uuid]}

    def task_types(self) -> list[str]:
        """The names of all tasks that were seen, sorted."""
        with self._mutex:
            return sorted(self._seen_types)

    def alive_workers(self) -> Iterator[tracked.Worker]:
        """The workers that have been heard within twice the time between their heartbeats."""
        with self._mutex:
            return iter([worker for worker in self.workers.values() if worker.alive])

    def rebuild_taskheap(self) -> None:
        """Order the tasks anew, by what is known of each."""
        with self._mutex:
            found = [(task.clock, task.timestamp or 0.0, task.origin or "", ref(task)) for task in self.tasks.values()]
            self._taskheap[:] = sorted(found, key=_IN_ORDER)
            self._in_order = True

    # as a whole ------------------------------------------------------------------------------------------------------

    def freeze_while(self, fun: Callable[..., R], *args: Any, clear_after: bool = False, **kwargs: Any) -> R:
        """Call `fun` while nothing changes; with `clear_after` what is finished is forgotten then, and all workers."""
        with self._mutex:
            try:
                return fun(*args, **kwargs)
            finally:
                if clear_after:
                    self.clear()

    def clear_tasks(self, ready: bool = True) -> None:
        """Forget the finished tasks; all of them without `ready`."""
        with self._mutex:
            for task in [*self.tasks.values()]:
                if not ready or task.state in READY_STATES:
                    del self.tasks[task.uuid]
                    self._forget(task)
            self._taskheap.clear()

    def clear(self, ready: bool = True) -> None:
        """Forget workers, counts and the finished tasks; all tasks without `ready`."""
        with self._mutex:
            self.workers.clear()
            self.clear_tasks(ready)
            self.event_count = self.task_count = 0

    def __repr__(self) -> str:
        return f"<State: events={self.event_count} tasks={self.task_count}>"

    def __reduce__(self) -> Any:
        with self._mutex:
            arguments = (
                self.event_callback,
                dict(self.workers),
                dict(self.tasks),
                None,
                self.max_workers_in_memory,
                self.max_tasks_in_memory,
                self.on_node_join,
                self.on_node_leave,
            )
        return type(self), arguments


def _order(a: Moment, b: Moment) -> int:
    """Which moment is later: by the logical clocks where both have one, else by the time of day."""
    if a[0] and b[0]:
        return (a[0] > b[0]) - (a[0] < b[0]) or (a[2] > b[2]) - (a[2] < b[2])
    return (a[1] > b[1]) - (a[1] < b[1])


_IN_ORDER = cmp_to_key(_order)
