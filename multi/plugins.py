"""Looks up implementations by the entry points under which they are installed.

Our own brokers, backends, pools and engines come in by the same door as anybody else's. Their distribution is read
first, because reading the entry points of everything that is installed costs some milliseconds for each hundred
distributions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multi.errors import ConfigurationError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

DISTRIBUTION = "multi-workers"

_WORDS = {
    "multi.brokers": ("broker", "URL scheme"),
    "multi.backends": ("result backend", "URL scheme"),
    "multi.pools": ("pool", "name"),
    "multi.engines": ("engine", "name"),
    "multi.serializers": ("serializer", "name"),
}

_found: dict[tuple[str, str], Any] = {}
_own: list[EntryPoint] | None = None


def find(group: str, name: str) -> Any:
    """What is installed as `name` in `group`, for instance ("multi.brokers", "redis"). Raises `ConfigurationError`."""
    key = (group, name)
    if key not in _found:
        point = _look_up(group, name)
        if point is None:
            kind, what = _WORDS.get(group, (group, "name"))
            known = ", ".join(names(group)) or f"none: is the distribution {DISTRIBUTION} installed?"
            raise ConfigurationError(f"no {kind} has the {what} {name!r}; there are: {known}")
        _found[key] = point.load()
    return _found[key]


def names(group: str) -> list[str]:
    """All names in `group`, sorted."""
    from importlib.metadata import entry_points

    return sorted(
        {point.name for point in _ours() if point.group == group} | {p.name for p in entry_points(group=group)}
    )


def _look_up(group: str, name: str) -> EntryPoint | None:
    for point in _ours():
        if point.group == group and point.name == name:
            return point
    from importlib.metadata import entry_points

    return next(iter(entry_points(group=group, name=name)), None)


def _ours() -> list[EntryPoint]:
    global _own
    if _own is None:
        from importlib.metadata import PackageNotFoundError, distribution

        try:
            _own = list(distribution(DISTRIBUTION).entry_points)
        except PackageNotFoundError:
            _own = []
    return _own
