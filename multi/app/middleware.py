"""Middleware: objects with methods around sending and running tasks.

    class Tenants(Middleware):
        def before_publish(self, sending):
            sending.headers["tenant"] = tenant.get()

        def run(self, run, proceed):
            with as_tenant(run.headers["tenant"]):
                return proceed()

    app = App("proj", middleware=[Tenants()])

Which middleware a task meets is worked out once for each task type; a task that meets none runs as if there were no such thing.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property, partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from multi.app.request import Context, running
from multi.errors import ConfigurationError

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.app.job import Job
    from multi.app.task import Task
    from multi.outcome import Publication

GROUP = "multi.middleware"
_METHODS = ("before_publish", "after_publish", "run", "arun")


class Middleware:
    """The base of all middleware. A class of your own has those of the four methods that it needs; what it lacks costs nothing.

    `before_publish` and `run` are passed through in the order in which middleware was added, `after_publish` and the way back
    from `run` in the opposite one.
    """

    def applies_to(self, name: str) -> bool:
        """Whether tasks of this name pass through here; asked once for each."""
        return True

    def added_to(self, app: App) -> None:
        """Called when it has been added to `app`."""

    def before_publish(self, sending: Sending) -> None:
        """A message is about to be made: arguments, headers and properties may be changed. What is raised here refuses it."""

    def after_publish(self, message: Sent) -> None:
        """The broker has the message."""

    def run(self, run: Run, proceed: Callable[[], Any]) -> Any:
        """Around a task's body: give back what `proceed()` does, or something else, or raise."""
        return proceed()

    async def arun(self, run: Run, proceed: Callable[[], Awaitable[Any]]) -> Any:
        """The same around an `async def` task."""
        return await proceed()


class Sending:
    """A message that is about to be made."""

    __slots__ = ("args", "exchange", "headers", "id", "kwargs", "name", "properties", "queue")

    def __init__(
        self,
        name: str,
        task_id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        headers: dict[str, Any],
        properties: dict[str, Any],
        queue: str,
        exchange: str,
    ) -> None:
        self.name = name
        self.id = task_id
        self.args = list(args)
        self.kwargs = dict(kwargs)
        self.headers = headers
        self.properties = properties
        self.queue = queue
        self.exchange = exchange


class Sent:
    """A message that the broker has."""

    __slots__ = ("exchange", "headers", "id", "name", "properties", "queue")

    def __init__(self, publication: Publication) -> None:
        self.headers: dict[str, Any] = publication.message.headers
        self.properties: dict[str, Any] = publication.message.properties
        self.name: str = self.headers["task"]
        self.id: str = self.headers["id"]
        self.queue = publication.queue
        self.exchange = publication.exchange


class Run:
    """A run of a task, as middleware sees it. `args` and `kwargs` may be given new values before `proceed()` is called."""

    __slots__ = ("_job",)

    def __init__(self, job: Job) -> None:
        self._job = job

    @property
    def task(self) -> Task:
        return self._job.task

    @property
    def name(self) -> str:
        return self._job.name

    @property
    def id(self) -> str:
        return self._job.id

    @property
    def queue(self) -> str:
        return self._job.queue

    @property
    def headers(self) -> dict[str, Any]:
        """The message's headers."""
        return self._job.headers

    @property
    def request(self) -> Context:
        """What the task sees as `self.request`."""
        return self._job.request

    @property
    def args(self) -> list[Any]:
        return self._job.args

    @args.setter
    def args(self, value: Sequence[Any]) -> None:
        self._job.args = self._job.request.args = list(value)

    @property
    def kwargs(self) -> dict[str, Any]:
        return self._job.kwargs

    @kwargs.setter
    def kwargs(self, value: Mapping[str, Any]) -> None:
        self._job.kwargs = self._job.request.kwargs = dict(value)


class Hooked:
    """What `App` has of this."""

    middleware: tuple[Middleware, ...] = ()

    @cached_property
    def dependency_overrides(self) -> dict[Callable[..., Any], Callable[..., Any]]:
        """Providers to be used in the place of others: `app.dependency_overrides[get_session] = fake_session`, for tests."""
        return {}

    def add_middleware(self, *added: Middleware | type[Middleware] | str) -> None:
        """Have the app's tasks pass through these, inside of what there is already.

        Each is an object, a class (made without arguments), or a text: the name under which a distribution has it installed
        ("opentelemetry", "opentelemetry-metrics", "prometheus"), or "module:Class". Raises `ConfigurationError` for what
        isn't one.
        """
        for one in added:
            found = made(one)
            self.middleware = (*self.middleware, found)
            found.added_to(self)  # type: ignore[arg-type]  # a Hooked is always an App
        self._forget_derived("middleware")

    def _forget_derived(self, name: str | None) -> None:
        raise NotImplementedError


