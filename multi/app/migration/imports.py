"""What a project imports from Celery, and where that is here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

from multi.app.migration.findings import ERROR, NOTE, Finding

#: Module of Celery's -> where its names are here; the longest that fits counts.
PLACES = {
    "celery": "multi",
    "celery.app": "multi",
    "celery.app.base": "multi",
    "celery.app.control": "multi.app.control",
    "celery.app.task": "multi",
    "celery.canvas": "multi",
    "celery.events": "multi.app.events",
    "celery.events.dispatcher": "multi.app.events.dispatcher",
    "celery.events.event": "multi.app.events.event",
    "celery.events.receiver": "multi.app.events.receiver",
    "celery.events.snapshot": "multi.app.events.snapshot",
    "celery.events.state": "multi.app.events.state",
    "celery.exceptions": "multi.errors",
    "celery.result": "multi",
    "celery.schedules": "multi",
    "celery.signals": "multi.signals",
    "celery.states": "multi.app.states",
    "celery.utils": "multi",
    "celery.utils.log": "multi",
    "celery.utils.nodenames": "multi",
    "celery.contrib.abortable": "multi",
    "celery.worker.control": "multi",
    "kombu": "multi",
    "kombu.common": "multi",
    "kombu.compression": "multi.compression",
    "kombu.serialization": "multi.codecs",
    "kombu.utils.json": "multi.codecs",
}
_GONE = {
    "celery.task": "Celery itself has removed it: use app.task or shared_task",
    "celery.decorators": "Celery itself has removed it: use app.task or shared_task",
    "djcelery": "it is made for Celery 3: the settings do what it did",
}
_FIRST = ("celery", "kombu", "djcelery", "billiard")


def findings(file: str, module: ast.Module) -> Iterator[Finding]:
    """What of its imports has no place here."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] in _FIRST and alias.name not in ("celery", "kombu"):
                    yield from _module(file, node.lineno, alias.name, ())
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if node.module.partition(".")[0] in _FIRST:
                yield from _module(file, node.lineno, node.module, tuple(alias.name for alias in node.names))


def _module(file: str, line: int, module: str, names: tuple[str, ...]) -> Iterator[Finding]:
    for gone, instead in _GONE.items():
        if module == gone or module.startswith(f"{gone}."):
            yield Finding(ERROR, file, line, module, instead)
            return
    place = PLACES.get(module)
    if place is None or (module == "celery.utils" and not all(_has(place, name) for name in names)):
        if module == "celery.utils" or module.startswith(("celery.utils.", "kombu.utils", "billiard")):
            yield Finding(
                NOTE,
                file,
                line,
                module,
                "no part of multi; keep Celery installed for it, or replace it",
            )
        else:
            yield Finding(ERROR, file, line, module, "multi has no such module")
        return
    for name in names:
        if name != "*" and not _has(place, name):
            yield Finding(ERROR, file, line, f"{module}.{name}", f"{place} has no {name} yet")


def _has(place: str, name: str) -> bool:
    if place == "multi":
        import multi

        return name in multi.__all__ or name in ("VERSION", "__version__")
    try:
        return find_spec(place) is not None and hasattr(import_module(place), name)
    except ModuleNotFoundError:  # nor its parent
        return False
