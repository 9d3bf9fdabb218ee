"""What a project asks of apps, tasks and calls that isn't here."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from multi.app.lacking import APP, CONTROL, TASK
from multi.app.migration.findings import ERROR, Finding
from multi.app.migration.told import Told, attributes, constructs
from multi.app.options import OPTIONS, REFUSED

#: Calls that send, and take a call's options by name.
_SENDING = ("apply_async", "send_task", "retry")
#: Names that a task's run has for the task.
_TASKS = ("self", "task", "current_task")


def findings(file: str, module: ast.Module, told: Told) -> Iterator[Finding]:
    """Each of them, with what to use instead."""
    yield from _asked(file, module, told)
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            yield from _options(file, node)
            if constructs(node):
                yield from _parts(file, node)


def _asked(file: str, module: ast.Module, told: Told) -> Iterator[Finding]:
    from multi.app.app import App
    from multi.app.control import Control
    from multi.app.task import Task

    for node in attributes(module):
        name, owner = node.attr, node.value
        if name in APP and not hasattr(App, name) and (told.is_app(owner) or name == "add_periodic_task"):
            yield Finding(ERROR, file, node.lineno, f"app.{name}", APP[name])
        elif name in CONTROL and not hasattr(Control, name):
            if isinstance(owner, ast.Attribute) and owner.attr == "control" and told.is_app(owner.value):
                yield Finding(ERROR, file, node.lineno, f"app.control.{name}", CONTROL[name])
        elif name in TASK and not hasattr(Task, name) and isinstance(owner, ast.Name) and owner.id in _TASKS:
            yield Finding(ERROR, file, node.lineno, f"{owner.id}.{name}", TASK[name])


def _options(file: str, call: ast.Call) -> Iterator[Finding]:
    """Options of a call that are refused, or that nobody knows."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in _SENDING:
        return
    sending = call.func.attr
    stamped = any(each.arg == "stamped_headers" for each in call.keywords)
    for each in call.keywords:
        if each.arg in REFUSED and not (isinstance(each.value, ast.Constant) and each.value.value is None):
            yield Finding(ERROR, file, call.lineno, f"{sending}({each.arg}=…)", REFUSED[each.arg])
        elif sending == "apply_async" and each.arg and each.arg not in OPTIONS and not stamped:
            if each.arg not in ("args", "kwargs", *REFUSED):
                text = "no option of a call is called so; with Celery it becomes a property of the message, here it is an error"
                yield Finding(ERROR, file, call.lineno, f"{sending}({each.arg}=…)", text)


def _parts(file: str, call: ast.Call) -> Iterator[Finding]:
    from multi.app.app import CONSTRUCTOR_REFUSED

    for each in call.keywords:
        if each.arg in CONSTRUCTOR_REFUSED and not (isinstance(each.value, ast.Constant) and each.value.value is None):
            text = "parts of the app can't be replaced by classes of your own yet"
            yield Finding(ERROR, file, call.lineno, f"Celery({each.arg}=…)", text)