def made(given: Any) -> Middleware:
    """The middleware that is meant by an object, a class or a text."""
    found = _named(given) if isinstance(given, str) else given
    if isinstance(found, type):
        found = found()
    if not isinstance(found, Middleware):
        raise ConfigurationError(f"middleware: {given!r} is none; it should be of a class made of multi.Middleware")
    for name in ("before_publish", "after_publish", "run"):
        if inspect.iscoroutinefunction(getattr(found, name)):
            raise ConfigurationError(
                f"middleware: {name} of {_shown(found)} is async, but it is called, not awaited; only arun is to be `async def`"
            )
    if has(found, "arun") and not inspect.iscoroutinefunction(found.arun):
        raise ConfigurationError(f"middleware: arun of {_shown(found)} should be `async def`")
    return found


def _named(name: str) -> Any:
    from multi import plugins

    if ":" not in name:
        return plugins.find(GROUP, name)
    from importlib import import_module

    module, _, attribute = name.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"middleware: {name!r} can't be imported: {error}") from error


def has(one: Middleware, method: str) -> bool:
    """Whether a middleware has this method itself."""
    return getattr(type(one), method) is not getattr(Middleware, method) or method in vars(one)


def _shown(one: Middleware) -> str:
    return type(one).__qualname__


def publishing(app: App, name: str) -> tuple[Callable[[Sending], None], ...]:
    """What messages of the task `name` pass through."""
    return tuple(one.before_publish for one in app.middleware if has(one, "before_publish") and one.applies_to(name))


def published(app: App, publications: Sequence[Publication]) -> None:
    """Tell that the broker has these; what is raised is logged, since nothing can be called back."""
    told = [one for one in reversed(app.middleware) if has(one, "after_publish")]
    for publication in publications if told else ():
        message = Sent(publication)
        for one in told:
            if one.applies_to(message.name):
                try:
                    one.after_publish(message)
                except Exception as error:  # a project's own code; the message is sent
                    _complain(one, message, error)


def _complain(one: Middleware, message: Sent, error: Exception) -> None:
    import logging

    logging.getLogger("multi.middleware").error(
        "after_publish of %s has raised %r for %s[%s]", _shown(one), error, message.name, message.id, exc_info=error
    )


def around(app: App, name: str, call: Callable[..., Any], is_async: bool) -> Callable[..., Any]:
    """`call` with the middleware of the task `name` around it; `call` itself where there is none.

    Raises `ConfigurationError` where one would be passed by: it has a method for the other kind of task only.
    """
    layers: list[Callable[..., Any]] = []
    for one in app.middleware:
        if not (has(one, "run") or has(one, "arun")) or not one.applies_to(name):
            continue
        wanted, other = ("arun", "run") if is_async else ("run", "arun")
        if not has(one, wanted):
            kind = "an `async def` task" if is_async else "a plain function"
            raise ConfigurationError(
                f"middleware {_shown(one)} has {other} but not {wanted}, and {name} is {kind}: "
                f"give it {wanted} too, or have its applies_to leave such tasks out"
            )
        layers.append(getattr(one, wanted))
    if not layers:
        return call
    return _async_layers(layers, call) if is_async else _layers(layers, call)


def _layers(layers: list[Callable[..., Any]], call: Callable[..., Any]) -> Callable[..., Any]:
    def layered(*args: Any, **kwargs: Any) -> Any:
        job: Any = running.get()
        run = Run(job)

        def body() -> Any:
            return call(*job.args, **job.kwargs)

        proceed = body
        for layer in reversed(layers):
            proceed = partial(layer, run, proceed)
        return proceed()

    return layered


def _async_layers(layers: list[Callable[..., Any]], call: Callable[..., Any]) -> Callable[..., Any]:
    async def layered(*args: Any, **kwargs: Any) -> Any:
        job: Any = running.get()
        run = Run(job)

        async def body() -> Any:
            result = call(*job.args, **job.kwargs)
            return await result if result.__class__ is CoroutineType else result

        proceed: Callable[[], Any] = body
        for layer in reversed(layers):
            proceed = partial(layer, run, proceed)
        return await proceed()

    return layered
