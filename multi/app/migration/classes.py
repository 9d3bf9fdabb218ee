"""The tasks of a project that are classes, and the classes that are bases of its tasks."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from multi.app.migration.told import Told

_ROOTS = ("Task", "AbortableTask")
_ENGINES = ("celery", "multi")


class Kind(msgspec.Struct):
    """One class: what it is made of, what it says of its tasks, and whether there is a task of it."""

    file: str
    name: str
    line: int
    bases: list[str]
    root: bool
    """Whether a base of it is Celery's class of tasks, or the app's."""
    options: dict[str, Any]
    runs: bool
    registered: bool = False
    used: bool = False
    """Whether tasks, or other classes, have it as their base."""


class Classes(msgspec.Struct):
    """All classes of a project, by name; `anything` is whether it registers what can't be read from its text."""

    named: dict[str, list[Kind]] = {}
    imported: dict[str, dict[str, str]] = {}
    """File -> what names of other files are called there."""
    anything: bool = False

    @classmethod
    def of(cls, modules: Iterable[tuple[str, ast.Module]], told: Told) -> Classes:
        found = cls()
        modules = list(modules)
        for file, module in modules:
            names = found.imported[file] = _imported(module)
            for node in ast.walk(module):
                if isinstance(node, ast.ClassDef):
                    found.named.setdefault(node.name, []).append(_kind(file, node, names, told))
        for kind in [each for kinds in found.named.values() for each in kinds]:
            for base in kind.bases:
                found._mark(base, kind.file, "used")
        for file, module in modules:
            found._uses(file, module)
        return found

    def tasks(self, file: str) -> Iterator[Kind]:
        """Those of a file of which there is a task."""
        for kinds in self.named.values():
            for kind in kinds:
                if kind.file == file and self._is_task(kind):
                    if kind.registered or (self.anything and not kind.used and self._runs(kind)):
                        yield kind

    def options(self, name: str, file: str) -> dict[str, Any]:
        """What a class says of its tasks, with what its own bases say."""
        found: dict[str, Any] = {}
        for kind in reversed(list(self._line(name, file))):
            found |= kind.options
        return found

    def find(self, name: str, file: str) -> Kind | None:
        """The class that a file means by a name: its own, if it has one."""
        own = [kind for kind in self.named.get(name, ()) if kind.file == file]
        found = own or self.named.get(self.imported.get(file, {}).get(name, name))
        return found[0] if found else None

    def _line(self, name: str, file: str) -> Iterator[Kind]:
        """A class and all that it is made of, itself first."""
        waiting, seen = [(name, file)], set()
        while waiting:
            kind = self.find(*waiting.pop(0))
            if kind is not None and id(kind) not in seen:
                seen.add(id(kind))
                yield kind
                waiting += [(base, kind.file) for base in kind.bases]

    def _is_task(self, kind: Kind) -> bool:
        return any(each.root for each in self._line(kind.name, kind.file))

    def _runs(self, kind: Kind) -> bool:
        return any(each.runs for each in self._line(kind.name, kind.file))

    def _mark(self, name: str, file: str, what: str) -> bool:
        kind = self.find(name, file)
        if kind is not None:
            setattr(kind, what, True)
        return kind is not None

    def _uses(self, file: str, module: ast.Module) -> None:
        """What a file registers, and what its tasks have as `base`."""
        made = {
            target.id: called
            for node in ast.walk(module)
            if isinstance(node, ast.Assign) and (called := _last(node.value)) and isinstance(node.value, ast.Call)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(module):
            if isinstance(node, ast.ClassDef) and any(_registers(each) for each in node.decorator_list):
                self._mark(node.name, file, "registered")
            elif isinstance(node, ast.Call):
                for each in node.keywords:
                    if each.arg == "base":
                        self._mark(_last(each.value), file, "used")
                if _registers(node.func) and node.args:
                    name = _last(node.args[0])
                    if not self._mark(name, file, "registered") and not self._mark(
                        made.get(name, ""), file, "registered"
                    ):
                        self.anything = True


def _kind(file: str, node: ast.ClassDef, names: dict[str, str], told: Told) -> Kind:
    options: dict[str, Any] = {}
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets, value = [statement.target], statement.value
        else:
            continue
        options |= {each.id: literal(value) for each in targets if isinstance(each, ast.Name) and each.id[0] != "_"}
    bases = [_last(base) for base in node.bases]
    runs = any(isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.name == "run" for each in node.body)
    root = any(_is_root(base, names, told) for base in node.bases)
    return Kind(file, node.name, node.lineno, [base for base in bases if base], root, options, runs)


def _is_root(base: ast.expr, names: dict[str, str], told: Told) -> bool:
    if isinstance(base, ast.Name):
        return names.get(base.id, "").startswith(":")
    if not isinstance(base, ast.Attribute) or base.attr not in _ROOTS:
        return False
    first = base.value
    while isinstance(first, ast.Attribute):
        first = first.value
    return told.is_app(base.value) or (isinstance(first, ast.Name) and first.id in _ENGINES)


def _imported(module: ast.Module) -> dict[str, str]:
    """What names of other files are called there; `:Task` is Celery's, or ours."""
    found = {}
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom):
            engine = not node.level and (node.module or "").partition(".")[0] in _ENGINES
            for alias in node.names:
                root = engine and alias.name in _ROOTS
                found[alias.asname or alias.name] = f":{alias.name}" if root else alias.name
    return found


def _registers(node: ast.expr) -> bool:
    """Whether it is `app.register_task`, or `app.tasks.register`."""
    if not isinstance(node, ast.Attribute):
        return False
    return node.attr == "register_task" or (
        node.attr == "register" and isinstance(node.value, ast.Attribute) and node.value.attr == "tasks"
    )


def _last(node: ast.expr) -> str:
    """The last name of `X`, `module.X`, or of a call of either."""
    if isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def literal(node: ast.expr) -> Any:
    """The value that is written there; ... where only running the module would tell."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return ...
