"""What the files of a project say together."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator

import msgspec


class Told(msgspec.Struct):
    """Whether they use Celery, what its apps are called, and where its settings are: in which modules, classes and
    dictionaries, and under which prefix."""

    celery: bool = False
    modules: set[str] = set()
    classes: set[str] = set()
    mappings: set[str] = set()
    apps: set[str] = set()
    namespace: str = ""

    @classmethod
    def of(cls, modules: Iterable[ast.Module]) -> Told:
        found = cls(modules={"celeryconfig"}, apps={"current_app"})
        bases: dict[str, set[str]] = {}
        for node in (node for module in modules for node in ast.walk(module)):
            if isinstance(node, ast.Import):
                found.celery |= any(alias.name.partition(".")[0] == "celery" for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.celery |= node.module.partition(".")[0] == "celery"
            elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None and constructs(node.value):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found.apps.update(each.id for each in targets if isinstance(each, ast.Name))
            elif isinstance(node, ast.ClassDef):
                bases.setdefault(node.name, set()).update(each.id for each in node.bases if isinstance(each, ast.Name))
            elif isinstance(node, ast.Call):
                found._call(node)
        found._inherit(bases)
        return found

    def holds(self, file: str) -> bool:
        """Whether a file is one of the modules that hold settings."""
        dotted = file.removesuffix(".py").replace(os.sep, ".").removesuffix(".__init__")
        return any(
            dotted == each or dotted.endswith(f".{each}") or each.endswith(f".{dotted}") for each in self.modules
        )

    def is_app(self, node: ast.expr) -> bool:
        """Whether it is an app: `app`, `proj.app` or `self.app`, by the names that the project has for its own."""
        if isinstance(node, ast.Name):
            return node.id in self.apps
        return isinstance(node, ast.Attribute) and (node.attr in self.apps or node.attr == "app")

    def _call(self, call: ast.Call) -> None:
        function = call.func
        if not isinstance(function, ast.Attribute):
            if constructs(call):
                self._sources(each.value for each in call.keywords if each.arg in ("config_source", "changes"))
            return
        if function.attr in ("config_from_object", "add_defaults"):
            self._sources([*call.args[:1], *(each.value for each in call.keywords if each.arg == "obj")])
            for each in call.keywords:
                if each.arg == "namespace" and isinstance(each.value, ast.Constant) and each.value.value:
                    self.namespace = str(each.value.value).upper().rstrip("_") + "_"
        elif function.attr == "update" and isinstance(function.value, ast.Attribute) and function.value.attr == "conf":
            spread = [each.value for each in call.keywords if each.arg is None]
            self.mappings.update(each.id for each in (*call.args, *spread) if isinstance(each, ast.Name))

    def _sources(self, values: Iterable[ast.expr]) -> None:
        for value in values:
            if isinstance(value, ast.Call):  # an object made of a class
                value = value.func
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                module, _, name = value.value.replace("django.conf:settings", "settings").partition(":")
                self.modules.add(module)
                self.classes.add(name or module.rpartition(".")[2])
            elif isinstance(value, ast.Name):
                for names in (self.modules, self.classes, self.mappings):
                    names.add(value.id)
            elif isinstance(value, ast.Attribute):
                self.modules.add(value.attr)
                self.classes.add(value.attr)

    def _inherit(self, bases: dict[str, set[str]]) -> None:
        """What a class of settings takes from others is settings, too."""
        before = -1
        while before != len(self.classes):
            before = len(self.classes)
            for name in list(self.classes):
                self.classes |= bases.get(name, set())


def constructs(node: ast.expr) -> bool:
    """Whether it is `Celery(...)`."""
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    return (isinstance(function, ast.Name) and function.id == "Celery") or (
        isinstance(function, ast.Attribute) and function.attr == "Celery"
    )


def attributes(module: ast.Module) -> Iterator[ast.Attribute]:
    return (node for node in ast.walk(module) if isinstance(node, ast.Attribute))
