"""The launcher of Celery nodes stands alone: what it has in common with the rest is said twice, and has to be the same."""

from __future__ import annotations

import ast
from pathlib import Path

from multi import stats
from multi.controller.keeper import channel
from multi.nodes.engines import celery_node
from multi.nodes.engines.celery import LAUNCHER
from multi.stats import StatsPage


def test_it_is_written_for_old_interpreters_and_needs_nothing_of_ours() -> None:
    tree = ast.parse(Path(LAUNCHER).read_text(), feature_version=(3, 8))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [name for name in imported if name.partition(".")[0] == "multi"]


def test_its_page_is_read_as_every_page_is(tmp_path: Path) -> None:
    path = str(tmp_path / "stats.3")
    page = celery_node.Page(path, 4711, 3, 2)
    page.header(celery_node.READY, 2, 5.0, "prefork", ["a", "b"])
    page.task(1, 4712, 1, 7.0, "proj.add", "id-1", "(1,) {'token': 'geheim'}")
    for index in (0, 0, 1, 2):
        page.count(1, index)
    found = StatsPage.read(path)
    assert found is not None
    assert (found.state, found.pid, found.generation, found.concurrency) == ("ready", 4711, 3, 2)
    assert (found.last_loop, found.pool, found.queues) == (5.0, "prefork", ["a", "b"])
    (child,) = found.children
    assert (child.row, child.pid, child.active, child.since) == (1, 4712, 1, 7.0)
    assert (child.name, child.id, child.args) == ("proj.add", "id-1", "(1,) {'token': ***}")
    assert (child.succeeded, child.failed, child.retried) == (2, 1, 1)
    assert (celery_node.READY, celery_node.STOPPING) == (stats.READY, stats.STOPPING)


def test_it_finds_sockets_where_the_keeper_does() -> None:
    for path in ("/run/multi/x/control.1", "/run/" + "long/" * 30 + "control.1"):
        assert celery_node.address(path).replace("\0", "@") == channel.address(path)
