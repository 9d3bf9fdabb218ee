"""Every error of multi, in one tree.

    MultiError
    ├─ ConfigurationError (ImproperlyConfigured)   also ValueError: a setting, URL or option that can't be
    │   ├─ UnknownSetting                          nobody knows this name; says which one is near
    │   ├─ UnsupportedOption                       known, but not acted upon yet: refused, never ignored
    │   │   └─ Lacking                             also AttributeError: what Celery has by this name, and multi has not
    │   ├─ QueueNotFound                           also KeyError: not among task_queues, and none is made
    │   ├─ EntryNotFound                           also KeyError: no entry of the schedule has this name
    │   ├─ MissingExtra                            names the pip command that installs what is missing
    │   └─ AppNotFound                             what `-A` names leads to no app; lists what was tried
    │       └─ AppImportFailed                     it exists, but raises while it is imported
    ├─ BrokerUnavailable (OperationalError)        nothing may be assumed sent
    │   ├─ BrokerLost                              an open connection ended; the last step may have happened or not
    │   └─ BrokerRefused                           it answers, but refuses; waiting will not help
    ├─ Unroutable                                  no queue is bound so that it would take the message
    ├─ BackendError
    │   ├─ BackendUnavailable
    │   └─ BackendDisabled                         also NotImplementedError: no result backend is configured
    ├─ SerializationError
    │   ├─ EncodeError
    │   ├─ DecodeError
    │   ├─ ContentDisallowed
    │   └─ SecurityError                           a signature, or a certificate, that can't be trusted
    ├─ TaskError
    │   ├─ NotRegistered                           also KeyError
    │   ├─ AlreadyRegistered
    │   ├─ TimeoutError                            also builtins.TimeoutError: `get` waited long enough
    │   ├─ MaxRetriesExceededError
    │   ├─ TaskRevokedError
    │   ├─ DuplicateTask                           a unique task with this key waits or runs already
    │   ├─ InvalidTaskError                        a message that is no task message
    │   ├─ ChordError
    │   └─ RemoteError                             the class of a remote exception is not known here; made on the fly
    ├─ TaskPredicate                               raised by a task to say what becomes of it; no failure
    │   ├─ Retry
    │   ├─ Ignore
    │   └─ Reject
    ├─ ProcessEnded
    │   ├─ SoftTimeLimitExceeded
    │   ├─ TimeLimitExceeded
    │   ├─ WorkerLostError
    │   └─ Terminated
    ├─ StateDirectoryError                         full, read-only, not ours, on a network file system
    ├─ NodeError                                   a node that is not there, not ours, or doesn't do what it should
    │   ├─ NodeNotFound
    │   └─ NodeStartFailed
    └─ DeployError                                 something about a deploy to other hosts
        ├─ HostUnreachable                         also ConnectionError: no way to the host, or the way was cut
        │   └─ HostRefused                         it answers, but not to us: host key, password, key; waiting will not help
        ├─ StepFailed                              a step could not be done on a host; says which, with its output
        └─ DeployLocked                            another deploy is under way; says whose

`DuplicateNodenameWarning` is no error but a `UserWarning`: several workers go by one name.

A message says what failed, why as far as it is known, and what to do about it. On the wire the classes that Celery has
too bear Celery's module names; `wire_name` and `from_wire` translate.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence


class MultiError(Exception):
    """The root of all errors of multi."""


CeleryError = MultiError


class ConfigurationError(MultiError, ValueError):
    """A setting, URL or option that can't be."""


ImproperlyConfigured = ConfigurationError


class UnknownSetting(ConfigurationError, AttributeError):
    """No setting has this name."""


class UnsupportedOption(ConfigurationError):
    """A known option or setting that is not acted upon yet; refused so that nobody relies on it."""


class Lacking(UnsupportedOption, AttributeError):
    """Something that Celery's app, task or remote control has, and ours has not; says what to use instead."""


class EntryNotFound(ConfigurationError, KeyError):
    """No entry of the schedule has this name."""

    __str__ = Exception.__str__


class QueueNotFound(ConfigurationError, KeyError):
    """A queue that is not among `task_queues`, where missing ones are not made."""

    __str__ = Exception.__str__


class MissingExtra(ConfigurationError):
    """A library that is installed on wish only: `MissingExtra("redis", "multi-workers[redis]")`."""

    def __init__(self, what: str, requirement: str, purpose: str = "") -> None:
        self.what = what
        self.requirement = requirement
        self.purpose = purpose
        super().__init__(what, requirement, purpose)

    def __str__(self) -> str:
        for_what = f" for {self.purpose}" if self.purpose else ""
        return f"{self.what!r} is needed{for_what} and not installed; install it with: pip install '{self.requirement}'"


class AppNotFound(ConfigurationError):
    """No app where `-A` says that there is one."""


class AppIsCelerys(AppNotFound):
    """What `-A` names is an app of Celery's own, which is `app`."""

    app: object = None


