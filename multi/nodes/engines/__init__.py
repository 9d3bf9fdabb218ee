"""What a node can run: multi's own worker, a Celery project's, or any program.

An engine is found by its name among the entry points `multi.engines`; `multi.nodes.engines.base` says what it has to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.nodes.engines.base import Engine

_METHODS = ("check", "argv", "environment", "keeping")


def find(name: str) -> Engine:
    """The engine of that name. Raises `ConfigurationError` when there is none, and says which there are."""
    from multi import plugins

    made = plugins.find("multi.engines", name)
    try:
        engine: Engine = made()
    except Exception as error:
        raise plugins.broken("multi.engines", name, error) from error
    if missing := [one for one in _METHODS if not callable(getattr(engine, one, None))]:
        text = f"it is no engine, for it has no {', '.join(missing)} (see multi.nodes.engines.base)"
        raise plugins.broken("multi.engines", name, text)
    return engine
