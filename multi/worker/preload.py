"""Imports what a worker uses of ours before workers are forked, so that none of it is left for each of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from multi import plugins

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.worker.options import WorkerOptions

_NEEDED = (
    *("multi.app.request", "multi.worker.banner", "multi.worker.pidfile", "multi.worker.worker"),
    *("ctypes", "multiprocessing.synchronize"),
)


def bring_in(app: App, options: WorkerOptions) -> None:
    """The modules of the worker itself, of its pool's children, of its broker and backend."""
    for name in _NEEDED:
        import_module(name)
    from multi.worker.worker import child_class

    child_class(plugins.find("multi.pools", options.pool).loop)
    _ = app.worker_broker, app.backend  # made, not connected
