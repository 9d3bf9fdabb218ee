"""Events: what workers and clients tell of workers and tasks while it happens, in Celery's form."""

from __future__ import annotations

from typing import Any

_PLACES = {"Event": "event", "EventDispatcher": "dispatcher", "EventReceiver": "receiver"}


def __getattr__(name: str) -> Any:
    """Celery's names of this package, loaded when they are used."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
