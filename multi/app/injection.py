"""Parameters of tasks that the worker provides: `def export(order_id: int, session: Session = Depends(get_session))`.

They are no part of the message, nor of what a call is checked for. This module is imported by those who have such tasks only; a
process in which nobody has imported it has none.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import msgspec

from multi.errors import ConfigurationError

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.app.task import Task


class Dependency(msgspec.Struct, frozen=True):
    """What `Depends` gives: who provides the value of a parameter."""

    provider: Callable[..., Any]
    use_cache: bool = True


def Depends(provider: Callable[..., Any], *, use_cache: bool = True) -> Any:  # noqa: N802 - as FastAPI calls it
    """The default of a parameter, or in its annotation: `provider()` gives the value, once per run unless `use_cache=False`.

    A provider may be a function, a generator function (what is behind its `yield` is done after the run), or either of them
    async, for `async def` tasks. Its own parameters may be provided in the same way.
    """
    if not callable(provider):
        raise TypeError(f"Depends takes a function, not {provider!r}")
    return Dependency(provider, use_cache)


class Provided(msgspec.Struct, frozen=True):
    """A provider that was looked into: its own parameters, and what it is."""

    wanted: dict[str, Dependency]
    is_generator: bool
    is_async: bool


def dependencies(function: Callable[..., Any], what: str) -> dict[str, Dependency]:
    """The parameters of a function that are provided. Raises `ConfigurationError` for an annotation that can't be read."""
    found: dict[str, Dependency] = {}
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return found  # written in C
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    for parameter in parameters:
        if isinstance(parameter.default, Dependency):
            found[parameter.name] = parameter.default
            continue
        annotation = parameter.annotation
        if isinstance(annotation, str):
            try:
                annotation = eval(annotation, scope)
            except (
                Exception
            ) as error:  # a name that exists for type checkers only, or in a function; no matter, unless it is ours
                if "Depends" in annotation:
                    raise ConfigurationError(
                        f"{what}: the annotation of {parameter.name} can't be read: {error!r}; what is in it should stand in "
                        f"its module, or write {parameter.name}=Depends(...)"
                    ) from None
                continue
        if typing.get_origin(annotation) is typing.Annotated:
            for extra in typing.get_args(annotation)[1:]:
                if isinstance(extra, Dependency):
                    found[parameter.name] = extra
    for parameter in parameters:
        if parameter.name in found and parameter.kind is parameter.POSITIONAL_ONLY:
            raise ConfigurationError(f"{what}: {parameter.name} is positional only, so it can't be provided")
    return found


def of(task: Task) -> dict[str, Dependency]:
    """The parameters of a task that are provided."""
    return dependencies(task.run, f"task {task.name}")


def visible(task: Task, wanted: Mapping[str, Dependency]) -> inspect.Signature:
    """The parameters of a task that are its callers' to give."""
    signature = inspect.signature(task.run)
    left = [parameter for parameter in signature.parameters.values() if parameter.name not in wanted]
    try:
        return signature.replace(parameters=left)
    except (
        ValueError
    ):  # cannot be: leaving parameters out keeps the order of those that have defaults and those that haven't
        raise ConfigurationError(f"task {task.name}: its parameters can't be told apart") from None


def check_of(task: Task) -> Callable[..., Any] | None:
    """What raises the `TypeError` of a wrong call, None for a task that wants nothing provided."""
    wanted = of(task)
    if not wanted:
        return None
    bind = visible(task, wanted).bind
    return (lambda _, *args, **kwargs: bind(*args, **kwargs)) if task._bound else bind


def injecting(task: Task, call: Callable[..., Any], is_async: bool) -> Callable[..., Any]:
    """`call` with what the task wants; `call` itself if that is nothing. Raises `ConfigurationError` where it can't be."""
    wanted = of(task)
    if not wanted:
        return call
    signature = visible(task, wanted)
    full = inspect.signature(task.run)
    known: dict[Callable[..., Any], Provided] = {}
    what = f"task {task.name}"
    for one in wanted.values():
        _look_into(one.provider, known, (), is_async, what)
    app = task.app

    extra = next((name for name, one in full.parameters.items() if one.kind is one.VAR_KEYWORD), "")

    def given(args: Any, kwargs: Any) -> dict[str, Any]:
        found = signature.bind(*args, **kwargs).arguments
        clash = set(found.get(extra, ())).intersection(wanted)
        if clash:  # where anything is taken by name, too
            raise TypeError(f"{task.name}() is given {', '.join(sorted(clash))} by the worker, not by its caller")
        return found

    def whole(found: dict[str, Any]) -> inspect.BoundArguments:
        ordered = {name: found[name] for name in full.parameters if name in found}
        return inspect.BoundArguments(full, ordered)

    if is_async:

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            found = given(args, kwargs)
            async with _AsyncProviding(app, known, what) as providing:
                for name, one in wanted.items():
                    found[name] = await providing.value(one)
                bound = whole(found)
                result = call(*bound.args, **bound.kwargs)
                return await result if result.__class__ is CoroutineType else result

        return awaited

    def called(*args: Any, **kwargs: Any) -> Any:
        found = given(args, kwargs)
        with _Providing(app, known, what) as providing:
            for name, one in wanted.items():
                found[name] = providing.value(one)
            bound = whole(found)
            return call(*bound.args, **bound.kwargs)

    return called


