"""The tasks of a project, by their decorators."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import msgspec

from multi.app.migration.findings import DIFFERS, ERROR, Finding
from multi.errors import ConfigurationError

_DECORATORS = ("task", "shared_task", "periodic_task")
#: Options of the decorator that are no attributes of tasks.
_OWN = frozenset({"name", "base", "bind", "lazy", "shared", "filter", "run_every"})


#: Ways to call a task, or to prepare a call, that take a priority.
_CALLS = frozenset({"apply_async", "send_task", "signature", "subtask", "set", "retry"})
PRIORITY = (
    "a higher priority is served first here on every broker; with Celery on Redis it is the other way round, 0 first"
)


class Found(msgspec.Struct):
    """One task: its function, where it is, and the options that are written there."""

    name: str
    line: int
    options: dict[str, Any]
    decorator: str

    def findings(self, file: str, *, late_told: bool) -> Iterator[Finding]:
        """What is different for it; `late_told` says whether the setting task_acks_late is given."""
        from multi.app.making import check_attributes
        from multi.app.task import Task

        if self.decorator == "periodic_task":
            yield Finding(ERROR, file, self.line, self.name, "Celery has removed @periodic_task: use beat_schedule")
        for option in self.options:
            try:
                check_attributes(self.name, {option: self.options[option]} if option in ("Strategy", "Request") else {})
            except ConfigurationError as error:
                yield Finding(ERROR, file, self.line, self.name, str(error).partition(": ")[2])
            if option not in _OWN and not hasattr(Task, option):
                yield Finding(ERROR, file, self.line, self.name, f"tasks have no attribute {option!r} here")
        if "acks_late" not in self.options and not late_told:
            yield Finding(
                DIFFERS, file, self.line, self.name, "is acknowledged late here, and begun again if its worker dies"
            )
        if "priority" in self.options:
            yield Finding(DIFFERS, file, self.line, self.name, PRIORITY)
        if self.options.get("acks_late") is True and "reject_on_worker_lost" not in self.options:
            text = "is delivered again when its process is killed (Celery: has failed), up to max_deliveries times"
            yield Finding(DIFFERS, file, self.line, self.name, text)


def found(module: ast.Module) -> Iterator[Found]:
    """All functions with a task's decorator."""
    for node in ast.walk(module):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for decorator in node.decorator_list:
            call = decorator.func if isinstance(decorator, ast.Call) else decorator
            name = call.attr if isinstance(call, ast.Attribute) else call.id if isinstance(call, ast.Name) else ""
            if name in _DECORATORS:
                keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
                options = {each.arg: _value(each.value) for each in keywords if each.arg}
                yield Found(str(options.get("name") or node.name), node.lineno, options, name)
                break


def priorities(file: str, module: ast.Module) -> Iterator[Finding]:
    """The calls that say a priority."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CALLS:
            if any(each.arg == "priority" for each in node.keywords):
                yield Finding(DIFFERS, file, node.lineno, f"{node.func.attr}(priority=…)", PRIORITY)


def _value(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return ...  # worked out when the module runs
