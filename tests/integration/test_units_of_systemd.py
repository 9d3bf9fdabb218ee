"""Rendered units under a real systemd, with real workers: readiness, stop, reload, crash, watchdog."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.project import Project
from support.systemd import PrivateSystemd, require
from support.wait import until

MULTI_TOML = """
    name = "shop"
    [nodes.w1]
    app = "proj"
    concurrency = 1
    watchdog = "2s"
    longest_task = "20s"
"""
PROJ = """
    import os, time
    from multi import App
    app = App("proj", broker=os.environ["QUEUE"], backend=os.environ["QUEUE"])

    @app.task
    def nap(seconds, mark):
        with open(mark, "a") as file:
            file.write("begin\\n")
        time.sleep(seconds)
        with open(mark, "a") as file:
            file.write("end\\n")
"""
UNIT = "multi-shop@w1.service"


class Service:
    """The node w1 as a unit of a systemd of its own."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.mark = project.path / "mark"
        project.env |= {"QUEUE": f"sqlite:///{project.path}/queue.db"}
        project.write("proj.py", PROJ)
        project.write("multi.toml", MULTI_TOML)
        self.systemd = PrivateSystemd(project.env, project.home)
        project.multi("render", "systemd", "--user", "--hardening", "strict", "-o", str(self.systemd.units))
        self.systemd.start()

    def systemctl(self, *words: str, code: int = 0) -> None:
        done = self.systemd.run("systemctl", "--user", *words)
        assert done.returncode == code, done.stderr

    def show(self, name: str) -> str:
        return self.systemd.show(UNIT, name)

    @property
    def pid(self) -> int:
        return int(self.show("MainPID"))

    def send(self, seconds: float) -> None:
        """Send a task, and wait until it runs."""
        self.project.python(f"import proj; proj.nap.delay({seconds}, {str(self.mark)!r})")
        until(self.mark.exists, what="the task to begin")

    def lines(self) -> list[str]:
        return self.mark.read_text().split()


@pytest.fixture
def service(project: Project) -> Iterator[Service]:
    require()
    found = Service(project)
    yield found
    found.systemd.stop()


def test_a_start_returns_when_the_node_consumes_and_a_stop_when_its_task_has_ended(service: Service) -> None:
    service.systemctl("start", "multi-shop.target")
    assert service.show("StatusText").endswith(" ready")
    service.send(2)
    service.systemctl("stop", UNIT)
    assert service.lines() == ["begin", "end"]
    assert (service.show("ActiveState"), service.show("Result")) == ("inactive", "success")


def test_a_stop_amid_a_reload_cuts_nothing_off(service: Service) -> None:
    service.systemctl("start", UNIT)
    first = service.pid
    service.send(4)
    service.systemctl("reload", UNIT)
    until(lambda: service.pid != first, what="systemd to know the new worker")
    second = service.pid
    assert os.path.exists(f"/proc/{first}"), "it still runs its task"
    service.systemctl("stop", UNIT)
    assert service.lines() == ["begin", "end"]
    assert (service.show("ActiveState"), service.show("Result")) == ("inactive", "success")
    assert not os.path.exists(f"/proc/{second}")


def test_a_stop_after_a_reload_is_as_warm_as_before(service: Service) -> None:
    service.systemctl("start", UNIT)
    first = service.pid
    service.systemctl("reload", UNIT)
    until(lambda: not os.path.exists(f"/proc/{first}"), what="the first worker to end")
    service.send(2)
    service.systemctl("stop", UNIT)
    assert service.lines() == ["begin", "end"]
    assert service.show("Result") == "success"


def test_a_reload_with_code_that_cant_be_loaded_fails_and_the_worker_goes_on(service: Service) -> None:
    service.systemctl("start", UNIT)
    first = service.pid
    proj = service.project.path / "proj.py"
    good = proj.read_text()
    proj.write_text(f"{good}\n1 / 0\n")
    service.systemctl("reload", UNIT, code=1)
    done = service.systemd.multi("reload", "w1", cwd=service.project.path, code=1)
    assert "FAILED, the present worker goes on" in done.stdout
    assert "the new generation did not get ready" in done.stderr
    assert (service.pid, service.show("ActiveState")) == (first, "active")
    proj.write_text(good)
    service.systemctl("reload", UNIT)
    assert service.pid not in (0, first)
    assert service.show("ActiveState") == "active"


def test_a_worker_that_crashes_or_hangs_is_replaced(service: Service) -> None:
    service.systemctl("start", UNIT)
    first = service.pid
    os.kill(first, signal.SIGKILL)
    until(lambda: service.pid not in (0, first) and service.show("ActiveState") == "active", 20, what="another worker")
    second = service.pid
    os.kill(second, signal.SIGSTOP)
    began = time.monotonic()
    until(lambda: service.show("NRestarts") == "2" and service.show("ActiveState") == "active", 20, what="a third one")
    assert time.monotonic() - began < 15
    assert service.pid not in (first, second)


def test_a_project_that_can_not_be_found_is_given_up_at_once(service: Service) -> None:
    unit = Path(service.systemd.units, "multi-shop@.service")
    unit.write_text(unit.read_text().replace("-A proj ", "-A nowhere "))
    service.systemctl("daemon-reload")
    service.systemctl("start", UNIT, code=1)
    assert (service.show("ActiveState"), service.show("ExecMainStatus"), service.show("NRestarts")) == (
        "failed",
        "2",
        "0",
    )
