"""What `multi lint` says of Celery under supervisord is so: a configuration loses a task, and once put right it does not."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.project import Project
from support.supervisord import PrivateSupervisord
from support.wait import until

APP = """
    import os, pathlib, time
    from celery import Celery
    app = Celery("tasks", broker=os.environ["BROKER"])

    @app.task(acks_late=False)
    def work(folder):
        pathlib.Path(folder, "begun").touch()
        time.sleep(1.5)
        pathlib.Path(folder, "done").touch()
"""
CONFIG = """
    ; as Celery ships it
    [program:celery]
    command={python} -m celery -A tasks worker --loglevel=INFO -c 1
    directory={folder}
    autorestart=true
    stopwaitsecs = 600
    ; everybody is told
    stopasgroup=true
"""


@pytest.fixture
def supervisord(project: Project, redis_url: str) -> Iterator[PrivateSupervisord]:
    pytest.importorskip("supervisor")
    found = PrivateSupervisord({**project.env, "BROKER": redis_url, "C_FORCE_ROOT": "1"})
    yield found
    found.stop()


@pytest.mark.parametrize("fixes", [False, True], ids=["as it is", "put right"])
def test_a_stop_in_the_middle_of_a_task(
    project: Project, supervisord: PrivateSupervisord, redis_url: str, fixes: bool
) -> None:
    project.write("tasks.py", APP)
    config = project.write("celery.conf", CONFIG.format(python=sys.executable, folder=project.path))
    project.env["BROKER"] = redis_url
    assert "M301" in project.multi("lint", str(config), code=1).stdout
    if fixes:
        project.multi("lint", str(config), "--fix")
    (supervisord.files / "celery.conf").write_text(config.read_text())
    supervisord.start()
    project.python(f"import tasks; tasks.work.delay({str(project.path)!r})")
    begun, done = project.path / "begun", project.path / "done"
    until(begun.exists, 30, what="the task has begun")
    worker = int(supervisord.process_of("celery")["pid"])
    assert children(worker), "a child of the pool runs the task"
    supervisord.client.call("supervisor.stopProcess", "celery", True)
    until(lambda: not os.path.exists(f"/proc/{worker}"), 20, what="the worker is gone")
    assert done.exists() is fixes


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
