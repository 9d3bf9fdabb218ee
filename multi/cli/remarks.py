"""What `multi render` says of nodes whatever the manager: that they would run as root, be refused, or do things twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from multi.cli.check import said_of
from multi.nodes.spec import NodeSpec
from multi.units.base import Target, UnitFormat

#: Managers that run nodes as root where nothing else is said.
_OF_ROOT = ("systemd", "supervisord", "openrc", "runit", "launchd")
#: What runs nodes; the others only go with them.
_MANAGERS = (*_OF_ROOT, "compose", "kubernetes")


def remarks(kind: UnitFormat, specs: Sequence[NodeSpec], target: Target, *, agentless: bool) -> list[str]:
    """A line for each."""
    if kind.name not in _MANAGERS:
        return []
    found = [*_refused(specs), *_beats(specs)]
    if agentless:
        found += _packages(kind, specs)
    roots = [spec.name.short for spec in specs if not spec.user]
    if roots and kind.name in _OF_ROOT and not (target.user or target.owner):
        found.append(
            f"{', '.join(roots)}: nothing says as whom, so as root if the manager is the machine's, and tasks run whatever a "
            "message tells them to; say it with user = … in multi.toml, or --uid"
        )
    return found


def _refused(specs: Sequence[NodeSpec]) -> Iterator[str]:
    """Options that the worker would end with at once."""
    said: dict[str, list[str]] = {}
    for spec in specs:
        if text := said_of(spec, anywhere=True):
            said.setdefault(text, []).append(spec.name.short)
    for text, shorts in said.items():
        yield f"{', '.join(shorts)}: will not start: {text}"


def _beats(specs: Sequence[NodeSpec]) -> Iterator[str]:
    beats: dict[str, list[str]] = {}
    for spec in specs:
        if spec.engine != "multi" and (spec.kind == "beat" or spec.options.get("beat")):
            beats.setdefault(str(spec.options.get("app")), []).append(spec.name.short)
    for app, shorts in beats.items():
        if len(shorts) > 1:
            yield f"{', '.join(shorts)}: each run a beat of {app}: whatever is scheduled is sent {len(shorts)} times"


def _packages(kind: UnitFormat, specs: Sequence[NodeSpec]) -> Iterator[str]:
    shorts = [spec.name.short for spec in specs if spec.engine == "multi" and not spec.command]
    if shorts:
        where = "the image" if kind.name in ("compose", "kubernetes") else "that machine"
        yield (
            f"{', '.join(shorts)}: runs multi's own worker, so its interpreter on {where} needs the package multi-workers "
            'all the same; for a Celery project without it: engine = "celery" (--engine celery)'
        )
