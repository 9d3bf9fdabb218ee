"""Signals: what happens in the life of a task, a worker or an app, told to those who connect to it.

    from multi.signals import task_failure

    @task_failure.connect(sender=add)
    def alarm(sender, task_id, exception, **kwargs):
        ...

Names and arguments are Celery's. A receiver takes what it wants by name and the rest as `**kwargs`. It is called in the process
and thread where the thing happens, so a slow one holds up a task; what it raises is logged and changes nothing.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, overload

F = TypeVar("F", bound=Callable[..., Any])

_RETRY_FIRST, _RETRY_STEP, _RETRY_LONGEST = 2.0, 2.0, 30.0  # seconds between the tries of a receiver with retry=True


class Group:
    """Signals that are looked at in one place: `any` is whether one of them has a receiver, so that a place where nothing is
    listened to costs one look."""

    __slots__ = ("any",)

    def __init__(self) -> None:
        self.any = False


class _Receiver:
    """One connected function: held weakly unless asked otherwise, since it may belong to an object that is to go away."""

    __slots__ = ("key", "reference", "retry", "sender")

    def __init__(self, key: Any, reference: Callable[[], Callable[..., Any] | None], sender: Any, retry: bool) -> None:
        self.key = key
        self.reference = reference
        self.sender = sender
        self.retry = retry


class Signal:
    """One kind of event. `provides` names the arguments that receivers get beside `signal` and `sender`."""

    def __init__(self, name: str, provides: tuple[str, ...] = (), group: Group | None = None) -> None:
        self.name = name
        self.provides = provides
        self.receivers: tuple[_Receiver, ...] = ()
        self._group = group
        self._lock = threading.Lock()

    @overload
    def connect(
        self, receiver: F, /, sender: Any = None, weak: bool = True, dispatch_uid: Any = None, retry: bool = False
    ) -> F: ...
    @overload
    def connect(
        self,
        receiver: None = None,
        /,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Any = None,
        retry: bool = False,
    ) -> Callable[[F], F]: ...
    def connect(
        self,
        receiver: Callable[..., Any] | None = None,
        /,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Any = None,
        retry: bool = False,
    ) -> Any:
        """Have `receiver` called at each event, or at those of `sender` only (a task, or for publishing a task's name).

        As `signal.connect(f)`, `@signal.connect` or `@signal.connect(sender=add)`. A receiver is held weakly (default): one that
        nothing else refers to is gone at once, so a local function needs `weak=False`. What is connected again, by the same
        receiver or the same `dispatch_uid`, is connected once. With `retry` one that raises is called again until it doesn't.

        Raises `TypeError` for what can't be called, and `ValueError` for a receiver that takes no `**kwargs`: arguments may be
        added to signals.
        """
        if receiver is None:
            return lambda function: self.connect(
                function, sender=sender, weak=weak, dispatch_uid=dispatch_uid, retry=retry
            )
        if not callable(receiver):
            raise TypeError(f"{self.name}.connect takes a function, not {receiver!r}")
        if not _takes_keywords(receiver):
            raise ValueError(
                f"{self.name}: the receiver {_shown(receiver)} has to take **kwargs, since arguments may be added to a signal"
            )
        key = (dispatch_uid if dispatch_uid is not None else _identity(receiver), _identity(sender))
        reference: Callable[[], Callable[..., Any] | None]
        if not weak:
            reference = lambda: receiver  # noqa: E731
        elif inspect.ismethod(receiver):
            reference = weakref.WeakMethod(receiver, lambda _: self._drop(key))
        else:
            reference = weakref.ref(receiver, lambda _: self._drop(key))
        with self._lock:
            if all(one.key != key for one in self.receivers):
                self.receivers = (*self.receivers, _Receiver(key, reference, sender, retry))
                self._count()
        return receiver

    def disconnect(
        self,
        receiver: Callable[..., Any] | None = None,
        /,
        sender: Any = None,
        weak: Any = None,
        dispatch_uid: Any = None,
    ) -> bool:
        """Connect no longer what was connected with these arguments; whether it was. `weak` is taken and makes no difference."""
        key = (dispatch_uid if dispatch_uid is not None else _identity(receiver), _identity(sender))
        return self._drop(key)

    def _drop(self, key: Any) -> bool:
        with self._lock:
            left = tuple(one for one in self.receivers if one.key != key)
            gone = len(left) < len(self.receivers)
            self.receivers = left
            self._count()
        return gone

    def _count(self) -> None:
        if self._group is not None:
            self._group.any = any(signal.receivers for signal in SIGNALS.values() if signal._group is self._group)

    def has_listeners(self, sender: Any = None) -> bool:
        """Whether anybody would hear of an event of `sender`."""
        return next(self._meant(sender), None) is not None

    def send(self, sender: Any = None, **named: Any) -> list[tuple[Callable[..., Any], Any]]:
        """Tell the receivers, in the order in which they were connected; what each gave back, or the exception it raised."""
        answers: list[tuple[Callable[..., Any], Any]] = []
        for one, function in self._meant(sender):
            answers.append((function, self._call(one, function, sender, named)))
        return answers

    send_robust = send

    def _meant(self, sender: Any) -> Iterator[tuple[_Receiver, Callable[..., Any]]]:
        for one in self.receivers:
            if one.sender is None or _is_same(one.sender, sender):
                function = one.reference()
                if function is not None:
                    yield one, function

    def _call(self, one: _Receiver, function: Callable[..., Any], sender: Any, named: dict[str, Any]) -> Any:
        pause = _RETRY_FIRST
        while True:
            try:
                return function(signal=self, sender=sender, **named)
            except Exception as error:  # a project's own code: what was going on stands
                again = f"; it is called again in {pause:g} s" if one.retry else ""
                logging.getLogger("multi.signals").error(
                    "The receiver %s of %s has raised %r%s", _shown(function), self.name, error, again, exc_info=error
                )
                if not one.retry:
                    return error
            time.sleep(pause)
            pause = min(pause + _RETRY_STEP, _RETRY_LONGEST)

    def __repr__(self) -> str:
        return f"<Signal: {self.name} provides {', '.join(self.provides) or 'nothing'}>"


def _identity(thing: Any) -> Any:
    """What tells one receiver or sender from another: texts by what they say, methods by object and function."""
    if thing is None or isinstance(thing, str | bytes):
        return thing
    if inspect.ismethod(thing):
        return id(thing.__self__), id(thing.__func__)
    return id(thing)


def _is_same(wanted: Any, sender: Any) -> bool:
    if wanted is sender:
        return True
    if isinstance(wanted, str) or isinstance(sender, str):
        # publishing names tasks, which may not be known there; whoever connects may have the task itself
        return bool(_name(wanted) == _name(sender) != "")
    # a stand-in for a task of the app of the moment
    return bool(getattr(wanted, "name", None) and getattr(wanted, "name", None) == getattr(sender, "name", None))


def _name(thing: Any) -> str:
    return thing if isinstance(thing, str) else str(getattr(thing, "name", ""))


def _takes_keywords(receiver: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(receiver).parameters.values()
    except (TypeError, ValueError):
        return True  # written in C: shown when it is called
    return any(one.kind is one.VAR_KEYWORD for one in parameters)


def _shown(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', repr(function))}"


#: What is looked at around each run of a task, and at each message that is sent.
RUNS, PUBLISHING = Group(), Group()
SIGNALS: dict[str, Signal] = {}


def _signal(name: str, *provides: str, group: Group | None = None) -> Signal:
    found = SIGNALS[name] = Signal(name, provides, group)
    return found


# fmt: off
_MESSAGE = ("body", "exchange", "routing_key", "headers")

# messages, in the process that sends them
before_task_publish = _signal("before_task_publish", *_MESSAGE, "properties", "declare", "retry_policy", group=PUBLISHING)
after_task_publish = _signal("after_task_publish", *_MESSAGE, group=PUBLISHING)

# runs of tasks
task_received = _signal("task_received", "request", group=RUNS)
task_prerun = _signal("task_prerun", "task_id", "task", "args", "kwargs", group=RUNS)
task_postrun = _signal("task_postrun", "task_id", "task", "args", "kwargs", "retval", "state", group=RUNS)
task_success = _signal("task_success", "result", "runtime", group=RUNS)
task_failure = _signal("task_failure", "task_id", "exception", "args", "kwargs", "traceback", "einfo", group=RUNS)
task_retry = _signal("task_retry", "request", "reason", "einfo", group=RUNS)
task_internal_error = _signal(
    "task_internal_error", "task_id", "args", "kwargs", "request", "exception", "traceback", "einfo", group=RUNS)
task_revoked = _signal("task_revoked", "request", "terminated", "signum", "expired", group=RUNS)
task_rejected = _signal("task_rejected", "message", "exc", group=RUNS)
task_unknown = _signal("task_unknown", "message", "exc", "name", "id", group=RUNS)

# the worker's own process
celeryd_init = _signal("celeryd_init", "instance", "conf", "options")
celeryd_after_setup = _signal("celeryd_after_setup", "instance", "conf")
import_modules = _signal("import_modules")
worker_init = _signal("worker_init")
worker_ready = _signal("worker_ready")
worker_before_create_process = _signal("worker_before_create_process")
worker_shutting_down = _signal("worker_shutting_down", "sig", "how", "exitcode")
worker_shutdown = _signal("worker_shutdown")
heartbeat_sent = _signal("heartbeat_sent")

# the children that run tasks
worker_process_init = _signal("worker_process_init")
worker_process_shutdown = _signal("worker_process_shutdown", "pid", "exitcode")

# logging
_LOGGING = ("loglevel", "logfile", "format", "colorize")
setup_logging = _signal("setup_logging", *_LOGGING)
after_setup_logger = _signal("after_setup_logger", "logger", *_LOGGING)
after_setup_task_logger = _signal("after_setup_task_logger", "logger", *_LOGGING)

# beat
beat_init = _signal("beat_init")
beat_embedded_init = _signal("beat_embedded_init")

# pools that are Celery's own
eventlet_pool_started = _signal("eventlet_pool_started")
eventlet_pool_preshutdown = _signal("eventlet_pool_preshutdown")
eventlet_pool_postshutdown = _signal("eventlet_pool_postshutdown")
eventlet_pool_apply = _signal("eventlet_pool_apply", "target", "args", "kwargs")

# the command line
user_preload_options = _signal("user_preload_options", "app", "options")
# fmt: on