class AppImportFailed(AppNotFound):
    """The app's module exists, but raises `cause` while it is imported; `cause_text` is the traceback from the project's own
    line on."""

    def __init__(self, message: str, cause_text: str = "", cause: BaseException | None = None) -> None:
        super().__init__(message)
        self.cause_text = cause_text
        #: whether the same import may well succeed later, as when a database is away that it asks
        self.may_pass = not isinstance(cause, ImportError | SyntaxError | SystemExit | None)


class BrokerUnavailable(MultiError):
    """The broker can't be reached; nothing of the last call may be assumed sent."""


OperationalError = BrokerUnavailable


class BrokerLost(BrokerUnavailable):
    """An open connection to the broker has ended; whether the last step happened is not known."""


class BrokerRefused(BrokerUnavailable):
    """The broker answers and refuses: a wrong password, an unknown database, a version too old. Waiting will not help."""


class Unroutable(MultiError):
    """A message for an exchange to which no queue is bound that would take it; where Celery drops it without a word."""


class BackendError(MultiError):
    """Something about the result backend."""


class BackendUnavailable(BackendError):
    """The result backend can't be reached."""


class BackendDisabled(BackendError, NotImplementedError):
    """States and results are asked for, but no result backend is configured."""


class SerializationError(MultiError):
    """Something can't be turned into bytes, or bytes can't be turned back."""


class EncodeError(SerializationError):
    """An argument or a result that the serializer can't express."""


class DecodeError(SerializationError):
    """Bytes that are not what their content type says."""


class ContentDisallowed(SerializationError):
    """A content type that `accept_content` doesn't list."""


class SecurityError(SerializationError):
    """A signature that is not that of somebody who may sign, or a certificate that isn't valid."""


class TaskError(MultiError):
    """Something about a task."""


class NotRegistered(TaskError, KeyError):
    """No task of this name is known here."""

    def __str__(self) -> str:
        return str(self.args[0]) if len(self.args) == 1 else repr(self.args)

    def __repr__(self) -> str:
        return f"NotRegistered({', '.join(map(repr, self.args))})"


class AlreadyRegistered(TaskError):
    """Another task bears this name."""


class TimeoutError(TaskError, builtins.TimeoutError):  # noqa: A001 - Celery's name
    """A result was waited for as long as was allowed."""


class MaxRetriesExceededError(TaskError):
    """The task was retried as often as its `max_retries` allows."""

    def __init__(self, *args: object, task_args: Sequence[object] = (), task_kwargs: object = None) -> None:
        self.task_args = task_args
        self.task_kwargs = task_kwargs if task_kwargs is not None else {}
        super().__init__(*args)


class TaskRevokedError(TaskError):
    """The task was revoked or had expired; the argument says which."""


class DuplicateTask(TaskError):
    """A unique task with this key waits or runs already; `task_id` says which."""

    def __init__(self, *args: object, task_id: str = "") -> None:
        self.task_id = task_id
        super().__init__(*args)


class InvalidTaskError(TaskError):
    """A message that is no task message."""


class ChordError(TaskError):
    """A task of a chord's header has failed."""


class RemoteError(TaskError):
    """A task's exception whose class can't be found here; subclasses are made on the fly, with the name it had there."""


class TaskPredicate(MultiError):
    """Raised by a task to say what becomes of it; none of these is a failure."""


class Retry(TaskPredicate):
    """The task is to run again: at `when` (a datetime, or seconds from now), because of `exc`."""

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | str | None = None,
        when: object = None,
        is_eager: bool = False,
        sig: object = None,
    ) -> None:
        self.message = message
        self.exc = exc if isinstance(exc, BaseException) else None
        self.excs = exc if isinstance(exc, str) else (repr(exc) if exc is not None else None)
        self.when = when
        self.is_eager = is_eager
        self.sig = sig
        super().__init__(message, exc, when)

    def humanize(self) -> str:
        """When, in words: "in 180s" or "at 2026-01-01 …"."""
        if isinstance(self.when, int | float):
            return f"in {self.when}s"
        return f"at {self.when}"

    def __str__(self) -> str:
        if self.message:
            return self.message
        if self.excs:
            return f"Retry {self.humanize()}: {self.excs}"
        return f"Retry {self.humanize()}"


class Ignore(TaskPredicate):
    """The task's state is none of the worker's business: nothing is stored, the message is done."""


class Reject(TaskPredicate):
    """The task doesn't want this message: back to its queue with `requeue`, else to the dead-letter queue."""

    def __init__(self, reason: object = None, requeue: bool = False) -> None:
        self.reason = reason
        self.requeue = requeue
        super().__init__(reason, requeue)

    def __repr__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


class ProcessEnded(MultiError):
    """A run that was ended from outside."""


class SoftTimeLimitExceeded(ProcessEnded):
    """Raised inside a task that has used up its `soft_time_limit`, so that it can tidy up."""

    def __str__(self) -> str:
        return "SoftTimeLimitExceeded" + (str(self.args) if self.args else "()")


