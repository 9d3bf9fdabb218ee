"""What a worker shows before it starts."""

from __future__ import annotations

import logging
import re
from types import SimpleNamespace
from typing import Any

from multi.topology import Topology
from multi.worker.banner import render
from multi.worker.options import WorkerOptions


def app(acks_late: bool | None = None, backend: str | None = "redis://:secret@localhost/1") -> Any:
    return SimpleNamespace(
        main="proj",
        worker_broker=SimpleNamespace(url="redis://:secret@localhost:6379/0"),
        backend=backend and SimpleNamespace(url=backend),
        conf=SimpleNamespace(task_acks_late=acks_late),
        topology=Topology(),
        tasks={"proj.tasks.mul": 1, "proj.tasks.add": 1, "celery.chord_unlock": 1},
    )


def options(**changes: Any) -> WorkerOptions:
    return WorkerOptions(hostname="w1@host", queues=["celery", "a-queue-with-a-long-name"], concurrency=8, **changes)


def test_the_banner_has_the_shape_that_celerys_users_know() -> None:
    text = render(app(), options(), logging.INFO)
    expected = r"""
 -------------- w1@host v\d+\.\d+\.\d+\S* \(multi\)
--- \*\*\*\*\* -----
-- \*\*\*\*\*\*\* ---- \S+ \d{4}-\d\d-\d\d \d\d:\d\d:\d\d
- \*\*\* --- \* ---
- \*\* ---------- \[config\]
- \*\* ---------- \.> app:         proj:0x[0-9a-f]+
- \*\* ---------- \.> transport:   redis://:\*\*@localhost:6379/0
- \*\* ---------- \.> results:     redis://:\*\*@localhost/1
- \*\* ---------- \.> concurrency: 8 \(prefork\)
- \*\*\* --- \* --- \.> task events: OFF \(enable -E to monitor tasks in this worker\)
-- \*\*\*\*\*\*\* ---- \.> acks:        late \(a task is acknowledged after its outcome is stored\)
--- \*\*\*\*\* -----
 -------------- \[queues\]
                \.> celery           exchange=celery\(direct\) key=celery
                \.> a-queue-with-a-long-name exchange=a-queue-with-a-long-name\(direct\) key=a-queue-with-a-long-name


\[tasks\]
  \. proj\.tasks\.add
  \. proj\.tasks\.mul"""
    lines, patterns = [line.rstrip() for line in text.rstrip().splitlines()], expected.splitlines()
    assert len(lines) == len(patterns)
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern, line), (line, pattern)


def test_above_info_the_tasks_are_not_listed() -> None:
    assert "[tasks]" not in render(app(), options(), logging.WARNING)


def test_built_in_tasks_are_listed_at_debug_only() -> None:
    assert "celery.chord_unlock" not in render(app(), options(), logging.INFO)
    assert "celery.chord_unlock" in render(app(), options(), logging.DEBUG)


def test_disabled_results_and_early_acknowledgement_are_told() -> None:
    text = render(app(acks_late=False, backend=None), options(), logging.WARNING)
    assert ".> results:     disabled://" in text
    assert ".> acks:        early (a task is acknowledged before it runs, and lost when its worker dies)" in text


def test_a_worker_that_follows_its_load_shows_its_limits() -> None:
    assert ".> concurrency: {min=3, max=10} (prefork)" in render(app(), options(max_concurrency=10, min_concurrency=3))
