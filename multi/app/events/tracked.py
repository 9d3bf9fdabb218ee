"""One worker and one task, as their events tell of them."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from time import time
from typing import TYPE_CHECKING, Any, ClassVar

from multi.app import states
from multi.app.states import precedence
from multi.log import get_logger

if TYPE_CHECKING:
    from multi.app.events.state import State

Event = dict[str, Any]

#: A worker counts as gone after so many percent of the time between its heartbeats.
HEARTBEAT_EXPIRE_WINDOW = 200
#: Seconds between a worker's clock and ours from which on it is told, once.
HEARTBEAT_DRIFT_MAX = 16

LONGEST = 1 << 16  # of a text that is kept
_MOST = 100  # fields of one event, or of one task or worker

#: What a task event means for the state of its task; any other one is a state of the project's own.
TASK_EVENT_TO_STATE = {
    "sent": states.PENDING,
    "received": states.RECEIVED,
    "started": states.STARTED,
    "failed": states.FAILURE,
    "retried": states.RETRY,
    "succeeded": states.SUCCESS,
    "revoked": states.REVOKED,
    "rejected": states.REJECTED,
}


def trimmed(event: Event) -> Event:
    """An event that takes little memory: itself, or a copy in which what is too long is cut, and texts stand for large values."""
    if len(event) <= _MOST:
        for value in event.values():
            kind = value.__class__
            if (kind is str and len(value) > LONGEST) or ((kind is list or kind is dict) and not _is_small(value)):
                break
        else:
            return event
    return {name: _cut(value) for name, value in [*event.items()][:_MOST]}


def _cut(value: Any) -> Any:
    if isinstance(value, list | dict) and not _is_small(value):
        value = repr(value)
    return value[:LONGEST] + "…" if isinstance(value, str) and len(value) > LONGEST else value


def _is_small(value: Any) -> bool:
    """Whether it is a handful of plain values."""
    values = value.values() if isinstance(value, dict) else value
    return len(value) <= _MOST and all(
        each is None or isinstance(each, int | float) or (isinstance(each, str) and len(each) <= 1000)
        for each in values
    )


def heartbeat_expires(timestamp: float, freq: float = 60, expire_window: float = HEARTBEAT_EXPIRE_WINDOW) -> float:
    """When a worker counts as gone that was heard at `timestamp` and says something every `freq` seconds."""
    return float(timestamp) + float(freq) * expire_window / 100


class Worker:
    """A worker. `heartbeats` are the last moments, by our clock, at which it was heard."""

    heartbeat_max = 4
    expire_window = HEARTBEAT_EXPIRE_WINDOW
    _fields = ("hostname", "pid", "freq", "heartbeats", "clock", "active", "processed", "loadavg", "sw_ident", "sw_ver",
               "sw_sys")  # fmt: skip
    __slots__ = ("__dict__", "__weakref__", "heartbeats", "hostname", "told_drift")

    pid: int | None
    freq: float
    clock: int
    active: int | None
    processed: int | None
    loadavg: list[float] | None
    sw_ident: str | None
    sw_ver: str | None
    sw_sys: str | None

    def __init__(
        self,
        hostname: str | None = None,
        pid: int | None = None,
        freq: float = 60,
        heartbeats: list[float] | None = None,
        clock: int = 0,
        active: int | None = None,
        processed: int | None = None,
        loadavg: list[float] | None = None,
        sw_ident: str | None = None,
        sw_ver: str | None = None,
        sw_sys: str | None = None,
    ) -> None:
        self.hostname = hostname or ""
        self.pid = pid
        self.freq = freq
        self.heartbeats: list[float] = [] if heartbeats is None else heartbeats
        self.clock = clock or 0
        self.active = active
        self.processed = processed
        self.loadavg = loadavg
        self.sw_ident = sw_ident
        self.sw_ver = sw_ver
        self.sw_sys = sw_sys
        self.told_drift = False

    def event(
        self,
        type_: str | None,
        timestamp: float | None = None,
        local_received: float | None = None,
        fields: Event | None = None,
    ) -> None:
        """Take in what an event says of it."""
        if fields:
            self.update(fields)
        if type_ == "offline":
            self.heartbeats.clear()
        elif timestamp and local_received:
            drift = abs(int(local_received) - int(timestamp))
            if drift > HEARTBEAT_DRIFT_MAX and not self.told_drift:
                self.told_drift = True
                get_logger(__name__).warning(
                    "the clock of %s and the one here are %s seconds apart (if events don't wait so long): its times are "
                    "not to be compared with those of others",
                    self.hostname,
                    drift,
                )
            self.heard(local_received)

    def heard(self, moment: float) -> None:
        """It has been heard at this moment, by our clock."""
        beats = self.heartbeats
        if len(beats) >= self.heartbeat_max:
            del beats[0]
        if not beats or moment > beats[-1]:
            beats.append(moment)
        else:
            insort(beats, moment)

    def update(self, f: Mapping[str, Any] | Iterable[tuple[str, Any]], **kw: Any) -> None:
        """Set values by their names."""
        own = self.__dict__
        for name, value in {**dict(f), **kw}.items():
            if name in _OF_WORKERS or (name == "freq" and not (isinstance(value, int | float) and value > 0)):
                continue
            if name in own or len(own) < _MOST:
                own[name] = value

    @property
    def heartbeat_expires(self) -> float:
        return heartbeat_expires(self.heartbeats[-1], self.freq, self.expire_window)

    @property
    def alive(self) -> bool:
        """Whether it has been heard lately."""
        return bool(self.heartbeats) and time() < self.heartbeat_expires

    @property
    def status_string(self) -> str:
        return "ONLINE" if self.alive else "OFFLINE"

    @property
    def id(self) -> str:
        return f"{self.hostname}.{self.pid}"

    def __eq__(self, other: object) -> bool:
        return self.hostname == other.hostname if isinstance(other, Worker) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.hostname)

    def __repr__(self) -> str:
        return f"<Worker: {self.hostname} ({self.status_string} clock:{self.clock})>"

    def __reduce__(self) -> Any:
        return type(self), tuple(getattr(self, name) for name in self._fields)


class Task:
    """A task. `sent`, `received`, `started`, `succeeded`, `failed`, `retried`, `revoked` and `rejected` are the times of
    these events, None where none has come."""

    _fields = (
        *(
            "uuid",
            "name",
            "state",
            "received",
            "sent",
            "started",
            "rejected",
            "succeeded",
            "failed",
            "retried",
            "revoked",
        ),
        *("args", "kwargs", "eta", "expires", "retries", "worker", "result", "exception", "timestamp", "runtime"),
        *(
            "traceback",
            "exchange",
            "routing_key",
            "clock",
            "client",
            "root",
            "root_id",
            "parent",
            "parent_id",
            "children",
        ),
    )
    _info_fields = ("args", "kwargs", "retries", "result", "eta", "runtime", "expires", "exception", "exchange",
                    "routing_key", "root_id", "parent_id")  # fmt: skip

    #: State -> what is taken from its event where that comes after one of a later state.
    merge_rules: ClassVar[dict[str, tuple[str, ...]]] = {
        states.RECEIVED: ("name", "args", "kwargs", "parent_id", "root_id", "retries", "eta", "expires"),
    }
    __slots__ = ("__dict__", "__weakref__", "cluster_state", "known_name", "known_parent", "known_worker", "uuid")

    name: str | None = None
    sent: float | None = None
    received: float | None = None
    started: float | None = None
    succeeded: float | None = None
    failed: float | None = None
    retried: float | None = None
    revoked: float | None = None
    rejected: float | None = None
    args: str | None = None
    kwargs: str | None = None
    eta: str | None = None
    expires: str | None = None
    retries: int | None = None
    worker: Worker | None = None
    result: str | None = None
    exception: str | None = None
    timestamp: float | None = None
    runtime: float | None = None
    traceback: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    root_id: str | None = None
    parent_id: str | None = None
    client: str | None = None
    state: str = states.PENDING
    clock: int = 0

    def __init__(self, uuid: str, cluster_state: State | None = None, **fields: Any) -> None:
        self.uuid = uuid
        self.cluster_state = cluster_state
        #: under which names it is found in its state
        self.known_name: str | None = None
        self.known_worker: str | None = None
        self.known_parent: str | None = None
        for name in ("root", "parent", "children"):
            fields.pop(name, None)
        self.__dict__.update(fields)

    def event(
        self,
        type_: str,
        timestamp: float | None = None,
        local_received: float | None = None,
        fields: Event | None = None,
    ) -> None:
        """Take in what an event says of it. One that comes late doesn't put the state back."""
        new = {} if fields is None else fields
        own = self.__dict__
        state = TASK_EVENT_TO_STATE.get(type_)
        if state is not None:
            own[type_] = timestamp
        else:
            state = type_.upper()
        if not _OF_TASKS.isdisjoint(new):
            new = {name: value for name, value in new.items() if name not in _OF_TASKS}
        before = self.state
        # a task may be retried after it was started, and started after that
        if state != states.RETRY and before != states.RETRY and precedence(state) > precedence(before):
            keep = self.merge_rules.get(state)
            if keep is not None:
                new = {name: value for name, value in new.items() if name in keep}
            own.update(new)
        else:
            own.update(new)
            own["state"] = state
            own["timestamp"] = timestamp
        if len(own) > _MOST:
            for name in [*own][_MOST:]:
                if name not in self._fields:
                    del own[name]

    def info(self, fields: Iterable[str] | None = None, extra: Iterable[str] | None = None) -> dict[str, Any]:
        """What is known of it, for people: these fields (default: what it was called with and what came of it) and `extra`."""
        names = [*(self._info_fields if fields is None else fields), *(extra or ())]
        found = ((name, getattr(self, name, None)) for name in names)
        return {name: value for name, value in found if value is not None}

    def as_dict(self) -> dict[str, Any]:
        """All that is known of it; other tasks as their ids."""
        other: dict[str, Callable[[], Any]] = {
            "children": lambda: [task.uuid for task in self.children],
            "root": lambda: self.root_id,
            "parent": lambda: self.parent_id,
        }
        return {name: other[name]() if name in other else getattr(self, name) for name in self._fields}

    @property
    def children(self) -> set[Task]:
        """The tasks that it has called, as far as they are known."""
        return set() if self.cluster_state is None else self.cluster_state.children_of(self.uuid)

    @property
    def parent(self) -> Task | None:
        """The task that has called it, if that is known."""
        return self._other(self.parent_id)

    @property
    def root(self) -> Task | None:
        """The first task of all that led to it, if that is known."""
        return self._other(self.root_id)

    def _other(self, uuid: str | None) -> Task | None:
        return self.cluster_state.tasks.get(uuid) if uuid and self.cluster_state is not None else None

    @property
    def id(self) -> str:
        return self.uuid

    @property
    def origin(self) -> str | None:
        """Its worker, or before it has one its client."""
        return self.client if self.worker is None else self.worker.id

    @property
    def ready(self) -> bool:
        """Whether it is finished."""
        return self.state in states.READY_STATES

    def __eq__(self, other: object) -> bool:
        return self.uuid == other.uuid if isinstance(other, Task) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.uuid)

    def __repr__(self) -> str:
        return f"<Task: {self.name}({self.uuid}) {self.state} clock:{self.clock}>"

    def __reduce__(self) -> Any:
        return _unpickled, (type(self), self.as_dict())


def _unpickled(kind: type[Task], fields: dict[str, Any]) -> Task:
    return kind(**fields)


#: Fields of no event: they are the object's own, or the names of its methods.
_OF_WORKERS = frozenset((*vars(Worker),)) - {name for name in Worker._fields if name not in ("hostname", "heartbeats")}
_OF_TASKS = frozenset((*vars(Task),)) - {
    name for name in (*Task._fields, "uuid") if name not in ("worker", "state", "root", "parent", "children", "client")
}
