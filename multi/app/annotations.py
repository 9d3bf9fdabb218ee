"""The setting `task_annotations`: attributes of tasks, changed from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from multi.errors import ConfigurationError

if TYPE_CHECKING:
    from multi.app.task import Task


#: What decides how a task is made.
_MADE = ("name", "bind", "base", "pydantic", "pydantic_strict", "pydantic_context", "pydantic_dump_kwargs")


def annotate(task: Task, setting: Any) -> None:
    """Change `task` as `setting` says: what is said of its name counts before what is said of all (`"*"`)."""
    from multi.app.making import check_attributes

    kind = type(task)
    for found in _all_of(task, setting):
        for key in _MADE:
            if key in found:
                raise ConfigurationError(
                    f"task_annotations: {key} of {task.name} can't be changed any more: it is made already"
                )
        check_attributes(task.name, {key: value for key, value in found.items() if not key.startswith("@")})
        for key, value in found.items():
            if key.startswith("@"):
                _wrap(kind, task.name, key[1:], value)
            elif key in ("throws", "autoretry_for", "dont_autoretry_for"):
                setattr(kind, key, tuple(value))
            elif callable(value) and not isinstance(value, type) and key in ("run", "__call__"):
                setattr(kind, key, value if task.bind or key == "__call__" else staticmethod(value))
                kind._check = None
            else:
                setattr(kind, key, value)


def _all_of(task: Task, setting: Any) -> list[Mapping[str, Any]]:
    """What applies to `task`, the more particular last."""
    items = setting if isinstance(setting, list | tuple) else [setting]
    general: list[Mapping[str, Any]] = []
    own: list[Mapping[str, Any]] = []
    for item in items:
        if isinstance(item, str):
            item = _instance(item)
        if isinstance(item, Mapping):
            general.append(item.get("*") or {})
            own.append(item.get(task.name) or {})
        elif hasattr(item, "annotate") or hasattr(item, "annotate_any"):
            general.append((item.annotate_any() if hasattr(item, "annotate_any") else None) or {})
            own.append((item.annotate(task) if hasattr(item, "annotate") else None) or {})
        else:
            raise ConfigurationError(
                f"task_annotations is a dictionary by task names, an object with `annotate(task)`, or a list of them, "
                f"not {item!r}"
            )
    for found in (*general, *own):
        if not isinstance(found, Mapping):
            raise ConfigurationError(f"task_annotations: of {task.name} it says {found!r}, which is no dictionary")
    # the first of a list counts most
    return [*reversed(general), *reversed(own)]


def _instance(path: str) -> Any:
    from importlib import import_module

    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        return getattr(import_module(module), name)()
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"task_annotations: {path!r} can't be imported: {error}") from None


def _wrap(kind: type, name: str, attribute: str, around: Any) -> None:
    """Replace a method by what `around` makes of it."""
    original = getattr(kind, attribute, None)
    if not callable(original) or not callable(around):
        raise ConfigurationError(
            f"task_annotations: of {name}, '@{attribute}' needs a method of the task and a function"
        )
    plain = any(isinstance(vars(base).get(attribute), staticmethod) for base in kind.__mro__)
    made = around(original)
    setattr(kind, attribute, staticmethod(made) if plain else made)
