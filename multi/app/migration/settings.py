"""The settings of a project, wherever it gives them: modules, app.conf, arguments of Celery(...)."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from multi.app.migration.findings import DIFFERS, ERROR, NOTE, OLD, Finding
from multi.app.migration.tasks import PRIORITY
from multi.config.removed import why
from multi.config.setting import NOTED
from multi.config.settings import resolve
from multi.config.table import TABLE, upper_names
from multi.errors import ConfigurationError

_PREFIXES = ("CELERY", "BROKER_")
#: Arguments of Celery(...) that are no settings.
_ARGUMENTS = {"broker": "broker_url", "backend": "result_backend", "include": "include"}
_CONSTRUCTOR = frozenset(
    {
        *("main", "loader", "amqp", "events", "log", "control", "set_as_current", "tasks", "changes", "config_source"),
        *("fixups", "task_cls", "autofinalize", "namespace", "strict_typing", "preload"),
    }
)


class Told(msgspec.Struct):
    """What the project's files say together: whether they use Celery, which modules hold settings, under which prefix."""

    celery: bool = False
    modules: set[str] = set()
    namespace: str = ""

    @classmethod
    def of(cls, modules: Iterable[ast.Module]) -> Told:
        found = cls(modules={"celeryconfig"})
        for node in (node for module in modules for node in ast.walk(module)):
            if isinstance(node, ast.Import):
                found.celery |= any(alias.name.partition(".")[0] == "celery" for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.celery |= node.module.partition(".")[0] == "celery"
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr == "config_from_object":
                    found._config(node)
        return found

    def _config(self, call: ast.Call) -> None:
        for value in (*call.args[:1], *(each.value for each in call.keywords if each.arg == "obj")):
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                self.modules.add(value.value.replace("django.conf:settings", "settings").partition(":")[0])
            elif isinstance(value, ast.Name):
                self.modules.add(value.id)
        for each in call.keywords:
            if each.arg == "namespace" and isinstance(each.value, ast.Constant) and each.value.value:
                self.namespace = str(each.value.value).upper().rstrip("_") + "_"

    def holds(self, file: str) -> bool:
        """Whether a file is one of the modules that hold settings."""
        dotted = file.removesuffix(".py").replace(os.sep, ".").removesuffix(".__init__")
        return any(
            dotted == each or dotted.endswith(f".{each}") or each.endswith(f".{dotted}") for each in self.modules
        )


class Given(msgspec.Struct):
    """One setting, as it is written: `value` is ... where only running the program would tell."""

    file: str
    line: int
    key: str
    setting: str | None
    value: Any
    trouble: str = ""

    def findings(self) -> Iterator[Finding]:
        """What there is to say of it."""
        if self.trouble or self.setting is None:
            yield self._finding(ERROR, self.trouble)
            return
        setting = TABLE[self.setting]
        wrong = _wrong(self.setting, self.value)
        if wrong:
            yield self._finding(ERROR, wrong)
        elif setting.standing == NOTED:
            if self.value is ... or self.value not in setting.usual:
                yield self._finding(NOTE, setting.note)
        else:
            different = _different(self.setting, self.value)
            if different:
                yield self._finding(DIFFERS, different)
        if self.key.isupper() and not self.key.endswith(self.setting.upper()):
            yield self._finding(OLD, f"now {self.setting}; `multi upgrade settings {self.file}` rewrites it")

    def _finding(self, level: str, text: str) -> Finding:
        return Finding(level, self.file, self.line, self.key, text)


def given(file: str, module: ast.Module, told: Told) -> Iterator[Given]:
    """Every setting that this file gives."""
    holds = told.holds(file)
    bodies: list[ast.Module | ast.ClassDef] = [
        module,
        *(node for node in ast.walk(module) if isinstance(node, ast.ClassDef)),
    ]
    known = upper_names()
    for body in bodies:
        for statement in body.body:
            for name, value in _assigned(statement):
                lower = body is module and name in TABLE
                meant = lower or name.startswith(told.namespace or _PREFIXES) or (why(name) and not told.namespace)
                if name in known or (holds and meant):
                    yield _given(file, statement.lineno, name, value, told)
    for node in ast.walk(module):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if (key := _of_conf(target)) is not None:
                    yield _given(file, node.lineno, key, node.value, told)
        elif isinstance(node, ast.Call):
            for key, value in _in_call(node):
                yield _given(file, node.lineno, key, value, told)


def _assigned(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        yield node.target.id, node.value


def _of_conf(target: ast.expr) -> str | None:
    """The setting of `app.conf.name` or `app.conf["name"]`."""
    if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Attribute) and target.value.attr == "conf":
        return target.attr
    if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Attribute) and target.value.attr == "conf":
        if isinstance(target.slice, ast.Constant) and isinstance(target.slice.value, str):
            return target.slice.value
    return None


