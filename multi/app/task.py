"""A task: a function with a name, options, and ways to call it elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from multi.app.arguments import head
from multi.app.lacking import TASK, Lacks
from multi.app.request import Context, Direct, running
from multi.app.typed import Generic, P, R
from multi.errors import BrokerUnavailable
from multi.errors import MaxRetriesExceededError as _MaxRetriesExceededError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from multi.app.app import App
    from multi.app.canvas.signatures import Signature
    from multi.app.eager import EagerResult
    from multi.app.result import AsyncResult
    from multi.backends.base import Backend

    T = TypeVar("T")

#: Attributes whose None means the setting of this name.
_FROM_SETTINGS = {
    "ignore_result": "task_ignore_result",
    "store_errors_even_if_ignored": "task_store_errors_even_if_ignored",
    "store_eager_result": "task_store_eager_result",
    "track_started": "task_track_started",
    "acks_late": "task_acks_late",
    "time_limit": "task_time_limit",
    "soft_time_limit": "task_soft_time_limit",
    "rate_limit": "task_default_rate_limit",
    "acks_on_failure_or_timeout": "task_acks_on_failure_or_timeout",
    "acks_on_failure": "task_acks_on_failure",
    "acks_on_timeout": "task_acks_on_timeout",
    "reject_on_worker_lost": "task_reject_on_worker_lost",
    "max_deliveries": "max_deliveries",
}


class Task(Lacks, Generic[P, R]):
    """The base of all tasks. Attributes set to None take the value of their setting."""

    _lacking = TASK
    _called = "task"

    name: str = ""
    abstract: bool = True
    bind: ClassVar[bool] = False
    typing: bool = True
    max_retries: int | None = 3
    default_retry_delay: float = 180
    ignore_result: bool | None = None
    trail: bool = True
    store_errors_even_if_ignored: bool | None = None
    store_eager_result: bool | None = None
    serializer: str | None = None
    compression: str | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    track_started: bool | None = None
    acks_late: bool | None = None
    reject_on_worker_lost: bool | None = None
    throws: tuple[type[BaseException], ...] = ()
    expires: Any = None
    priority: int | None = None
    queue: str | None = None
    resultrepr_maxsize: int = 1024
    autoretry_for: tuple[type[BaseException], ...] = ()
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    retry_kwargs: Mapping[str, Any] = {}
    retry_backoff: int | bool = False
    retry_backoff_max: int = 600
    retry_jitter: bool = True

    rate_limit: str | float | None = None
    rate_limit_scope: str = "worker"
    unique_for: float | None = None
    unique_key: Any = None
    unique_until: str = "success"
    unique_on_conflict: str = "ignore"
    concurrency_limit: int | None = None
    concurrency_key: Any = None
    send_events: bool = True
    backend: Any = None
    max_deliveries: int | None = None
    acks_on_failure_or_timeout: bool | None = None
    acks_on_failure: bool | None = None
    acks_on_timeout: bool | None = None
    retry_on_worker_lost: bool | None = None
    Strategy: Any = None
    Request: Any = None
    pydantic: bool = False
    pydantic_strict: bool = False
    pydantic_context: Mapping[str, Any] | None = None
    pydantic_dump_kwargs: Mapping[str, Any] | None = None
    exchange: Any = None
    routing_key: Any = None
    delivery_mode: Any = None

    #: What `retry` raises when it is enough, and `apply_async` when the broker can't be reached.
    MaxRetriesExceededError = _MaxRetriesExceededError
    OperationalError = BrokerUnavailable

    _app: App | None = None
    _annotated: Any = None
    _check: Callable[..., Any] | None = None
    _bound = True
    _own_result = False  # whether a class of the project's says what a result is

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._own_result = cls.AsyncResult is not Task.AsyncResult

    def _asked_to_stop(self, task_id: str) -> bool:
        """Whether a run of an abortable task is to stop, so that no other state may take the place of that."""
        return False

    # the parts that a project writes ---------------------------------------------------------------------------------

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The body of the task."""
        raise NotImplementedError("tasks must define the run method")

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Called in the worker just before the task runs."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Called in the worker when the task has returned."""

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called in the worker when the task has failed."""

    def on_retry(self, exc: BaseException | None, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called in the worker when the task is to be retried."""

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called in the worker at the end, unless the task is retried, ignored or rejected."""

    def on_bound(self, app: App) -> None:
        """Called when the task has joined an app."""

    def shadow_name(self, args: Any, kwargs: Any, options: Mapping[str, Any]) -> str | None:
        """Another name for this call in logs and monitors."""
        return None

    # what it belongs to ----------------------------------------------------------------------------------------------

    @property
    def app(self) -> App:
        if self._app is None:
            from multi.app import current

            return current.get()
        return self._app

    @property
    def request(self) -> Context:
        """The run that this thread or coroutine is in; one with `called_directly` outside of a worker."""
        run = running.get()
        return run.request if run is not None and run.task is self else Context(task=self.name)

    def effective(self, attribute: str) -> Any:
        """The attribute's value, or that of its setting where it is None."""
        value = getattr(self, attribute)
        return self.app.conf[_FROM_SETTINGS[attribute]] if value is None else value

    @property
    def acks_early(self) -> bool:
        """Whether the message is acknowledged before the run: only where `acks_late` is False in so many words."""
        return self.effective("acks_late") is False

    def acknowledges(self, what: str) -> bool:
        """Whether a message is done with after a "failure", or after a "timeout" (the hard time limit)."""
        value = self.effective(f"acks_on_{what}")
        return bool(self.effective("acks_on_failure_or_timeout") if value is None else value)

    @property
    def own_backend(self) -> Backend | None:
        """The result backend of this task alone, None where it has the app's."""
        return None if self.backend is None else self.app.backend_of(self.backend)

    def annotate(self) -> None:
        """Take over what the setting `task_annotations` says of this task."""
        wanted = self.app.conf.task_annotations
        if wanted and self._annotated is not wanted:
            from multi.app.annotations import annotate

            self._annotated = wanted
            annotate(self, wanted)

    # calling ---------------------------------------------------------------------------------------------------------

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        run = running.get()
        if run is not None and run.task is self and not run.entered:
            run.entered = True  # a __call__ of the project's own, on its way from the worker to the body
            return self.run(*args, **kwargs)  # type: ignore[no-any-return]  # what `run` returns, it says itself
        token = running.set(Direct(self, Context(args=args, kwargs=kwargs, task=self.name)))
        try:
            return self.run(*args, **kwargs)  # type: ignore[no-any-return]  # as above
        finally:
            running.reset(token)

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send the task to a worker, called with these arguments."""
        return self.apply_async(args, kwargs)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """`delay` for programs of asyncio: the loop goes on while the message is on its way."""
        return await self.aapply_async(args, kwargs)

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[R]:
        """Send the task to a worker. The options are Celery's: task_id, queue, countdown, eta, expires, link, ..."""
        args = () if args is None else args
        kwargs = {} if kwargs is None else kwargs
        if not isinstance(args, list | tuple):
            raise TypeError(f"the arguments of {self.name} should be a list or tuple, not {type(args).__name__}")
        if not isinstance(kwargs, Mapping):
            raise TypeError(f"the keyword arguments of {self.name} should be a mapping, not {type(kwargs).__name__}")
        if self.pydantic:
            args, kwargs = self.dumped(args, kwargs)
        if not options:
            return self.app._send_plain(self, args, kwargs)
        return self.app._send(self, args, kwargs, options)

    async def aapply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[R]:
        """`apply_async` for programs of asyncio."""
        from multi.app.coroutines import in_thread

        sent: AsyncResult[R] = await in_thread(self.apply_async, args, kwargs, **options)
        return sent

    def send_many(self, calls: Iterable[Sequence[Any]]) -> list[AsyncResult[R]]:
        """Send one message for each tuple of positional arguments, in as few round trips as possible."""
        return self.app.send_many((self, args) for args in calls)

    def apply(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> EagerResult[R]:
        """Run the task here and now, as a worker would; nothing is sent."""
        from multi.app.eager import apply

        return apply(self, tuple(args or ()), dict(kwargs or {}), options)

    def signature(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **more: Any
    ) -> Signature:
        """A call of this task, to be made later or by somebody else."""
        from multi.app.canvas.signatures import Signature

        if self.pydantic:
            args, kwargs = self.dumped(args or (), kwargs or {})
        return Signature(self, args, kwargs, app=self.app, **more)

    subtask = signature

    def s(self, *args: Any, **kwargs: Any) -> Signature:
        """`signature((arguments), {keywords})`."""
        return self.signature(args, kwargs)

    def si(self, *args: P.args, **kwargs: P.kwargs) -> Signature:
        """Like `s`, but takes no further arguments from the task before it."""
        return self.signature(args, kwargs, immutable=True)

    def map(self, it: Iterable[Any]) -> Any:
        """One message whose worker calls this task with each item, one after the other."""
        from multi.app.canvas.batches import xmap

        return xmap(self.s(), it, app=self.app)

    def starmap(self, it: Iterable[Any]) -> Any:
        """The same with each item as the arguments."""
        from multi.app.canvas.batches import xstarmap

        return xstarmap(self.s(), it, app=self.app)

    def chunks(self, it: Iterable[Any], n: int) -> Any:
        """As many messages as it takes with `n` items in each, called as by `starmap`."""
        from multi.app.canvas.batches import chunks

        return chunks(self.s(), it, n, app=self.app)

    def replace(self, sig: Any) -> Any:
        """Have `sig` run in the place of this task, with its id, callbacks and place in chain and chord: use
        `raise self.replace(...)` or `return self.replace(...)`; nothing after it is run."""
        from multi.app.canvas.replacing import replace

        return replace(self, sig)

    def on_replace(self, sig: Any) -> Any:
        """What `replace` does in the end: sends `sig` together with the end of this run. A base class may add to it."""
        from multi.app.canvas.replacing import send

        return send(self, sig)

    def add_to_chord(self, sig: Any, lazy: bool = False) -> Any:
        """Add a task to the header of the chord that this task is a part of; with `lazy` it is yours to send."""
        from multi.app.canvas.replacing import add_to_chord

        return add_to_chord(self, sig, lazy)

    def signature_from_request(
        self,
        request: Context | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        queue: str | None = None,
        **extra: Any,
    ) -> Signature:
        """The call that a run comes from, as a retry would send it: the same id, one more in `retries`."""
        request = request or self.request
        options = {key: value for key, value in request.as_execution_options().items() if value is not None}
        options |= {"retries": request.retries + 1, "ignore_result": request.ignore_result}
        info = request.delivery_info or {}
        if info.get("priority") is not None:
            options["priority"] = info["priority"]
        if queue or info.get("routing_key"):
            options["queue"] = queue or info["routing_key"]
        return self.signature(
            request.args if args is None else args, request.kwargs if kwargs is None else kwargs, **{**options, **extra}
        )

    subtask_from_request = signature_from_request

    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: Any = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Any:
        """Have the task run again later; raises `Retry` (use `raise self.retry(...)`), or `exc` when it is enough.

        The message goes out together with the recording of this run, not before. With `throw=False` the exception
        is returned; the task has to raise it.
        """
        from multi.app.retry import retry

        return retry(self, args, kwargs, exc, throw, eta, countdown, max_retries, options)

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **kwargs: Any
    ) -> None:
        """Record a state of your own, such as PROGRESS, for `task_id` or the run that this is called in."""
        from multi.app.records import state_store

        request = self.request
        backend = self.own_backend or self.app.backend
        identifier = task_id or request.id
        if backend is not None and identifier:
            backend.store([state_store(self.app, backend, identifier, state or "PENDING", meta, request)])

    def send_event(
        self, type_: str, retry: bool = True, retry_policy: Mapping[str, Any] | None = None, **fields: Any
    ) -> None:
        """Tell of an event of this run, to whoever listens now: `self.send_event("task-downloaded", bytes=n)`."""
        request = self.request
        with self.app.events.default_dispatcher(hostname=request.hostname) as dispatcher:
            dispatcher.send(type_, uuid=request.id, retry=retry, retry_policy=retry_policy, **fields)

    def AsyncResult(self, task_id: str) -> AsyncResult[R]:  # noqa: N802 - Celery's name
        own = self.own_backend
        if own is None:
            return self.app.AsyncResult(task_id)
        from multi.app.result import KeptElsewhere

        return KeptElsewhere(task_id, self.app, own)

    def progress(self, current: float, total: float | None = None, message: str = "", **more: Any) -> None:
        """Tell those who wait how far this run is; at most ten times a second, and the end (`current == total`) always.

        It is recorded as the state PROGRESS, and read by `AsyncResult.progress` and `AsyncResult.follow`.
        """
        from multi.app.progress import report

        report(self, current, total, message, more)

    def track(self, items: Iterable[T], total: float | None = None, message: str = "") -> Iterator[T]:
        """Go through `items`, telling after each how far it is: `for row in self.track(rows):`."""
        from multi.app.progress import track

        return track(self, items, total, message)

    def push_request(self, *args: Any, **kwargs: Any) -> None:
        """Have `request` be one with these fields until `pop_request`; for tests of a task's body."""
        from multi.app.request import push

        push(self, Context(*args, **kwargs))

    def pop_request(self) -> None:
        from multi.app.request import pop

        pop()

    def dumped(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """The arguments with pydantic's models in a form that travels."""
        from multi.app.validation import dump

        options = self.pydantic_dump_kwargs
        return [dump(value, options) for value in args], {key: dump(value, options) for key, value in kwargs.items()}

    def check_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise the `TypeError` that the call would raise."""
        check = self._check
        if check is None:
            body: Any = self.run
            checked = None
            if "multi.app.injection" in sys.modules:
                from multi.app.injection import check_of

                checked = check_of(self)
            if checked is None:
                checked = head(body.__wrapped__ if self.pydantic and hasattr(body, "__wrapped__") else body)
            check = type(self)._check = staticmethod(checked)
        if self._bound:
            check(self, *args, **kwargs)
        else:
            check(*args, **kwargs)

    def add_trail(self, result: Any) -> Any:
        run = running.get()
        if run is not None and self.trail:
            run.add_child(result)
        return result

    def __reduce__(self) -> Any:
        return _by_name, (self.name, getattr(self, "__module__", None))

    def __repr__(self) -> str:
        return f"<@task: {self.name} of {self._app!r}>"


if TYPE_CHECKING:

    class CoroutineTask(Task[P, R]):
        """For type checkers: a task made of an `async def`. Its result is what the coroutine returns."""

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:  # type: ignore[override]
            raise NotImplementedError


def _by_name(name: str, module: str | None) -> Task:
    from multi.app import current

    app = current.get()
    if name not in app.tasks and module:
        import importlib

        importlib.import_module(module)
    return app.tasks[name]