def _look_into(
    provider: Callable[..., Any],
    known: dict[Callable[..., Any], Provided],
    above: tuple[Callable[..., Any], ...],
    is_async: bool,
    what: str,
) -> Provided:
    name = _shown(provider)
    if provider in above:
        line = " -> ".join(_shown(one) for one in (*above[above.index(provider) :], provider))
        raise ConfigurationError(f"{what}: what it depends on depends on itself: {line}")
    found = known.get(provider)
    if found is not None:
        return found
    wanted = dependencies(provider, f"{what}: {name}")
    try:
        parameters = inspect.signature(provider).parameters.values()
    except (TypeError, ValueError):
        parameters = ()  # type: ignore[assignment]  # written in C
    for one in parameters:
        open_ended = one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        if one.name not in wanted and one.default is one.empty and not open_ended:
            raise ConfigurationError(
                f"{what}: {name} wants {one.name}, which nobody gives: it needs a default, or Depends(...)"
            )
    asynchronous = inspect.isasyncgenfunction(provider) or inspect.iscoroutinefunction(provider)
    if asynchronous and not is_async:
        raise ConfigurationError(
            f"{what}: {name} is async, and the task is a plain function: make the task `async def`, or the provider plain"
        )
    generator = inspect.isgeneratorfunction(provider) or inspect.isasyncgenfunction(provider)
    for below in wanted.values():
        _look_into(below.provider, known, (*above, provider), is_async, what)
    found = known[provider] = Provided(wanted, generator, asynchronous)
    return found


def _shown(provider: Callable[..., Any]) -> str:
    return getattr(provider, "__qualname__", repr(provider))


class _Values:
    """What one run has been given so far."""

    def __init__(self, app: App, known: dict[Callable[..., Any], Provided], what: str) -> None:
        self._known = known
        self._overrides = app.dependency_overrides
        self._cache: dict[Callable[..., Any], Any] = {}
        self._what = what

    def _find(self, one: Dependency, is_async: bool) -> tuple[Callable[..., Any], Provided]:
        provider = self._overrides.get(one.provider, one.provider)
        return provider, self._known.get(provider) or _look_into(provider, self._known, (), is_async, self._what)


class _Providing(_Values):
    """The values of one run of a plain task, and their end."""

    def __enter__(self) -> _Providing:
        self._stack = ExitStack()
        return self

    def value(self, one: Dependency) -> Any:
        provider, about = self._find(one, False)
        if one.use_cache and provider in self._cache:
            return self._cache[provider]
        given = {name: self.value(below) for name, below in about.wanted.items()}
        if about.is_generator:
            found = self._stack.enter_context(contextmanager(provider)(**given))
        else:
            found = provider(**given)
        self._cache[provider] = found
        return found

    def __exit__(self, *raised: Any) -> None:
        # a provider that keeps an exception to itself doesn't make the run a success
        self._stack.__exit__(*raised)


class _AsyncProviding(_Values):
    """The same of an `async def` task."""

    async def __aenter__(self) -> _AsyncProviding:
        self._stack = AsyncExitStack()
        return self

    async def value(self, one: Dependency) -> Any:
        provider, about = self._find(one, True)
        if one.use_cache and provider in self._cache:
            return self._cache[provider]
        given = {name: await self.value(below) for name, below in about.wanted.items()}
        if about.is_generator and about.is_async:
            found = await self._stack.enter_async_context(asynccontextmanager(provider)(**given))
        elif about.is_generator:
            found = self._stack.enter_context(contextmanager(provider)(**given))
        else:
            found = provider(**given)
            if about.is_async:
                found = await found
        self._cache[provider] = found
        return found

    async def __aexit__(self, *raised: Any) -> None:
        await self._stack.__aexit__(*raised)
