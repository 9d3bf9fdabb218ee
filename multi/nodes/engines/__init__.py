"""What a node can run: multi's own worker, a Celery project's, or any program.

An engine is found by its name among the entry points `multi.engines`; `multi.nodes.engines.base` says what it has to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.nodes.engines.base import Engine


def find(name: str) -> Engine:
    """The engine of that name. Raises `ConfigurationError` when there is none, and says which there are."""
    from multi import plugins

    engine: Engine = plugins.find("multi.engines", name)()
    return engine