def _in_call(call: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """The settings of `app.conf.update(...)` and of `Celery(...)`."""
    function = call.func
    if isinstance(function, ast.Attribute) and function.attr == "update":
        if not isinstance(function.value, ast.Attribute) or function.value.attr != "conf":
            return
        for argument in (*call.args, *(each.value for each in call.keywords if each.arg is None)):
            if isinstance(argument, ast.Dict):
                for key, value in zip(argument.keys, argument.values, strict=True):
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        yield key.value, value
        yield from ((each.arg, each.value) for each in call.keywords if each.arg)
    elif (isinstance(function, ast.Name) and function.id == "Celery") or (
        isinstance(function, ast.Attribute) and function.attr == "Celery"
    ):
        for each in call.keywords:
            if each.arg and each.arg not in _CONSTRUCTOR:
                yield _ARGUMENTS.get(each.arg, each.arg), each.value


def _given(file: str, line: int, key: str, node: ast.expr, told: Told) -> Given:
    try:
        value: Any = ast.literal_eval(node)
    except (ValueError, TypeError):
        value = ...
    gone = why(key)
    if gone:
        return Given(file, line, key, None, value, gone)
    rest = key.removeprefix(told.namespace).lower() if told.namespace and key.isupper() else key
    try:
        name = rest if rest in TABLE else resolve(key)
    except ConfigurationError as error:
        return Given(file, line, key, None, value, str(error))
    return Given(file, line, key, name, value, "" if name else f"no setting is called {key!r}")


def _wrong(name: str, value: Any) -> str:
    """Why a value can't be here; "" if it can, or isn't known before the program runs."""
    from multi import plugins, urls

    if (
        name in ("broker_url", "broker_read_url", "broker_write_url", "result_backend")
        and isinstance(value, str)
        and value
    ):
        group = "multi.backends" if name == "result_backend" else "multi.brokers"
        bare = value in ("rpc", "redis", "memory", "disabled") or value.startswith("disabled:")
        if name == "result_backend" and (value == "amqp" or value.startswith("amqp:")):
            return "Celery has removed the backend 'amqp': use rpc://, or redis:// where results are to be kept"
        try:
            if not bare:
                plugins.find(group, urls.scheme(value.partition(";")[0]))
        except ConfigurationError as error:
            return str(error)
    if name == "worker_pool" and isinstance(value, str):
        try:
            plugins.find("multi.pools", value)
        except ConfigurationError as error:
            return str(error)
    if name == "task_protocol" and value == 1:
        return "protocol 1 is understood, but no longer sent: use 2"
    return ""


def _different(name: str, value: Any) -> str:
    """What a setting does otherwise than with Celery; "" if nothing."""
    if name == "broker_transport_options" and isinstance(value, dict) and "visibility_timeout" in value:
        return (
            "visibility_timeout has no meaning here: a claim is a lease that the worker renews (worker_lease, 30 s), so a long "
            "task isn't delivered twice, and a dead worker's tasks return after that time"
        )
    if name == "task_default_priority" and value is not None:
        return PRIORITY
    if name == "task_acks_late" and value is False:
        return "False means before the run, as with Celery; unset would mean late here"
    if name == "task_reject_on_worker_lost" and value is True:
        return "a message whose worker dies returns here in any case, and is set aside after max_deliveries (3)"
    return ""
