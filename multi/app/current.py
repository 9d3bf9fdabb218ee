"""Which app is meant where none is named, and the tasks that belong to every app."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multi.app.app import App

_current: App | None = None
_apps: weakref.WeakSet[App] = weakref.WeakSet()
_shared: list[Callable[[App], Any]] = []


def get() -> App:
    """The app made last, or set by `App.set_current`; a default one, configured by celeryconfig.py, if there is none."""
    global _current
    if _current is None:
        from multi.app.app import App

        _current = App("default", set_as_current=False)
    return _current


def set_current(app: App | None) -> None:
    global _current
    _current = app


def enroll(app: App) -> None:
    """Remember `app`, so that shared tasks made later reach it too."""
    _apps.add(app)


def share(register: Callable[[App], Any]) -> None:
    """Have `register(app)` called for every app: at once for those that are finalized, later for the others."""
    _shared.append(register)
    for app in list(_apps):
        if app.finalized:
            register(app)


def shared() -> list[Callable[[App], Any]]:
    return list(_shared)
