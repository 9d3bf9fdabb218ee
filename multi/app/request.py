"""What a running task knows about itself: `task.request`."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from multi.app.task import Task


class Context:
    """The request of one run; every field of Celery's, with its default."""

    args: Any = None
    argsrepr: str | None = None
    callbacks: Any = None
    called_directly = True
    chain: Any = None
    chord: Any = None
    correlation_id: str | None = None
    delivery_info: dict[str, Any] | None = None
    errbacks: Any = None
    eta: str | None = None
    expires: str | None = None
    group: str | None = None
    group_index: int | None = None
    headers: dict[str, Any] | None = None
    hostname: str | None = None
    id: Any = None  # a text; None outside of a run only
    ignore_result: bool | None = False
    is_eager = False
    kwargs: Any = None
    kwargsrepr: str | None = None
    lang: str | None = None
    logfile: str | None = None
    loglevel: int | None = None
    origin: str | None = None
    parent_id: str | None = None
    properties: dict[str, Any] | None = None
    retries = 0
    reply_to: str | None = None
    replaced_task_nesting = 0
    root_id: str | None = None
    shadow: str | None = None
    task: str | None = None
    taskset: str | None = None
    timelimit: Any = None
    utc: bool | None = None
    stamped_headers: Any = None
    stamps: Any = None

    def __init__(self, fields: dict[str, Any] | None = None, **more: Any) -> None:
        self.__dict__.update(fields or {}, **more)
        self.children: list[Any] = []

    @property
    def time_limit(self) -> float | None:
        return self.timelimit[0] if self.timelimit else None

    @property
    def soft_time_limit(self) -> float | None:
        return self.timelimit[1] if self.timelimit else None

    def as_execution_options(self) -> dict[str, Any]:
        """The options of `apply_async` that would send the same call again."""
        options = {
            "task_id": self.id,
            "root_id": self.root_id,
            "parent_id": self.parent_id,
            "group_id": self.group,
            "group_index": self.group_index,
            "shadow": self.shadow,
            "chord": self.chord,
            "chain": self.chain,
            "link": self.callbacks,
            "link_error": self.errbacks,
            "expires": self.expires,
            "soft_time_limit": self.soft_time_limit,
            "time_limit": self.time_limit,
            "headers": self.headers,
            "retries": self.retries,
            "reply_to": self.reply_to,
            "replaced_task_nesting": self.replaced_task_nesting,
            "origin": self.origin,
        }
        if self.stamped_headers:
            options["stamped_headers"] = self.stamped_headers
            options.update(
                (name, (self.stamps or {})[name]) for name in self.stamped_headers if name in (self.stamps or {})
            )
        return options

    def clear(self) -> None:
        """Forget all fields."""
        self.__dict__.clear()
        self.children = []

    def __getattr__(self, name: str) -> Any:
        """A header that the sender has added of its own."""
        headers = self.__dict__.get("headers")
        if headers and name in headers:
            return headers[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def get(self, key: str, default: Any = None) -> Any:
        return getattr(self, key, default)

    def update(self, *args: Any, **kwargs: Any) -> None:
        self.__dict__.update(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Context: {vars(self)!r}>"


#: Header names that are not the sender's own; what is left of the headers is `request.headers`.
STANDARD = frozenset(
    (
        *(name for name in Context.__dict__ if not name.startswith("_")),
        *("lang", "task", "argsrepr", "kwargsrepr", "compression", "redelivered", "clock", "meth", "sent_event"),
    )
)


def custom_headers(headers: dict[str, Any]) -> dict[str, Any] | None:
    """The headers that the sender added of its own, None if there are none."""
    return {key: value for key, value in headers.items() if key not in STANDARD} or None


class Running(Protocol):
    """A run in progress, as those that it calls see it."""

    task: Task
    id: str
    root_id: str
    entered: bool

    @property
    def request(self) -> Context: ...

    def add_child(self, child: Any) -> None: ...


#: The run that this thread, or this coroutine, is in.
running: ContextVar[Running | None] = ContextVar("multi_running", default=None)


def current_task() -> Task | None:
    """The task that is running here, None outside of one."""
    run = running.get()
    return run.task if run is not None else None


def current_name_and_id() -> tuple[str, str] | None:
    """For log lines: name and id of the task that is running here."""
    run = running.get()
    return (run.task.name, run.id) if run is not None else None


class Direct:
    """A task that is called as a function: it has a request, and nothing of a message."""

    __slots__ = ("entered", "id", "request", "root_id", "task")

    def __init__(self, task: Task, request: Context) -> None:
        self.task = task
        self.entered = True
        self.request = request
        self.id = request.id or ""
        self.root_id = request.root_id or self.id

    def add_child(self, child: Any) -> None:
        self.request.children.append(child)

    def retry_with(self, args: Any, kwargs: Any, options: dict[str, Any]) -> None:
        """Send the call again; there is no run whose recording it could wait for."""
        given = {key: value for key, value in options.items() if value is not None}
        standing = {key: value for key, value in self.request.as_execution_options().items() if value is not None}
        self.task.apply_async(args, kwargs, **{**standing, **given})


_pushed: ContextVar[tuple[Token[Running | None], ...]] = ContextVar("multi_pushed", default=())


def push(task: Task, request: Context) -> None:
    """Let `task` run here with `request`, until `pop`."""
    if not request.called_directly and request.args is None:
        request.args, request.kwargs = (), request.kwargs or {}
    _pushed.set((*_pushed.get(), running.set(Direct(task, request))))


def pop() -> None:
    """Undo the last `push`."""
    *rest, last = _pushed.get()
    _pushed.set(tuple(rest))
    running.reset(last)
