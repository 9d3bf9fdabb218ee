"""The tasks of a project: functions with a task's decorator, functions that are given to it, and classes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import msgspec

from multi.app.migration.classes import Classes, literal
from multi.app.migration.findings import DIFFERS, ERROR, Finding
from multi.app.migration.told import Told
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
    """One task: its function or class, where it is, and the options that are written there."""

    name: str
    line: int
    options: dict[str, Any]
    decorator: str = ""
    """"" for a class, which may have attributes of its own."""
    inherited: dict[str, Any] = {}
    """What its base class says."""
    coroutine: bool = False

    def findings(self, file: str, *, late_told: bool) -> Iterator[Finding]:
        """What is different for it; `late_told` says whether the setting task_acks_late is given."""
        from multi.app.task import Task

        if self.decorator == "periodic_task":
            yield Finding(ERROR, file, self.line, self.name, "Celery has removed @periodic_task: use beat_schedule")
        for option, value in self.options.items():
            if option in _OWN:
                continue
            if self.decorator and not hasattr(Task, option):
                yield Finding(ERROR, file, self.line, self.name, f"tasks have no attribute {option!r} here")
            elif wrong := _wrong(self.name, option, value):
                yield Finding(ERROR, file, self.line, self.name, wrong)
        options = self.inherited | self.options
        if self.coroutine:
            text = "is a coroutine: it is awaited here, while Celery itself would not run it"
            yield Finding(DIFFERS, file, self.line, self.name, text)
        if options.get("acks_late") is None and not late_told:
            yield Finding(
                DIFFERS, file, self.line, self.name, "is acknowledged late here, and begun again if its worker dies"
            )
        if "priority" in options:
            yield Finding(DIFFERS, file, self.line, self.name, PRIORITY)
        if options.get("acks_late") is True and "reject_on_worker_lost" not in options:
            text = "is delivered again when its process is killed (Celery: has failed), up to max_deliveries times"
            yield Finding(DIFFERS, file, self.line, self.name, text)


def _wrong(name: str, option: str, value: Any) -> str:
    """Why an attribute of a task can't be, or can't have that value; "" if it can, or only running the module would tell."""
    from multi.app.making import check_attributes

    # of multi's own, which are told together and by the start
    if option.startswith(("unique_", "concurrency_")):
        return ""
    try:
        check_attributes(name, {option: None if value is ... and option not in ("Strategy", "Request") else value})
    except ConfigurationError as error:
        return str(error).removeprefix(f"task {name}: ")
    return ""


def found(file: str, module: ast.Module, classes: Classes, told: Told) -> Iterator[Found]:
    """All tasks of a file."""
    decorators: set[int] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            decorators.update(id(each) for each in node.decorator_list)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for decorator in node.decorator_list:
            name = _named(decorator.func if isinstance(decorator, ast.Call) else decorator)
            if name in _DECORATORS:
                keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
                yield _made(
                    file, node.name, node.lineno, name, keywords, classes, isinstance(node, ast.AsyncFunctionDef)
                )
                break
    coroutines = {node.name for node in ast.walk(module) if isinstance(node, ast.AsyncFunctionDef)}
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and id(node) not in decorators:
            # app.task(function, ...), or app.task(...)(function)
            maker = node.func if isinstance(node.func, ast.Call) else node
            if _makes(maker.func, told) and len(node.args) == 1 and not (maker is not node and maker.args):
                of = node.args[0]
                name = "<lambda>" if isinstance(of, ast.Lambda) else _named(of)
                if name:
                    way = _named(maker.func)
                    yield _made(file, name, node.lineno, way, maker.keywords, classes, name in coroutines)
    for kind in classes.tasks(file):
        options = classes.options(kind.name, file)
        own = {key: value for key, value in options.items() if key not in ("name", "abstract")}
        yield Found(str(options.get("name") or kind.name), kind.line, own)


def _made(
    file: str, name: str, line: int, decorator: str, keywords: list[ast.keyword], classes: Classes, coroutine: bool
) -> Found:
    options = {each.arg: literal(each.value) for each in keywords if each.arg}
    base = next((_named(each.value) for each in keywords if each.arg == "base"), "")
    named = options.get("name")
    shown = named if isinstance(named, str) and named else name
    return Found(shown, line, options, decorator, classes.options(base, file), coroutine)


def _makes(node: ast.expr, told: Told) -> bool:
    """Whether it is `app.task`, or shared_task."""
    if isinstance(node, ast.Attribute) and node.attr == "task":
        return told.is_app(node.value)
    return _named(node) == "shared_task"


def _named(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def priorities(file: str, module: ast.Module) -> Iterator[Finding]:
    """The calls that say a priority."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CALLS:
            if any(each.arg == "priority" for each in node.keywords):
                yield Finding(DIFFERS, file, node.lineno, f"{node.func.attr}(priority=…)", PRIORITY)
