"""The tasks of one app, by name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from multi.errors import AlreadyRegistered, NotRegistered

if TYPE_CHECKING:
    from multi.app.task import Task


class Registry(dict[str, "Task"]):
    """Name -> task; asking for a name that is not there raises `NotRegistered`."""

    def __missing__(self, name: str) -> Task:
        raise NotRegistered(name)

    def register(self, task: Task) -> Task:
        """Add `task`; the one that is there already stays, if it is made of the same function."""
        known = self.get(task.name)
        if known is None:
            self[task.name] = task
            return task
        if _source(known) != _source(task):
            raise AlreadyRegistered(
                f"two tasks are called {task.name!r}: {'.'.join(_source(known))} and {'.'.join(_source(task))}; "
                "give one of them another name, as in @app.task(name='...')"
            )
        return known

    def regular(self) -> dict[str, Task]:
        """Those of the project: all but the built-in `celery.…` ones."""
        return {name: task for name, task in self.items() if not name.startswith("celery.")}


def _source(task: Task) -> tuple[str, str]:
    kind = type(task)
    return kind.__module__, str(getattr(task, "__qualname__", kind.__qualname__))


def task_name(main: str | None, function: str, module: str | None) -> str:
    """The automatic name: module and function; the app's main name stands for `__main__`."""
    module = module or "__main__"
    loaded = sys.modules.get(module)
    if loaded is not None:
        module = loaded.__name__
    if module == "__main__" and main:
        module = main
    return f"{module}.{function}"
