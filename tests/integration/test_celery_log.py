"""The log of a Celery worker that is a node, as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support.nodes import Nodes
from support.project import Project
from support.wait import until

PROJECT = """
    from celery import Celery
    from celery.utils.log import get_task_logger

    folders = dict.fromkeys(("data_folder_in", "data_folder_out"), {queue!r})
    app = Celery("shop", broker="filesystem://")
    app.conf.broker_transport_options = dict(folders, control_folder={queue!r})
    log = get_task_logger(__name__)


    @app.task
    def bad():
        log.warning("in it")
        raise ValueError("bad")
"""


@pytest.fixture
def nodes(project: Project) -> Iterator[Nodes]:
    queue = project.path / "queue"
    queue.mkdir()
    project.write("shop.py", PROJECT.format(queue=str(queue)))
    found = Nodes(project)
    yield found
    found.stop_all()


def test_records_have_the_fields_that_multis_own_worker_writes(nodes: Nodes) -> None:
    more = ("--engine", "celery", "-A", "shop", "-c", "1", "-l", "INFO", "--log-format", "json")
    nodes.run("start", "w1", *more)
    nodes.project.python("import shop; shop.bad.delay()")
    until(lambda: "ValueError: bad" in nodes.log("w1"), 20, what="the task has failed")
    kept = [json.loads(line) for line in nodes.log("w1").splitlines() if line.startswith("{")]
    (said,) = [one for one in kept if one["message"] == "in it"]
    assert (said["level"], said["logger"], said["task_name"]) == ("WARNING", "shop", "shop.bad")
    assert said["process"] == "ForkPoolWorker-1"
    assert len(said["task_id"]) == 36
    (failed,) = [one for one in kept if "exception" in one]
    assert failed["exception"].endswith("ValueError: bad")
    lives = [one for one in kept if one["logger"].startswith("celery.") and said["task_id"] in one["message"]]
    assert [one["message"].rpartition("] ")[2].split(" ")[0] for one in lives] == ["received", "raised"]
    assert {(one["task_name"], one["task_id"]) for one in lives} == {("shop.bad", said["task_id"])}
    shown = nodes.run("logs", "w1", "--level", "ERROR").stdout.splitlines()
    assert ": ERROR/ForkPoolWorker-1] shop.bad[" in shown[0]
    assert shown[-1] == "ValueError: bad"
    nodes.run("stopwait", "w1")
