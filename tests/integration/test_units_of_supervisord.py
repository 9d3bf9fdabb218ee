"""Rendered programs under a real supervisord, with real workers: of a machine with multi, and of one without."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.project import Project
from support.supervisord import PrivateSupervisord
from support.wait import until

OURS = """
    import os, time
    from multi import App
    app = App("proj", broker=os.environ["QUEUE"], backend=os.environ["QUEUE"])
"""
CELERYS = """
    import os, time
    from celery import Celery
    app = Celery("proj", broker="filesystem://")
    app.conf.broker_transport_options = {
        "data_folder_in": os.environ["FOLDER"], "data_folder_out": os.environ["FOLDER"],
        "control_folder": os.environ["FOLDER"] + "/control",
    }
"""
TASK = """
    @app.task
    def nap(seconds, mark):
        with open(mark, "a") as file:
            file.write("begin " + os.environ.get("GREETING", "") + "\\n")
        time.sleep(seconds)
        with open(mark, "a") as file:
            file.write("end\\n")
"""
MULTI_TOML = """
    name = "shop"
    [nodes.w1]
    app = "proj"
    engine = "{engine}"
    concurrency = 1
    env_files = ["shop.env"]
    longest_task = "20s"
"""


class Service:
    """The node w1 as a program of a supervisord of its own."""

    def __init__(self, project: Project, engine: str, *words: str) -> None:
        self.project = project
        self.engine = engine
        self.mark = project.path / "mark"
        folder = project.path / "queue"
        (folder / "control").mkdir(parents=True)
        project.env |= {"QUEUE": f"sqlite:///{project.path}/queue.db", "FOLDER": str(folder)}
        project.write("proj.py", (OURS if engine == "multi" else CELERYS) + TASK)
        project.write("shop.env", 'GREETING="good morning"\n')
        project.write("multi.toml", MULTI_TOML.format(engine=engine))
        self.supervisord = PrivateSupervisord(project.env)
        out = str(self.supervisord.files)
        project.multi("render", "supervisord", "--log-dir", str(self.supervisord.folder), "-o", out, *words)
        self.supervisord.start()

    def send(self, seconds: float) -> None:
        """Send a task, and wait until it runs."""
        if self.engine == "multi":
            until((self.project.path / "queue.db").exists, 30, what="the embedded queue, which the worker makes")
        self.project.python(f"import proj; proj.nap.delay({seconds}, {str(self.mark)!r})")
        until(self.mark.exists, 30, what="the task to begin")

    def stop(self) -> None:
        subprocess.run(
            [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(self.supervisord.config), "stop", "shop-w1"],
            env=self.project.env,
            capture_output=True,
            check=True,
            timeout=60,
        )


@pytest.fixture(params=[("multi",), ("celery", "--agentless")], ids=" ".join)
def service(request: pytest.FixtureRequest, project: Project) -> Iterator[Service]:
    found = Service(project, *request.param)
    yield found
    found.supervisord.close()


def test_a_node_reads_its_env_files_and_finishes_its_task_before_a_stop_returns(service: Service) -> None:
    until(lambda: service.supervisord.process_of("shop-w1")["statename"] in ("STARTING", "RUNNING"), what="a program")
    pid = service.supervisord.process_of("shop-w1")["pid"]
    service.send(2)
    assert service.supervisord.process_of("shop-w1")["pid"] == pid
    service.stop()
    assert service.mark.read_text().split("\n") == ["begin good morning", "end", ""]
    assert service.supervisord.process_of("shop-w1")["statename"] == "STOPPED"
    assert not Path(f"/proc/{pid}").exists()
