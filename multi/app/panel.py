"""The commands that workers answer to: multi's own, and those that a project adds with a decorator.

    from multi import control_command, inspect_command

    @inspect_command()
    def versions(state):
        return {"app": state.app.main}

    @control_command(args=[("level", str)], signature="<LEVEL>")
    def log_level(state, level):
        logging.getLogger("proj").setLevel(level)
        return {"ok": f"the level is {level} now"}

A command runs in the worker's own process, on its loop, and should be done within some milliseconds. What it returns is the
reply, and what it raises is told as `{"error": …}`. Modules of the project register their commands when they are imported.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, overload

Kind = Literal["control", "inspect"]
Command = Callable[..., Any]
_F = TypeVar("_F", bound=Command)


class Described(NamedTuple):
    """What is known of a command, beside the function: as `Panel.meta` has it."""

    alias: str | None
    type: Kind
    visible: bool
    default_timeout: float
    help: str
    signature: str | None
    args: Sequence[tuple[str, Callable[[str], Any]]] | None
    variadic: str | None


class Panel:
    """All commands, by name; `data` holds the functions, `meta` what is told of them."""

    data: ClassVar[dict[str, Command]] = {}
    meta: ClassVar[dict[str, Described]] = {}
    #: those that multi brings itself: what a project registers by one of these names takes its place
    own: ClassVar[set[str]] = set()

    @overload
    @classmethod
    def register(cls, function: _F, /, **options: Any) -> _F: ...
    @overload
    @classmethod
    def register(cls, function: None = None, /, **options: Any) -> Callable[[_F], _F]: ...
    @classmethod
    def register(cls, function: Any = None, /, **options: Any) -> Any:
        """Register a command: `name` (that of the function), `alias`, `type` ("control" or "inspect"), `visible` (whether
        help lists it), `default_timeout` (s, how long a client waits), `help` (the first line of its docstring), `signature`,
        `args` (pairs of a name and what converts a word of the command line), and `variadic` (the argument that takes all
        further words)."""
        if function is not None:
            cls._add(function, **options)
            return function

        def add(function: _F) -> _F:
            cls._add(function, **options)
            return function

        return add

    @classmethod
    def _add(
        cls,
        function: Command,
        *,
        name: str | None = None,
        alias: str | None = None,
        type: Kind = "control",
        visible: bool = True,
        default_timeout: float = 1.0,
        help: str | None = None,
        signature: str | None = None,
        args: Sequence[tuple[str, Callable[[str], Any]]] | None = None,
        variadic: str | None = None,
        own: bool = False,
    ) -> None:
        if not callable(function):
            raise TypeError(f"a command is a function that takes the worker's state, not {function!r}")
        name = name or getattr(function, "__name__", "")
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            raise TypeError(f"the command {name!r} should be an ordinary function: it runs on the worker's own loop")
        if type not in ("control", "inspect"):
            raise ValueError(f"the command {name!r}: type should be 'control' or 'inspect', not {type!r}")
        if not name or not name.isidentifier():
            raise ValueError(f"a command needs a name like that of a function, not {name!r}: say name='...'")
        if own and name in cls.data and name not in cls.own:
            return  # the project has one of its own
        first = (help or inspect.getdoc(function) or "").strip().split("\n")[0]
        for each in (name, alias):
            if each:
                cls.data[each] = function
                (cls.own.add if own else cls.own.discard)(each)
        cls.meta[name] = Described(alias, type, visible, default_timeout, first, signature, args, variadic)


@overload
def control_command(function: _F, /, **options: Any) -> _F: ...
@overload
def control_command(function: None = None, /, **options: Any) -> Callable[[_F], _F]: ...
def control_command(function: Any = None, /, **options: Any) -> Any:
    """A command that changes something; see `Panel.register`."""
    return _decorated("control", function, options)


@overload
def inspect_command(function: _F, /, **options: Any) -> _F: ...
@overload
def inspect_command(function: None = None, /, **options: Any) -> Callable[[_F], _F]: ...
def inspect_command(function: Any = None, /, **options: Any) -> Any:
    """A command that only tells something; see `Panel.register`."""
    return _decorated("inspect", function, options)


def _decorated(kind: Kind, function: Any, options: Mapping[str, Any]) -> Any:
    register: Callable[[Any], Any] = Panel.register(**{**options, "type": kind})
    return register if function is None else register(function)


class Later:
    """A reply that a command gives later: it returns one of these, and calls `answer` once."""

    __slots__ = ("_answered", "_then", "_value")

    def __init__(self) -> None:
        self._answered = False
        self._value: Any = None
        self._then: Callable[[Any], None] | None = None

    def answer(self, value: Any) -> None:
        """Give the reply; a second one is dropped."""
        if self._answered:
            return
        self._answered, self._value = True, value
        if self._then is not None:
            self._then(value)

    def then(self, take: Callable[[Any], None]) -> None:
        """Call `take` with the reply, at once if it is there."""
        if self._answered:
            take(self._value)
        else:
            self._then = take
