"""What a command is given: the worker that it steers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from multi.app.panel import Panel
from multi.worker.panel.apart import Apart
from multi.worker.panel.parked import Parked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multi.app.app import App
    from multi.worker.panel.held import HeldTasks
    from multi.worker.worker import Worker


class State:
    """`state.app`, `state.hostname`, and for those who know what they do `state.worker`."""

    def __init__(self, worker: Worker, held: HeldTasks) -> None:
        self.app: App = worker.app
        self.hostname: str = worker.options.hostname
        self.worker = worker
        self.held = held
        self.apart = Apart(worker.loop)
        self.parked = Parked(worker, self.apart)
        self.headers: Mapping[str, Any] = {}
        """The headers of the request that is carried out."""

    def __getattr__(self, name: str) -> Any:
        if name in ("consumer", "tset"):
            raise AttributeError(
                f"state.{name} is a part of Celery's worker; here a command has state.app, state.hostname and state.worker"
            )
        raise AttributeError(name)


class NoReply:
    """Returned by a command that ends the worker: nobody waits for its answer."""


def ok(value: Any) -> dict[str, Any]:
    return {"ok": value}


def nok(value: Any) -> dict[str, Any]:
    return {"error": value}


def own_inspect(**options: Any) -> Callable[[Any], Any]:
    """One of multi's own commands that tell something; a project's own by its name goes before it."""
    return Panel.register(type="inspect", own=True, **options)


def own_control(**options: Any) -> Callable[[Any], Any]:
    """One of multi's own commands that change something; a project's own by its name goes before it."""
    return Panel.register(type="control", own=True, **options)
