"""Exceptions as they stand in results: `{"exc_type", "exc_message", "exc_module"}`, and back."""

from __future__ import annotations

import sys
from typing import Any

from multi import errors
from multi.app.saferepr import saferepr
from multi.codecs import Codec


def to_wire(error: BaseException, encoder: Codec) -> Any:
    """What is stored for `error`: itself where the serializer keeps objects, else its class and arguments."""
    if encoder.name in ("pickle", "yaml"):
        if encoder.name == "pickle" and _survives(error, encoder):
            return error
    module, name = errors.wire_name(type(error))
    if isinstance(error, BaseExceptionGroup):
        # a repr of its members couldn't be made a group again
        members = [to_wire(member, encoder) for member in error.exceptions]
        return {"exc_type": name, "exc_message": [error.message, members], "exc_module": module}
    return {"exc_type": name, "exc_message": _arguments(error.args, encoder), "exc_module": module}


def _survives(error: BaseException, encoder: Codec) -> bool:
    try:
        return isinstance(encoder.loads(encoder.dumps(error)), BaseException)
    except errors.SerializationError:
        return False


def _arguments(arguments: Any, encoder: Codec) -> list[Any]:
    """The arguments, each by its repr where the serializer can't express it."""
    kept = []
    for argument in arguments:
        try:
            encoder.dumps(argument)
        except errors.EncodeError:
            kept.append(saferepr(argument))
        else:
            kept.append(argument)
    return kept


def from_wire(found: Any) -> BaseException | None:
    """The exception that a result holds: of its own class if that is loaded here, else of one made up by its name."""
    if found is None or isinstance(found, BaseException):
        return found
    if not isinstance(found, dict):
        return errors.RemoteError(found)
    name = found.get("exc_type")
    if not isinstance(name, str) or not name:
        return errors.RemoteError(found)
    module = found.get("exc_module")
    module = module if isinstance(module, str) else "multi.remote"
    message = found.get("exc_message")
    arguments = tuple(message) if isinstance(message, list | tuple) else (message,)
    cls = errors.from_wire(module, name) or _loaded(module, name)
    if cls is None:
        cls = type(name.rpartition(".")[2], (errors.RemoteError,), {"__module__": module})
    if issubclass(cls, BaseExceptionGroup) and len(arguments) == 2 and isinstance(arguments[1], list | tuple):
        arguments = (arguments[0], [from_wire(member) for member in arguments[1]])
    try:
        return cls(*arguments)
    except Exception:  # a constructor of anybody's, which may ask for other arguments than it keeps
        return _rebuilt(cls, arguments)


def _rebuilt(cls: type[BaseException], arguments: tuple[Any, ...]) -> BaseException:
    """An exception without the help of its constructor: of its class if that can be, else of one made up by its name."""
    try:
        rebuilt = cls.__new__(cls)
    except Exception:  # an exception group is made with its members, or not at all
        rebuilt = type(cls.__name__, (errors.RemoteError,), {"__module__": cls.__module__})()
    rebuilt.args = arguments
    return rebuilt


def _loaded(module: str, name: str) -> type[BaseException] | None:
    """A class from a module that is loaded already: a result must not be able to import anything."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None
