"""Tasks made of functions, and their attributes checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from multi.app import limits, rates, unique
from multi.app.options import OPTIONS, check_values
from multi.app.task import Task
from multi.errors import ConfigurationError, UnknownSetting, UnsupportedOption

if TYPE_CHECKING:
    from multi.app.app import App

#: What is a class of Celery's worker by its place there; ours is built in another way.
_CELERYS = {
    "Strategy": ("celery.worker.strategy:default", "a task's own `__call__`, before_start and the signals"),
    "Request": ("celery.worker.request:Request", "on_failure, on_success and on_retry of the task, and the signals"),
}

_ATTRIBUTES = frozenset(name for name in vars(Task) if not name.startswith("_"))

_KINDS: dict[str, tuple[type, ...]] = {
    "max_retries": (int,),
    "max_deliveries": (int,),
    "default_retry_delay": (int, float),
    "time_limit": (int, float),
    "soft_time_limit": (int, float),
    "priority": (int,),
    "queue": (str,),
    "serializer": (str,),
    "compression": (str,),
    "throws": (tuple, list),
    "rate_limit_scope": (str,),
    "pydantic_context": (Mapping,),
    "pydantic_dump_kwargs": (Mapping,),
}


def check_attributes(name: str, attributes: Mapping[str, Any]) -> None:
    """Refuse task attributes that are near misses, can't be what they are given, or are of Celery's worker only."""
    for attribute, value in attributes.items():
        if attribute in _CELERYS:
            usual, instead = _CELERYS[attribute]
            if value is not None and value != usual:
                raise UnsupportedOption(
                    f"task {name}: {attribute} replaces a part of Celery's worker, which is not here; use {instead}"
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
        unique.check(name, attributes)
        limits.check(name, attributes)
        rates.check(attributes.get("rate_limit"), attributes.get("rate_limit_scope"))
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"task {name}: {error}") from None


def check_class(app: App, task: Task) -> None:
    """The same for a class of the project's own, whose `run` is wrapped where it takes models."""
    attributes = {
        name: value
        for base in reversed(type(task).__mro__)
        if base.__module__ != Task.__module__ and base is not object
        for name, value in vars(base).items()
    }
    check_attributes(task.name, {key: value for key, value in attributes.items() if not callable(value)})
    kind = type(task)
    if task.pydantic and not hasattr(kind.run, "__wrapped__"):
        from multi.app.validation import validated

        kind.run = validated(app, kind.run, task.name, _defaults(kind))  # type: ignore[method-assign]  # of the project's


def make(
    app: App, function: Callable[..., Any], name: str, base: type[Task], bind: bool, options: dict[str, Any]
) -> Task:
    """A task around `function`: an instance of a class of its own, as in Celery."""
    check_attributes(name, options)
    body = function
    if options.get("pydantic", base.pydantic):
        from multi.app.validation import validated

        body = validated(app, function, name, {**_defaults(base), **options})
    attributes = {
        **options,
        "name": name,
        "abstract": False,
        "bind": bind,
        "run": body if bind else staticmethod(body),
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
    for field in ("unique_key", "concurrency_key"):
        if callable(attributes.get(field)):
            attributes[field] = staticmethod(attributes[field])
    task: Task = type(getattr(function, "__name__", "task"), (base,), attributes)()
    task.__dict__["__name__"] = getattr(function, "__name__", name)
    task.__dict__["__qualname__"] = getattr(function, "__qualname__", name)
    return task


def _defaults(base: type[Task]) -> dict[str, Any]:
    return {key: getattr(base, key) for key in ("pydantic_strict", "pydantic_context", "pydantic_dump_kwargs")}
