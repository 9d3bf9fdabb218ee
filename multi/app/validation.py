"""Tasks whose arguments are pydantic's models: `@app.task(pydantic=True)`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from multi.errors import MissingExtra

if TYPE_CHECKING:
    from multi.app.app import App


def dump(value: Any, options: Mapping[str, Any] | None) -> Any:
    """A model in a form that travels; everything else as it is."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is None or not isinstance(value, pydantic.BaseModel):
        return value
    return value.model_dump(**{"mode": "json", **(options or {})})


def validated(app: App, function: Callable[..., Any], name: str, options: Mapping[str, Any]) -> Callable[..., Any]:
    """`function`, called with models made of the arguments whose annotation says so, its own model dumped."""
    import inspect

    try:
        import pydantic
    except ImportError:
        raise MissingExtra("pydantic", "pydantic", f"the task {name} (pydantic=True)") from None
    signature = inspect.signature(function)
    context = {**(options.get("pydantic_context") or {}), "celery_app": app, "celery_task_name": name}
    strict = bool(options.get("pydantic_strict"))
    dumping = options.get("pydantic_dump_kwargs")

    @functools.cache
    def models() -> tuple[dict[str, Any], Any]:
        # names in annotations may be defined below the task, so they are looked up at the first call
        hints = _hints(function)
        found = {key: model for key, hint in hints.items() if (model := _model(hint, pydantic.BaseModel))}
        returned = found.pop("return", None)
        return found, returned

    def bind(args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
        bound = signature.bind(*args, **kwargs)
        for key, model in models()[0].items():
            given = bound.arguments.get(key)
            if given is not None and not isinstance(given, model):
                try:
                    bound.arguments[key] = model.model_validate(given, strict=strict, context=context)
                except pydantic.ValidationError as error:
                    # its own kind keeps no text where it is recorded
                    raise ValueError(f"the argument {key!r} of {name} is no {model.__name__}: {error}") from error
        return bound

    def leave(value: Any) -> Any:
        returned = models()[1]
        return dump(value, dumping) if returned is not None and isinstance(value, returned) else value

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            bound = bind(args, kwargs)
            return leave(await function(*bound.args, **bound.kwargs))

        return awaited

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        bound = bind(args, kwargs)
        return leave(function(*bound.args, **bound.kwargs))

    return called


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    import typing

    try:
        return typing.get_type_hints(function)
    except (NameError, AttributeError, TypeError):  # a name that exists for type checkers only
        return dict(getattr(function, "__annotations__", {}))


def _model(hint: Any, base: type) -> type | None:
    """The model that an annotation asks for: `Order`, or `Order | None`."""
    import typing

    if isinstance(hint, type) and issubclass(hint, base):
        return hint
    parts = [part for part in typing.get_args(hint) if part is not type(None)]
    if len(parts) == 1 and type(None) in typing.get_args(hint):
        return _model(parts[0], base)
    return None
