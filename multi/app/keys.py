"""What calls of a task have in common: the key that is made of their arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from multi.codecs import JSON
from multi.errors import ConfigurationError, EncodeError

if TYPE_CHECKING:
    from multi.app.task import Task

#: Makes the key of one call.
Key = Callable[[Sequence[Any], Mapping[str, Any]], str]


def key(task: Task, wanted: Any, option: str) -> Key:
    """The keys that an option of a task asks for: a function of the arguments, names of them, or None for all.

    Raises `ConfigurationError`.
    """
    import inspect

    if callable(wanted):
        return lambda args, kwargs: _digest(task.name, [str(wanted(*args, **kwargs))])
    signature = inspect.signature(task.run)
    names = (wanted,) if isinstance(wanted, str) else wanted
    if names is not None:
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise ConfigurationError(
                f"task {task.name}: {option} is a function of the arguments, or names of them, not {wanted!r}"
            )
        for name in names:
            if name not in signature.parameters:
                raise ConfigurationError(f"task {task.name}: {option} names {name!r}, which is no argument of it")
    return partial(_bound, task.name, option, signature, names)


def _bound(
    task: str, option: str, signature: Any, names: Sequence[str] | None, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> str:
    found = signature.bind(*args, **kwargs)
    found.apply_defaults()
    chosen = [[name, found.arguments[name]] for name in (found.arguments if names is None else names)]
    try:
        return _digest(task, chosen)
    except EncodeError as error:
        raise EncodeError(
            f"the {option} of {task} can't be made of these arguments ({error}); give a function that makes it"
        ) from None


def _digest(task: str, value: Any) -> str:
    return f"{task}:{blake2b(JSON.dumps(value), digest_size=16).hexdigest()}"
