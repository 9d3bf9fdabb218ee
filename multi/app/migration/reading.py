"""Reads a project of Celery's without importing it: its settings, its tasks, and what it takes from Celery."""

from __future__ import annotations

import ast
import os
import tokenize
from collections.abc import Iterator

from multi.app.migration import calls, imports, settings, tasks
from multi.app.migration.classes import Classes
from multi.app.migration.findings import DIFFERS, ERROR, LEVELS, Finding, Project
from multi.app.migration.told import Told
from multi.errors import ConfigurationError

_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "build", "dist"})
_LARGEST = 2_000_000


def read(path: str) -> Project:
    """Read a folder or a file. Raises `ConfigurationError` where there is nothing of Celery's."""
    if not os.path.exists(path):
        raise ConfigurationError(f"there is no {path}; name the folder of the project, or one file of it")
    project = Project(path, findings=[])
    modules: list[tuple[str, ast.Module]] = []
    for name in sorted(_files(path)):
        shown = os.path.relpath(name, path) if os.path.isdir(path) else os.path.basename(name)
        try:
            with tokenize.open(name) as file:
                text = file.read()
            modules.append((shown, ast.parse(text)))
        except (SyntaxError, ValueError, UnicodeDecodeError) as error:
            line = getattr(error, "lineno", None) or 0
            project.findings.append(Finding(ERROR, shown, line, "Python", f"it can't be read: {error}"))
        except OSError as error:
            raise ConfigurationError(f"{name} can't be read: {error.strerror}") from None
    project.files = len(modules)
    told = Told.of(module for _, module in modules)
    if not told.celery and not _configures(path, modules, told):
        raise ConfigurationError(
            f"{path} is no project of Celery's: nothing in its {len(modules)} Python files imports it, or sets it up"
        )
    late = None
    classes = Classes.of(modules, told)
    for shown, module in modules:
        project.findings += imports.findings(shown, module)
        project.findings += tasks.priorities(shown, module)
        project.findings += calls.findings(shown, module, told)
        given = list(settings.given(shown, module, told))
        project.findings += settings.clashes(given)
        for each in given:
            project.settings += 1
            project.findings += each.findings()
            if each.setting == "task_acks_late":
                late = each
    # only now, as the settings may stand in a later file
    for shown, module in modules:
        for task in tasks.found(shown, module, classes, told):
            project.tasks.append(f"{shown}:{task.line} {task.name}")
            project.findings += task.findings(shown, late_told=late is not None)
    if late is None:
        project.findings.append(Finding(DIFFERS, "", 0, "task_acks_late", _LATE))
    project.findings.sort(key=lambda each: (LEVELS.index(each.level), each.file, each.line))
    return project


def _configures(path: str, modules: list[tuple[str, ast.Module]], told: Told) -> bool:
    """Whether there are settings of Celery's, though nothing imports it; a file that is named is taken for one of settings."""
    if not os.path.isdir(path):
        told.modules.add(os.path.splitext(os.path.basename(path))[0])
    return any(
        told.holds(shown) or given.key.startswith(("CELERY", "BROKER_"))
        for shown, module in modules
        for given in settings.given(shown, module, told)
    )


_LATE = (
    "not set. Celery acknowledges a task before it runs; here its message is acknowledged after its outcome is stored, so "
    "that a worker's death loses nothing, and a task may be begun twice. Make tasks bear that, or set it to False: then "
    "it is as with Celery"
)


def _files(path: str) -> Iterator[str]:
    if not os.path.isdir(path):
        yield path
        return
    for folder, names, files in os.walk(path):
        names[:] = sorted(
            name
            for name in names
            if name not in _SKIPPED
            and not name.startswith(".")
            and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
        )
        for name in files:
            full = os.path.join(folder, name)
            if name.endswith(".py") and os.path.isfile(full) and os.path.getsize(full) <= _LARGEST:
                yield full
