"""What a worker shows of itself before it starts, in the shape that Celery's users know."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

from multi.urls import mask
from multi.worker.options import WorkerOptions

ART = (
    " -------------- ",
    "--- ***** ----- ",
    "-- ******* ---- ",
    "- *** --- * --- ",
    "- ** ---------- ",
    "- ** ---------- ",
    "- ** ---------- ",
    "- ** ---------- ",
    "- ** ---------- ",
    "- *** --- * --- ",
    "-- ******* ---- ",
    "--- ***** ----- ",
    " -------------- ",
)
BLANK = " " * 16

LATE = "late (a task is acknowledged after its outcome is stored)"
EARLY = "early (a task is acknowledged before it runs, and lost when its worker dies)"


def render(app: Any, options: WorkerOptions, loglevel: int | None = None) -> str:
    """The banner; the tasks are listed at INFO and below, those built in at DEBUG only."""
    from multi import __version__

    level = options.loglevel if loglevel is None else loglevel
    lines = [
        f"{options.hostname} v{__version__} (multi)",
        "",
        f"{_platform()} {time.strftime('%Y-%m-%d %H:%M:%S')}",
        "",
        "[config]",
        f".> app:         {app.main or '__main__'}:{id(app):#x}",
        f".> transport:   {mask(app.worker_broker.url)}",
        f".> results:     {_results(app)}",
        f".> concurrency: {_concurrency(options)} ({options.pool})",
        f".> task events: {'ON' if options.task_events else 'OFF (enable -E to monitor tasks in this worker)'}",
        f".> acks:        {EARLY if app.conf.task_acks_late is False else LATE}",
        "",
        "[queues]",
        *(f".> {queue:<16} {_bound(app, queue)}" for queue in options.queues),
    ]
    art = ART + (BLANK,) * (len(lines) - len(ART))
    text = [" ", *(f"{left}{right}" for left, right in zip(art, lines, strict=True)), BLANK]
    if level <= logging.INFO:
        names = sorted(name for name in app.tasks if level <= logging.DEBUG or not name.startswith("celery."))
        text += ["", "[tasks]", *(f"  . {name}" for name in names)]
    return "\n".join(text) + "\n"


def _concurrency(options: WorkerOptions) -> str:
    if options.max_concurrency is None:
        return str(options.concurrency)
    return f"{{min={options.min_concurrency}, max={options.max_concurrency}}}"


def _bound(app: Any, queue: str) -> str:
    bindings = app.topology.bindings(queue)
    return ", ".join(f"exchange={each.exchange.name}({each.exchange.type}) key={each.routing_key}" for each in bindings)


def _results(app: Any) -> str:
    return "disabled://" if app.backend is None else mask(app.backend.url)


def _platform() -> str:
    system = os.uname()
    return f"{system.sysname}-{system.release}-{system.machine}"
