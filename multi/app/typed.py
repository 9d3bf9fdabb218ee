"""What type checkers see of tasks: their parameters, and what they return.

At runtime nothing of it is needed: the stand-ins cost no import of `typing`'s machinery and no metaclass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Concatenate as Concatenate
    from typing import Generic as Generic
    from typing import Protocol, overload

    from typing_extensions import ParamSpec, TypeVar  # every type checker brings it along

    from multi.app.task import CoroutineTask, Task

    #: The parameters of a task, and what it returns; a plain `Task` or `AsyncResult` stands for any.
    P = ParamSpec("P", default=...)
    R = TypeVar("R", default=Any)

    class Decorator(Protocol):
        """What `@app.task(...)` is."""

        @overload
        def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...
        @overload
        def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...

    class BoundDecorator(Protocol):
        """What `@app.task(bind=True)` is: callers don't give the first argument.

        Of a function with `**kwargs` mypy wants to hear that `self` can't be one of them: `def f(self, /, **kwargs)`.
        """

        @overload
        def __call__(
            self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
        ) -> CoroutineTask[P, R]: ...
        @overload
        def __call__(self, function: Callable[Concatenate[Any, P], R], /) -> Task[P, R]: ...

else:
    P = R = None

    class Generic:
        """Stands for `typing.Generic`: `Task[P, R]` is `Task`."""

        __slots__ = ()

        def __class_getitem__(cls, item: Any) -> type:
            return cls