class TimeLimitExceeded(ProcessEnded):
    """A task that has used up its `time_limit`; its process was killed."""

    def __str__(self) -> str:
        return "TimeLimitExceeded" + (str(self.args) if self.args else "()")


class WorkerLostError(ProcessEnded):
    """The process that ran the task has ended."""


class Terminated(ProcessEnded):
    """The process that ran the task was ended on request."""


class StateDirectoryError(MultiError):
    """A directory for state, runtime files or logs that can't be used."""


class NodeError(MultiError):
    """Something about a node."""


class NodeNotFound(NodeError):
    """No node of this name, or one that is somebody else's."""


class NodeStartFailed(NodeError):
    """A node ended, or gave no sign of readiness, before it was consuming."""


class DeployError(MultiError):
    """Something about a deploy to other hosts."""


class HostUnreachable(DeployError, ConnectionError):
    """There is no way to the host, or the way was cut: what was under way there may have happened or not."""

    def __init__(self, host: str, reason: str) -> None:
        self.host = host
        self.reason = reason
        super().__init__(host, reason)

    def __str__(self) -> str:
        return f"{self.host}: {self.reason}"


class HostRefused(HostUnreachable):
    """The host answers, but the connection can't be: its key is unknown or another one, or it does not let us in."""


class StepFailed(DeployError):
    """A step could not be done on a host. `output` is the end of what was said there."""

    def __init__(self, host: str, step: str, reason: str, output: str = "") -> None:
        self.host = host
        self.step = step
        self.reason = reason
        self.output = output
        super().__init__(host, step, reason, output)

    def __str__(self) -> str:
        text = f"{self.host}: {self.step}: {self.reason}"
        return text + "".join(f"\n    {line}" for line in self.output.splitlines())


class DeployLocked(DeployError):
    """Another deploy holds the lock."""


class DuplicateNodenameWarning(UserWarning):
    """Several workers go by one name: of their replies only the last is kept where they are told by name."""


_CELERY = "celery.exceptions"
_BILLIARD = "billiard.exceptions"
_KOMBU = "kombu.exceptions"

_WIRE: dict[type[BaseException], tuple[str, str]] = {
    ConfigurationError: (_CELERY, "ImproperlyConfigured"),
    BackendError: (_CELERY, "BackendError"),
    TaskError: (_CELERY, "TaskError"),
    NotRegistered: (_CELERY, "NotRegistered"),
    AlreadyRegistered: (_CELERY, "AlreadyRegistered"),
    QueueNotFound: (_CELERY, "QueueNotFound"),
    TimeoutError: (_CELERY, "TimeoutError"),
    MaxRetriesExceededError: (_CELERY, "MaxRetriesExceededError"),
    TaskRevokedError: (_CELERY, "TaskRevokedError"),
    InvalidTaskError: (_CELERY, "InvalidTaskError"),
    ChordError: (_CELERY, "ChordError"),
    TaskPredicate: (_CELERY, "TaskPredicate"),
    Retry: (_CELERY, "Retry"),
    Ignore: (_CELERY, "Ignore"),
    Reject: (_CELERY, "Reject"),
    SoftTimeLimitExceeded: (_BILLIARD, "SoftTimeLimitExceeded"),
    TimeLimitExceeded: (_BILLIARD, "TimeLimitExceeded"),
    WorkerLostError: (_BILLIARD, "WorkerLostError"),
    Terminated: (_BILLIARD, "Terminated"),
    SerializationError: (_KOMBU, "SerializationError"),
    EncodeError: (_KOMBU, "EncodeError"),
    DecodeError: (_KOMBU, "DecodeError"),
    ContentDisallowed: (_KOMBU, "ContentDisallowed"),
    SecurityError: (_CELERY, "SecurityError"),
    BrokerUnavailable: (_KOMBU, "OperationalError"),
}

_KNOWN: dict[tuple[str, str], type[BaseException]] = {
    **{wire: cls for cls, wire in _WIRE.items()},
    # celery.exceptions re-exports these four; peers write either module
    (_CELERY, "SoftTimeLimitExceeded"): SoftTimeLimitExceeded,
    (_CELERY, "TimeLimitExceeded"): TimeLimitExceeded,
    (_CELERY, "WorkerLostError"): WorkerLostError,
    (_CELERY, "Terminated"): Terminated,
    # kombu's own users have met these under kombu.exceptions as well as under json's name
    (_KOMBU, "ImproperlyConfigured"): ConfigurationError,
}


def wire_name(cls: type[BaseException]) -> tuple[str, str]:
    """Module and name under which an exception class goes into a result: Celery's for the classes both have."""
    return _WIRE.get(cls) or (cls.__module__, cls.__name__)


def from_wire(module: str, name: str) -> type[BaseException] | None:
    """Our class for a name of Celery's, None when there is none."""
    return _KNOWN.get((module, name))
