"""A camera of the project's, run as a daemon."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from multi.app.events.snapshot import Polaroid
from multi.app.events.state import State
from multi.cli.events.feed import Feed
from multi.errors import ConfigurationError
from multi.log import get_logger

if TYPE_CHECKING:
    from multi.app.app import App

logger = get_logger("multi.camera")

_REMEDY = "it should be one made of multi.Polaroid"


def find(name: str) -> Any:
    """The class or function that makes a camera, by `module.Name` or `module:Name`. Raises `ConfigurationError`."""
    from importlib import import_module

    module, colon, attribute = name.partition(":")
    if not colon:
        module, _, attribute = name.rpartition(".")
    if not module or not attribute:
        raise ConfigurationError(f"--camera {name}: name a class as module.Camera or module:Camera")
    try:
        found: Any = import_module(module)
    except Exception as error:  # whatever the project's own code raises
        raise _failed(name, error) from error
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise ConfigurationError(f"--camera {name}: {module} has no class {attribute}; {_REMEDY}")
    if isinstance(found, type) and not _is_camera(found):
        raise ConfigurationError(f"--camera {name}: that class is no camera; {_REMEDY}")
    return found


def _is_camera(found: Any) -> bool:
    """Whether it has what a camera is used by: one made of Celery's Polaroid has it, too."""
    return all(callable(getattr(found, method, None)) for method in ("on_shutter", "__enter__", "__exit__"))


def _failed(name: str, error: Exception) -> ConfigurationError:
    from multi.app.find import project_traceback

    where = "" if isinstance(error, ModuleNotFoundError) else project_traceback(error)
    return ConfigurationError(f"--camera {name}: {type(error).__name__}: {error}\n{where}".rstrip())


def run(app: App, name: str, *, frequency: float, maxrate: str | None, enable: bool) -> None:
    """Take pictures until Ctrl-C or SIGTERM; the last one is of what has come since the one before it."""
    from multi.notify import Notifier

    state = State()
    kind = find(name)
    try:
        camera: Polaroid = kind(state, app=app, freq=frequency, maxrate=maxrate)
    except Exception as error:  # as above
        raise _failed(name, error) from error
    if not _is_camera(camera):
        raise ConfigurationError(f"--camera {name}: what it makes is no camera but {type(camera).__name__}; {_REMEDY}")
    feed = Feed(app, state.event, enable=enable, tell=logger.warning)
    ready = [Notifier.from_env()]

    def tick() -> None:
        if feed.connected is not None and ready:
            logger.info("Taking pictures with %s every %g s", name, frequency)
            ready.pop().ready()

    feed.tick = tick
    signal.signal(signal.SIGTERM, lambda *_: feed.stop())
    with camera:
        try:
            feed.run()
        except KeyboardInterrupt:
            pass  # the way to end it
