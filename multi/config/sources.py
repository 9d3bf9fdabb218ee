"""Where settings come from: modules, classes, objects, mappings, celeryconfig.py."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from multi.config.table import TABLE, upper_names
from multi.config.values import OwnName
from multi.errors import AppImportFailed, ConfigurationError, MultiError, UnknownSetting

DEFAULT_MODULE = "celeryconfig"

Reader = Callable[[], Mapping[str, Any]]


def reader(source: Any, namespace: str | None, silent: bool) -> Reader:
    """A function that reads the settings of `source` when they are needed."""

    def read() -> Mapping[str, Any]:
        found = load(source, silent)
        return strip(found, namespace) if namespace else found

    return read


def default_reader() -> Reader | None:
    """The reader of `celeryconfig.py`, or of the module that CELERY_CONFIG_MODULE names; None if there is none."""
    module = os.environ.get("CELERY_CONFIG_MODULE")
    if not module:
        if DEFAULT_MODULE not in sys.modules and not _exists(DEFAULT_MODULE):
            return None
        module = DEFAULT_MODULE
    return reader(module, None, False)


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def load(source: Any, silent: bool = False) -> dict[str, Any]:
    """The public names of `source` and their values.

    Raises `ConfigurationError` if there is no such module, and `AppImportFailed` for whatever it raises itself.
    """
    try:
        return _names(source, silent)
    except MultiError:
        raise
    except Exception as error:  # a module's own code, or an object that finds its values when they are asked for
        what = source if isinstance(source, str) else type(source).__name__
        raise AppImportFailed(
            f"the configuration {what!r} can't be loaded: {type(error).__name__}: {error} ({_where(error)})",
            cause=error,
        ) from error


def _where(error: BaseException) -> str:
    """The last line of the project's own that an exception went through."""
    foreign = ("<", sys.prefix, sys.base_prefix, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    frames = traceback.extract_tb(error.__traceback__)
    frame = next((one for one in reversed(frames) if not one.filename.startswith(foreign)), frames[-1])
    return f"{frame.filename}, line {frame.lineno}"


def _names(source: Any, silent: bool) -> dict[str, Any]:
    if isinstance(source, str):
        try:
            source = _symbol(source)
        except (ImportError, AttributeError) as error:
            if silent:
                return {}
            raise ConfigurationError(f"the configuration {source!r} can't be loaded: {error}") from error
    if isinstance(source, Mapping):
        return {str(key): value for key, value in source.items()}
    found = {}
    for name in dir(source):
        if name.startswith("_"):
            continue
        value = getattr(source, name)
        # what a module has imported or defined for itself is no setting
        if isinstance(value, ModuleType) or (callable(value) and name not in TABLE and not name.isupper()):
            continue
        found[name] = value
    return found


def _symbol(path: str) -> Any:
    """`pkg.mod`, `pkg.mod:attribute`, or `pkg.mod.attribute`."""
    module, _, attribute = path.partition(":")
    if attribute:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        return found
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        parent, _, last = module.rpartition(".")
        if not parent or error.name != module:
            raise
        found = import_module(parent)
        if not hasattr(found, last):
            raise
        return getattr(found, last)


#: Under the prefix, and not settings of the app: of Django's connections (multi.app.frameworks.django), of django-celery-email.
NEIGHBOURS = ("DB_REUSE_MAX", "EMAIL_")


def strip(found: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """The settings among `found`: names under the prefix, without it; the project's own names as they are.

    Under the prefix stands the new name (CELERY_TASK_ALWAYS_EAGER); an old one is understood too if it has the prefix
    by itself (CELERY_ALWAYS_EAGER). Raises `UnknownSetting` for any other name under the prefix.
    """
    prefix = namespace.upper().rstrip("_") + "_"
    known = {prefix + name.upper(): name for name in TABLE}
    old = upper_names()
    settings: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for key, value in found.items():
        upper = key.upper()
        rest = upper.removeprefix(prefix)
        name = known.get(upper) or (old.get(key) if prefix == "CELERY_" else None)
        if name is not None:
            before = spelled.get(name, key)
            if before != key and settings[name] != value and before.startswith(prefix) and key.startswith(prefix):
                from multi.config.settings import two_names

                raise two_names(before, key)
            if before == key or key.startswith(prefix):  # without the prefix it gives way to the one that has it
                spelled[name], settings[name] = key, value
        elif upper.startswith(prefix) and key.isupper() and not rest.startswith(NEIGHBOURS):
            from difflib import get_close_matches

            # what is common to all of them must not make two names alike
            near = get_close_matches(rest, [name.upper() for name in TABLE], 1, 0.8)
            hint = f"; did you mean {prefix}{near[0]}?" if near else ""
            raise UnknownSetting(f"no setting is called {key!r}{hint}")
        else:
            settings.setdefault(OwnName(key), value)
    return settings
