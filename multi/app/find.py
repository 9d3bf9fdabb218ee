"""Finds the app that `-A` names, in Celery's order."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from multi.app.app import App
from multi.errors import AppImportFailed, AppIsCelerys, AppNotFound

#: The app that `App.start` was called on: taken where nobody names one.
given: App | None = None


def find(name: str | None = None, *, directory: str | None = None) -> App:
    """The app named `name`: "proj", "proj.celery", "proj:app", "proj.celery:app".

    In a module that is named alone, first its attribute `app` is looked for, then `celery`; then, if it is a package,
    the same in its module `celery`; and last the first attribute that is an app. `directory` (the working directory,
    if not given) is put on the path. Raises `AppNotFound`, which lists what was tried, and `AppImportFailed`, which
    holds the project's own traceback; `AppIsCelerys` where Celery would take an app of its own that stands before any of ours.
    """
    folder = os.path.abspath(directory or os.getcwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    if name is None:
        return given if given is not None else _default()
    tried: list[str] = []
    found = _find(name, tried)
    if found is None:
        listing = "\n".join(f"  - {line}" for line in tried)
        raise AppNotFound(f"no app is found at -A {name}; tried, in {folder}:\n{listing}")
    return found


def _default() -> App:
    """The app of a project that makes none: its tasks are shared ones, its settings in celeryconfig.py."""
    from multi.app import current
    from multi.config.sources import default_reader

    if default_reader() is None:
        raise AppNotFound(
            "no app is named: say where it is with -A, as in multi -A proj worker (without an app there would have to be a "
            "celeryconfig.py)"
        )
    default = current.get()
    default.import_modules()
    # the modules that it names may make an app of their own, which is then meant
    return current.get()


def _find(name: str, tried: list[str]) -> App | None:
    module_name, colon, attribute = name.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise AppNotFound(
            f"-A {name}: {module_name!r} can't be the name of a module; write it as in proj or proj.celery:app"
        )
    if colon:
        module = _import(module_name, tried)
        if module is None:
            return None
        return _checked(_attribute(module, attribute, tried), f"{module_name}:{attribute}", tried)
    module = _import(module_name, tried)
    if module is None:
        parent, _, last = module_name.rpartition(".")
        holder = _import(parent, tried) if parent else None
        return _checked(_attribute(holder, last, tried), module_name, tried) if holder is not None else None
    return _in_module(module, tried)


def _in_module(module: ModuleType, tried: list[str]) -> App | None:
    for attribute in ("app", "celery"):
        found = getattr(module, attribute, None)
        if isinstance(found, App):
            return found
        _refuse_celerys(found, f"{module.__name__}.{attribute}")
        if found is None:
            tried.append(f"{module.__name__}.{attribute}: there is no such attribute")
        elif not isinstance(found, ModuleType):
            tried.append(f"{module.__name__}.{attribute}: is no App but a {type(found).__name__}")
        else:
            tried.append(f"{module.__name__}.{attribute}: is a module")
    if hasattr(module, "__path__"):
        below = f"{module.__name__}.celery"
        if find_spec(below) is not None:
            found_below = _in_module(_load(below), tried)
            if found_below is not None:
                return found_below
        else:
            tried.append(f"{below}: there is no such module")
    for value in vars(module).values():
        if isinstance(value, App):
            return value
    for attribute, value in vars(module).items():
        _refuse_celerys(value, f"{module.__name__}.{attribute}")
    tried.append(f"{module.__name__}: none of its attributes is an App")
    return None


def _attribute(module: ModuleType, path: str, tried: list[str]) -> Any:
    found: Any = module
    for part in path.split("."):
        found = getattr(found, part, None)
        if found is None:
            tried.append(f"{module.__name__}:{path}: {module.__name__} has no attribute {path!r}")
            return None
    return found


def _checked(found: Any, where: str, tried: list[str]) -> App | None:
    if found is None or isinstance(found, App):
        return found
    if isinstance(found, ModuleType):
        return _in_module(found, tried)
    _refuse_celerys(found, where)
    tried.append(f"{where}: is no App but a {type(found).__name__}")
    return None


def _refuse_celerys(found: Any, where: str) -> None:
    base = sys.modules.get("celery.app.base")
    # what is imported lazily, as Celery's proxies are, is not made real by the question
    if base is not None and issubclass(type(found), base.Celery):
        error = AppIsCelerys(
            f"-A: {where} is Celery's own app: import it from multi instead (from multi import Celery), or let Celery's own "
            "worker run it (multi start w1 -A …)"
        )
        error.app = found
        raise error


def _import(name: str, tried: list[str]) -> ModuleType | None:
    """The module, or None if there is none. Raises `AppImportFailed` if it raises."""
    try:
        missing = find_spec(name) is None if name not in sys.modules else False
    except ModuleNotFoundError as error:
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise _failed(name, error) from error
        tried.append(f"{name}: there is no module {error.name!r}")
        return None
    except Exception as error:
        raise _failed(name, error) from error
    if missing:
        tried.append(f"{name}: there is no such module")
        return None
    return _load(name)


def _load(name: str) -> ModuleType:
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def _failed(name: str, error: BaseException) -> AppImportFailed:
    text = project_traceback(error)
    shown = f"{type(error).__name__}: {error}"
    return AppImportFailed(f"the project can't be imported: {name} raises {shown}\n{text}", text, error)


def project_traceback(error: BaseException) -> str:
    """The traceback of an exception from the project's first line on: without the import system's frames and ours."""
    import traceback

    if isinstance(error, SyntaxError):
        return "".join(traceback.format_exception_only(error)).rstrip()
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
    frames = traceback.extract_tb(error.__traceback__)
    kept = [
        frame
        for frame in frames
        if not frame.filename.startswith((own, "<frozen importlib")) and not _is_import_machinery(frame.filename)
    ]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(kept)]
    return "".join([*lines, *traceback.format_exception_only(error)]).rstrip()


def _is_import_machinery(filename: str) -> bool:
    return filename.endswith((os.sep + os.path.join("importlib", "__init__.py"), os.path.join("importlib", "util.py")))
