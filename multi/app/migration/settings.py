"""The settings of a project, wherever it gives them: modules, app.conf, arguments of Celery(...)."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from multi.app.migration.findings import DIFFERS, ERROR, NOTE, OLD, Finding
from multi.app.migration.tasks import PRIORITY
from multi.app.migration.told import Told, constructs
from multi.config.removed import why
from multi.config.setting import NOTED
from multi.config.settings import resolve
from multi.config.sources import NEIGHBOURS
from multi.config.table import TABLE, upper_names
from multi.config.values import convert
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


class Given(msgspec.Struct):
    """One setting, as it is written: `value` is ... where only running the program would tell."""

    file: str
    line: int
    key: str
    setting: str | None
    value: Any
    trouble: str = ""
    namespace: str = ""
    """What stands before the names of settings where this one is."""
    node: ast.expr | None = None
    place: ast.AST | None = None
    """The body, call or dictionary whose settings are all taken at one time; None where each is by itself."""
    beside: str = ""
    """Another name of the same setting, in the same place."""

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
        new = self.setting if not self.namespace else self.namespace + self.setting.upper()
        if self.key.isupper() and self.key != new:
            django = " --django" if self.namespace else ""
            way = f"`multi upgrade settings{django} {self.file}` rewrites it"
            yield self._finding(OLD, f"now {new}; " + (f"{self.beside} is here too: keep one" if self.beside else way))

    def _finding(self, level: str, text: str) -> Finding:
        return Finding(level, self.file, self.line, self.key, text)


def clashes(settings: Iterable[Given]) -> Iterator[Finding]:
    """Settings that have two names in one place, with values that differ, or may: that ends the start."""
    last: dict[tuple[int, str], dict[str, Given]] = {}
    for each in settings:
        # without the prefix it gives way to the one that has it
        if each.setting is not None and each.place is not None and each.key.startswith(each.namespace):
            last.setdefault((id(each.place), each.setting), {})[each.key] = each
    for (_, setting), named in last.items():
        first, *others = named.values()
        for other in others:
            first.beside, other.beside = other.key, first.key
            if ... in (first.value, other.value):
                if first.node and other.node and ast.dump(first.node) != ast.dump(other.node):
                    text = f"is another name of {first.key} (line {first.line}); the start ends if their values differ: keep one"
                    yield Finding(DIFFERS, other.file, other.line, other.key, text)
            elif _converted(setting, first.value) != _converted(setting, other.value):
                text = (
                    f"and {first.key} (line {first.line}) are two names of one setting, with different values; keep one"
                )
                yield Finding(ERROR, other.file, other.line, other.key, text)


def _converted(setting: str, value: Any) -> Any:
    try:
        return convert(TABLE[setting], value, setting)
    except ConfigurationError:  # told by itself
        return value


def given(file: str, module: ast.Module, told: Told) -> Iterator[Given]:
    """Every setting that this file gives."""
    bodies: list[tuple[ast.Module | ast.ClassDef, bool]] = [(module, told.holds(file))]
    bodies += [(node, node.name in told.classes) for node in ast.walk(module) if isinstance(node, ast.ClassDef)]
    known = upper_names()
    for body, holds in bodies:
        for statement in body.body:
            for name, value in _assigned(statement):
                if name in known or (holds and _meant(name, told)):
                    yield _given(file, statement.lineno, name, value, told.namespace, place=body)
    for node in ast.walk(module):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if (key := _of_conf(target)) is not None:
                    yield _given(file, node.lineno, key, node.value)
                elif isinstance(target, ast.Name) and target.id in told.mappings:
                    for key, value in _pairs(node.value):
                        if key in known or _meant(key, told):
                            yield _given(file, value.lineno, key, value, told.namespace, place=node)
        elif isinstance(node, ast.Call):
            for key, value in _in_call(node):
                yield _given(file, node.lineno, key, value, place=node)


def _meant(name: str, told: Told) -> bool:
    """Whether a name in a place of settings is one, or is meant to be one."""
    if told.namespace:
        return name.startswith(told.namespace) and not name.removeprefix(told.namespace).startswith(NEIGHBOURS)
    if name.startswith("_"):
        return False
    try:
        return name.startswith(_PREFIXES) or bool(why(name)) or resolve(name) is not None
    except ConfigurationError:
        return True


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
    """The settings of `app.conf.update(...)`, `app.config_from_object({...})` and of `Celery(...)`."""
    function = call.func
    if isinstance(function, ast.Attribute) and function.attr in ("config_from_object", "add_defaults"):
        yield from _pairs(call.args[0]) if call.args else ()
    elif isinstance(function, ast.Attribute) and function.attr == "update":
        if isinstance(function.value, ast.Attribute) and function.value.attr == "conf":
            yield from _arguments(call)
    elif constructs(call):
        for each in call.keywords:
            if each.arg == "changes":
                yield from _pairs(each.value)
            elif each.arg and each.arg not in _CONSTRUCTOR:
                yield _ARGUMENTS.get(each.arg, each.arg), each.value


def _arguments(call: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    for argument in (*call.args, *(each.value for each in call.keywords if each.arg is None)):
        yield from _pairs(argument)
    yield from ((each.arg, each.value) for each in call.keywords if each.arg)


def _pairs(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """Keys and values of a dictionary that is written down, or made by `dict(...)`."""
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                yield from _pairs(value)
            elif isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value, value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        yield from _arguments(node)


def _given(
    file: str, line: int, key: str, node: ast.expr, namespace: str = "", *, place: ast.AST | None = None
) -> Given:
    try:
        value: Any = ast.literal_eval(node)
    except (ValueError, TypeError):
        value = ...
    gone = why(key)
    if gone:
        return Given(file, line, key, None, value, gone)
    rest = key.removeprefix(namespace).lower() if namespace and key.isupper() else key
    try:
        name = rest if rest in TABLE else resolve(key)
    except ConfigurationError as error:
        return Given(file, line, key, None, value, str(error))
    return Given(file, line, key, name, value, "" if name else f"no setting is called {key!r}", namespace, node, place)


def _wrong(name: str, value: Any) -> str:
    """Why a value can't be here; "" if it can, or isn't known before the program runs."""
    from multi import plugins, urls
    from multi.app.routes import MapRoute

    if value is ...:
        return ""
    try:
        convert(TABLE[name], value, "")
        for table in value if isinstance(value, list) else [value]:
            if name == "task_routes" and isinstance(table, dict):
                MapRoute(table)
    except ConfigurationError as error:
        return str(error).removeprefix(":").strip()
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
