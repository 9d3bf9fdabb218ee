"""A task: a function with a name, options, and ways to call it elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, ClassVar

from multi.app.options import OPTIONS, check_values
from multi.app.request import Context, Direct, running
from multi.app.typed import Generic, P, R
from multi.errors import ConfigurationError, UnknownSetting, UnsupportedOption

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from multi.app.app import App
    from multi.app.eager import EagerResult
    from multi.app.result import AsyncResult
    from multi.app.signature import Signature

#: Attributes that nothing acts upon yet, with their defaults: any other value is refused when the task is registered.
REFUSED: dict[str, Any] = {
    "rate_limit": None,
    "send_events": True,
    "backend": None,
    "acks_on_failure_or_timeout": True,
    "acks_on_failure": None,
    "acks_on_timeout": None,
    "Strategy": None,
    "Request": None,
    "pydantic": False,
    "pydantic_strict": False,
    "pydantic_context": None,
    "pydantic_dump_kwargs": None,
    "exchange": None,
    "routing_key": None,
    "delivery_mode": None,
}

#: Attributes whose None means the setting of this name.
_FROM_SETTINGS = {
    "ignore_result": "task_ignore_result",
    "store_errors_even_if_ignored": "task_store_errors_even_if_ignored",
    "store_eager_result": "task_store_eager_result",
    "track_started": "task_track_started",
    "acks_late": "task_acks_late",
    "time_limit": "task_time_limit",
    "soft_time_limit": "task_soft_time_limit",
}


class Task(Generic[P, R]):
    """The base of all tasks. Attributes set to None take the value of their setting."""

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

    rate_limit: Any = None
    send_events: bool = True
    backend: Any = None
    acks_on_failure_or_timeout: bool = True
    acks_on_failure: bool | None = None
    acks_on_timeout: bool | None = None
    Strategy: Any = None
    Request: Any = None
    pydantic: bool = False
    pydantic_strict: bool = False
    pydantic_context: Any = None
    pydantic_dump_kwargs: Any = None
    exchange: Any = None
    routing_key: Any = None
    delivery_mode: Any = None

    _app: App | None = None
    _check: Callable[..., Any] | None = None
    _bound = True

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
        from multi.app.signature import Signature

        return Signature(self, args, kwargs, app=self.app, **more)

    subtask = signature

    def s(self, *args: Any, **kwargs: Any) -> Signature:
        """`signature((arguments), {keywords})`."""
        return self.signature(args, kwargs)

    def si(self, *args: P.args, **kwargs: P.kwargs) -> Signature:
        """Like `s`, but takes no further arguments from the task before it."""
        return self.signature(args, kwargs, immutable=True)

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
        backend = self.app.backend
        identifier = task_id or request.id
        if backend is not None and identifier:
            backend.store([state_store(self.app, identifier, state or "PENDING", meta, request)])

    def AsyncResult(self, task_id: str) -> AsyncResult[R]:  # noqa: N802 - Celery's name
        return self.app.AsyncResult(task_id)

    def check_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise the `TypeError` that the call would raise."""
        check = self._check
        if check is None:
            check = type(self)._check = staticmethod(_head(self.run, skip=self._bound))
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


_ATTRIBUTES = frozenset(name for name in vars(Task) if not name.startswith("_"))


def check_attributes(name: str, attributes: Mapping[str, Any]) -> None:
    """Refuse task attributes that are near misses, or known and not acted upon yet."""
    for attribute, value in attributes.items():
        if attribute in REFUSED:
            if value != REFUSED[attribute]:
                raise UnsupportedOption(
                    f"task {name}: the attribute {attribute} is not acted upon yet; remove it, or leave this task to "
                    "Celery's workers for now"
                )
        elif attribute not in _ATTRIBUTES and not attribute.startswith("_"):
            from difflib import get_close_matches

            near = get_close_matches(attribute, _ATTRIBUTES, 1, 0.85)
            if near:
                raise UnknownSetting(f"task {name}: no attribute is called {attribute!r}; did you mean {near[0]!r}?")
    for attribute, kinds in _KINDS.items():
        value = attributes.get(attribute)
        if value is not None and not isinstance(value, kinds):
            raise ConfigurationError(f"task {name}: {attribute} can't be {value!r}")
    try:
        check_values({key: value for key, value in attributes.items() if key in OPTIONS})
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"task {name}: {error}") from None


_KINDS: dict[str, tuple[type, ...]] = {
    "max_retries": (int,),
    "default_retry_delay": (int, float),
    "time_limit": (int, float),
    "soft_time_limit": (int, float),
    "priority": (int,),
    "queue": (str,),
    "serializer": (str,),
    "compression": (str,),
    "throws": (tuple, list),
}


def make(
    app: App, function: Callable[..., Any], name: str, base: type[Task], bind: bool, options: dict[str, Any]
) -> Task:
    """A task around `function`: an instance of a class of its own, as in Celery."""
    check_attributes(name, options)
    attributes = {
        **options,
        "name": name,
        "abstract": False,
        "bind": bind,
        "run": function if bind else staticmethod(function),
        "_bound": bind,
        "_app": app,
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        "__wrapped__": function if bind else staticmethod(function),
        "__annotations__": getattr(function, "__annotations__", {}),
    }
    for field in ("throws", "autoretry_for", "dont_autoretry_for"):
        if field in attributes:
            attributes[field] = tuple(attributes[field])
    task: Task = type(getattr(function, "__name__", "task"), (base,), attributes)()
    task.__dict__["__name__"] = getattr(function, "__name__", name)
    task.__dict__["__qualname__"] = getattr(function, "__qualname__", name)
    return task


_EMPTY: CodeType = (lambda: None).__code__
_ARGUMENTS, _KEYWORDS, _VARIADIC = 0x04, 0x08, 0x04 | 0x08


def _head(function: Callable[..., Any], *, skip: bool) -> Callable[..., Any]:
    """A function with the parameters of `function` and an empty body: calling it checks arguments, fast.

    `inspect.signature` would do, but its import costs a producer several milliseconds.
    """
    plain = getattr(function, "__func__", function)
    if not isinstance(plain, FunctionType):
        return _accept_all
    code = plain.__code__
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & _ARGUMENTS) + bool(code.co_flags & _KEYWORDS)
    empty = _EMPTY.replace(
        co_argcount=code.co_argcount,
        co_posonlyargcount=code.co_posonlyargcount,
        co_kwonlyargcount=code.co_kwonlyargcount,
        co_nlocals=count,
        co_varnames=code.co_varnames[:count],
        co_flags=(_EMPTY.co_flags & ~_VARIADIC) | (code.co_flags & _VARIADIC),
        co_name=code.co_name,
        co_qualname=code.co_name,
    )
    head = FunctionType(empty, {}, plain.__name__, plain.__defaults__)
    head.__kwdefaults__ = plain.__kwdefaults__
    return head


def _accept_all(*args: Any, **kwargs: Any) -> None:
    """For callables whose parameters can't be told cheaply: the worker will find out."""
