"""Commands that change how many tasks run at once, renew the children, or end the worker."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

from multi.log import get_logger
from multi.worker.directives import heed
from multi.worker.panel.inspecting import flag
from multi.worker.panel.shown import shown
from multi.worker.panel.state import NoReply, State, nok, ok, own_control

logger = get_logger("multi.worker")


def _count(name: str, value: Any, least: int = 0) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if isinstance(value, bool) or number < least or number != float(value):
        raise ValueError(f"{name}={value!r} should be a whole number from {least} on")
    return number


@own_control(args=[("n", int)], signature="[N=1]")
def pool_grow(state: State, n: Any = 1, **_: Any) -> dict[str, Any]:
    """Have so many more tasks run at once."""
    if state.worker.autoscaler is not None:
        return nok("pool_grow is not supported with autoscale. Adjust autoscale range instead.")
    state.worker.size.resize(state.worker.size.capacity + _count("n", n, least=1))
    return ok("pool will grow")


@own_control(args=[("n", int)], signature="[N=1]")
def pool_shrink(state: State, n: Any = 1, **_: Any) -> dict[str, Any]:
    """Have so many fewer tasks run at once, by a warm end of children."""
    if state.worker.autoscaler is not None:
        return nok("pool_shrink is not supported with autoscale. Adjust autoscale range instead.")
    state.worker.size.resize(state.worker.size.capacity - _count("n", n, least=1))
    return ok("pool will shrink")


@own_control(signature="[modules [reload]]")
def pool_restart(state: State, modules: Any = None, reload: Any = False, reloader: Any = None, **_: Any) -> Any:
    """Replace all children by fresh ones, when each has ended its task; `modules` are imported before, again with `reload`."""
    if not state.app.conf.worker_pool_restarts:
        raise ValueError("Pool restarts not enabled")
    if reloader is not None:
        raise ValueError("reloader can't be given: modules are reloaded by importlib")
    names = [modules] if isinstance(modules, str) else list(modules or ())
    try:
        _import(state, names, again=flag(reload))
    except (Exception, SystemExit) as error:  # whatever the project's own code raises
        logger.error("The pool is not restarted, a module can't be imported: %r", error)
        return nok(f"the pool is not restarted: {error!r}")
    state.worker.size.renew()
    return ok("reload started")


def _import(state: State, names: Sequence[str], *, again: bool) -> None:
    """Import these modules; those that are there, once more with `again`. On an error the tasks are as they were before."""
    app = state.app
    tasks = dict(app.tasks)
    try:
        for name in names:
            known = sys.modules.get(name)
            if known is None:
                importlib.import_module(name)
            elif again:
                for task in [key for key, task in app.tasks.items() if type(task).__module__ == name]:
                    del app.tasks[task]
                importlib.reload(known)
    except BaseException:
        app.tasks.clear()
        app.tasks.update(tasks)
        raise
    if names:
        from multi.app.plan import executor

        app.executor = None
        directives = state.worker.directives
        heed(app, directives.content, directives.turns)  # it holds for the new ones, too
        executor(app).plan_all()
        app.publisher.template_all(app.tasks)
        state.worker.totals.admit(app.tasks)


@own_control(args=[("max", int), ("min", int)], signature="[max [min]]")
def autoscale(state: State, max: Any = None, min: Any = None, **_: Any) -> dict[str, Any]:
    """Change between which numbers the pool follows the load."""
    scaler = state.worker.autoscaler
    if scaler is None:
        raise ValueError("Autoscale not enabled")
    most, least = scaler.update(
        None if max is None else _count("max", max), None if min is None else _count("min", min)
    )
    return ok(f"autoscale now max={most} min={least}")


@own_control()
def shutdown(state: State, msg: str = "Got shutdown from remote", **_: Any) -> Any:
    """End the worker, when what runs has ended."""
    logger.warning("%s", shown(msg))
    worker = state.worker
    worker.reason = "shutdown by remote control"
    # in the next turn: its request is dealt with by then
    worker.loop.later(0, worker.stop)
    return NoReply
