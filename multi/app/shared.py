"""Tasks that belong to every app, and stand-ins for the app and the task of the moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, overload

from multi.app import current, request

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from multi.app.app import App
    from multi.app.task import CoroutineTask, Task
    from multi.app.typed import BoundDecorator, Decorator, P, R


class Proxy:
    """Stands for what `find` gives at the moment of use."""

    __slots__ = ("__dict__", "__weakref__", "_find")

    def __init__(self, find: Callable[[], Any]) -> None:
        object.__setattr__(self, "_find", find)

    def _get_current_object(self) -> Any:
        return object.__getattribute__(self, "_find")()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get_current_object(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._get_current_object(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._get_current_object(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._get_current_object()(*args, **kwargs)

    @property  # type: ignore[misc]  # read-only, so that isinstance() sees what it stands for
    def __class__(self) -> Any:
        return type(self._get_current_object())

    def __repr__(self) -> str:
        return repr(self._get_current_object())

    def __bool__(self) -> bool:
        return bool(self._get_current_object())

    def __eq__(self, other: object) -> bool:
        return bool(self._get_current_object() == other)

    def __hash__(self) -> int:
        return hash(self._get_current_object())

    def __reduce__(self) -> Any:
        return self._get_current_object().__reduce__()


@overload
def shared_task(function: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...
@overload
def shared_task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def shared_task(function: None = None, /, *, bind: Literal[True], **options: Any) -> BoundDecorator: ...
@overload
def shared_task(function: None = None, /, *, bind: Literal[False] = False, **options: Any) -> Decorator: ...
def shared_task(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """A task of every app there is and will be: for modules that don't know their app."""

    def decorate(body: Callable[..., Any]) -> Any:
        def register(app: App) -> Any:
            return app._task_from(body, dict(options))

        current.share(register)
        name = options.get("name")

        def find() -> Any:
            app = current.get()
            return app.tasks[name or app.gen_task_name(body.__name__, body.__module__)]

        return Proxy(find)

    return decorate if function is None else decorate(function)


current_app: Any = Proxy(current.get)
current_task: Any = Proxy(request.current_task)
