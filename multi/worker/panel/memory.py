"""Commands that look for what takes memory, in the worker's own process."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections import deque
from typing import Any

from multi.app.panel import Later
from multi.log import get_logger
from multi.worker.panel.shown import shown
from multi.worker.panel.state import State, own_inspect

logger = get_logger("multi.worker")

#: The samples that are kept, and shown by `memdump`.
_SAMPLES: deque[float] = deque(maxlen=1000)
#: So long (s) a graph may take.
_PATIENCE = 55.0
_MOST_OBJECTS, _DEEPEST = 1000, 50


@own_inspect()
def memsample(state: State, **_: Any) -> str:
    """The resident memory of the worker's process now."""
    _SAMPLES.append(_resident())
    return _shown(_SAMPLES[-1])


@own_inspect(args=[("samples", int)], signature="[n_samples=10]")
def memdump(state: State, samples: Any = 10, **_: Any) -> str:
    """The memory that `memsample` found before, and that of now."""
    found = list(_SAMPLES)
    count = max(1, int(samples))
    # evenly from the first to the last
    chosen = found if len(found) <= count else [found[index * len(found) // count] for index in range(count)]
    lines = ["- rss (sample):", *(f"-    > {_shown(each)}," for each in chosen)] if chosen else []
    return "\n".join([*lines, f"- rss (end): {_shown(_resident())}."]) + "\n"


def _resident() -> float:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _shown(mebibytes: float) -> str:
    return f"{mebibytes:.3f}".rstrip("0").rstrip(".") + "MB"


@own_inspect(
    default_timeout=60.0,
    args=[("type", str), ("num", int), ("max_depth", int)],
    signature="[object_type=Request] [num=200 [max_depth=10]]",
)
def objgraph(state: State, num: Any = 200, max_depth: Any = 10, type: str = "Request", **_: Any) -> Later:
    """Draw what holds objects of a type (needs the package objgraph, and graphviz)."""
    try:
        drawing = importlib.import_module("objgraph")
    except ImportError:
        raise ImportError("Requires the objgraph library") from None
    count, depth = min(int(num), _MOST_OBJECTS), min(int(max_depth), _DEEPEST)
    logger.info("Dumping graph for type %s", shown(type))
    handle, path = tempfile.mkstemp(prefix="cobjg", suffix=".png")
    os.close(handle)

    def draw() -> bytes:
        objects = drawing.by_type(type)[:count]
        drawing.show_backrefs(objects, max_depth=depth, highlight=lambda each: each in objects, filename=path)
        if not os.path.getsize(path):
            os.unlink(path)
            raise RuntimeError(
                f"nothing was drawn of {len(objects)} objects; is graphviz installed, whose program is dot?"
            )
        return path.encode()

    later = Later()

    def drawn(done: bytes | None) -> None:
        later.answer({"filename": path} if done else {"error": "the graph can't be drawn; the worker's log says why"})

    # in a copy of this process, which has the same objects
    state.apart.do(draw, drawn, _PATIENCE)
    return later
