"""Reload of a worker without a keeper: a fresh one is ready before the old one stops."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from support.project import Project
from support.wait import until

from multi.stats import StatsPage

PROJECT = """
from multi import App
app = App("proj")
@app.task
def version():
    return {version}
@app.task
def nap(seconds):
    import time
    time.sleep(seconds)
    return {version}
"""


@pytest.fixture
def release(project: Project) -> Path:
    """A link to the folder that holds the project: what a deploy switches."""
    for number in (1, 2):
        project.write(f"releases/{number}/proj.py", PROJECT.format(version=number))
    current = project.path / "current"
    current.symlink_to("releases/1")
    return current


def switch(current: Path) -> None:
    new = current.with_name("next")
    new.symlink_to("releases/2")
    new.replace(current)


def send(project: Project, current: Path) -> str:
    program = "import sys; sys.path.insert(0, sys.argv[1]); import proj; print(proj.version.delay().get(timeout=20))"
    return project.python(f"import sys; sys.argv[1:] = [{str(current)!r}]; {program}").stdout.strip()


def test_a_worker_in_the_background_hands_over_to_one_from_the_new_release(project: Project, release: Path) -> None:
    broker = f"sqlite:///{project.path}/queue.db"
    project.env |= {"MULTI_BROKER_URL": broker, "MULTI_RESULT_BACKEND": broker}
    words = ("worker", "-A", "proj", "-n", "w1@%h", "-l", "INFO", "-c", "1", "-D", "--purge")
    project.multi(*words, "--workdir", "current", "-f", "../../w1.log", "--pidfile", "../../w1.pid")
    log, pidfile = project.path / "w1.log", project.path / "w1.pid"
    first = int(pidfile.read_text())
    try:
        assert "Purged 0 messages" in log.read_text()
        assert send(project, release) == "1"
        switch(release)
        os.kill(first, signal.SIGHUP)
        until(lambda: int(pidfile.read_text()) != first, 20, what="the successor to take over")
        second = int(pidfile.read_text())
        until(lambda: not os.path.exists(f"/proc/{first}"), 20, what="the first worker to end")
        assert os.readlink(f"/proc/{second}/cwd").endswith("releases/2")
        assert send(project, release) == "2"
        assert log.read_text().count("Purged") == 1
        assert int(pidfile.read_text()) == second
    finally:
        os.kill(int(pidfile.read_text()), signal.SIGTERM)
    until(lambda: not pidfile.exists(), 20, what="the last worker to end")


def test_a_successor_that_cannot_start_leaves_the_worker_at_work(project: Project, release: Path) -> None:
    broker = f"sqlite:///{project.path}/queue.db"
    project.env |= {"MULTI_BROKER_URL": broker, "MULTI_RESULT_BACKEND": broker}
    words = ("worker", "-A", "proj", "-n", "w1@%h", "-l", "INFO", "-c", "1", "-D")
    project.multi(*words, "--workdir", "current", "-f", "../../w1.log", "--pidfile", "../../w1.pid")
    log, pidfile = project.path / "w1.log", project.path / "w1.pid"
    pid = int(pidfile.read_text())
    try:
        project.write("releases/2/proj.py", "1 / 0\n")
        switch(release)
        os.kill(pid, signal.SIGHUP)
        until(lambda: "before it was ready: this worker goes on" in log.read_text(), 20)
        assert "ZeroDivisionError" in log.read_text()
        assert int(pidfile.read_text()) == pid
        assert send(project, project.path / "releases/1") == "1"
    finally:
        os.kill(pid, signal.SIGTERM)
    until(lambda: not pidfile.exists(), 20, what="the worker to end")


def test_a_successor_shows_itself_in_the_runtime_directory_that_a_unit_manager_has_named(
    project: Project, release: Path
) -> None:
    broker = f"sqlite:///{project.path}/queue.db"
    folder = project.path / "run"
    folder.mkdir()
    project.env |= {"MULTI_BROKER_URL": broker, "MULTI_RESULT_BACKEND": broker, "MULTI_RUN_DIR": str(folder)}
    words = ("worker", "-A", "proj", "-n", "w1@%h", "-l", "INFO", "-c", "1", "-D")
    project.multi(*words, "--workdir", "current", "-f", "../../w1.log", "--pidfile", "../../w1.pid")
    pidfile = project.path / "w1.pid"
    first = int(pidfile.read_text())
    try:
        assert StatsPage.read(str(folder / "stats.1")).pid == first  # type: ignore[union-attr]
        os.kill(first, signal.SIGHUP)
        until(lambda: not os.path.exists(f"/proc/{first}"), 20, what="the first worker to hand over and end")
        second = int(pidfile.read_text())
        page = StatsPage.read(str(folder / "stats.2"))
        assert page is not None
        assert (page.pid, page.generation) == (second, 2)
        assert not (folder / "stats.1").exists()
    finally:
        os.kill(int(pidfile.read_text()), signal.SIGTERM)
    until(lambda: not pidfile.exists(), 20, what="the last worker to end")


def has_ended(pid: int) -> bool:
    """Its parent, which still works, doesn't ask for its exit status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT], ids=["warm", "cold"])
def test_a_successor_ends_after_the_worker_that_it_took_over_from_but_when_it_is_to_end_at_once(
    project: Project, release: Path, number: signal.Signals
) -> None:
    broker = f"sqlite:///{project.path}/queue.db"
    project.env |= {"MULTI_BROKER_URL": broker, "MULTI_RESULT_BACKEND": broker}
    words = ("worker", "-A", "proj", "-n", "w1@%h", "-l", "INFO", "-c", "1", "-D")
    project.multi(*words, "--workdir", "current", "-f", "../../w1.log", "--pidfile", "../../w1.pid")
    log, pidfile = project.path / "w1.log", project.path / "w1.pid"
    first = int(pidfile.read_text())
    second = 0
    try:
        program = f"import sys; sys.path.insert(0, {str(release)!r}); import proj; proj.nap.delay(4)"
        project.python(program)
        until(lambda: "Task proj.nap" in log.read_text(), 20, what="the task to begin")
        os.kill(first, signal.SIGHUP)
        until(lambda: int(pidfile.read_text()) != first, 20, what="the successor to take over")
        second = int(pidfile.read_text())
        assert os.path.exists(f"/proc/{first}"), "it still runs the task"
        os.kill(second, number)
        if number == signal.SIGTERM:
            until(lambda: "Waiting for the worker that this one took over from" in log.read_text(), 20)
            until(lambda: not os.path.exists(f"/proc/{first}"), 20, what="the first worker to end")
            assert "succeeded" in log.read_text()
        else:
            until(lambda: has_ended(second), 3, what="the second worker to end at once")
            assert os.path.exists(f"/proc/{first}")
        until(lambda: not os.path.exists(f"/proc/{second}"), 20, what="the second worker to end")
        until(lambda: not os.path.exists(f"/proc/{first}"), 20, what="the first worker to end")
    finally:
        for pid in (first, second):
            if pid and os.path.exists(f"/proc/{pid}"):
                os.kill(pid, signal.SIGKILL)


def test_what_is_sent_to_all_while_a_worker_hands_over_runs_once(project: Project) -> None:
    """Both generations consume from the queue that is the node's own."""
    broker = f"sqlite:///{project.path}/queue.db"
    project.env |= {"MULTI_BROKER_URL": broker}
    project.write(
        "proj.py",
        """
        from multi import App, Broadcast, Queue
        app = App("proj", task_queues=[Queue("celery"), Broadcast("reload")], task_ignore_result=True)
        @app.task
        def note(number):
            with open("notes", "a") as file:
                file.write(f"{number}\\n")
        """,
    )
    words = (
        "worker",
        "-A",
        "proj",
        "-n",
        "w1@%h",
        "-l",
        "INFO",
        "-c",
        "1",
        "-D",
        "-f",
        "w1.log",
        "--pidfile",
        "w1.pid",
    )
    project.multi(*words)
    pidfile, notes = project.path / "w1.pid", project.path / "notes"
    first = int(pidfile.read_text())
    try:
        os.kill(first, signal.SIGHUP)
        sent = project.python(
            f"""
            import os, time, proj
            sent = 0
            while os.path.exists("/proc/{first}"):
                proj.note.apply_async((sent,), queue="reload")
                sent += 1
                time.sleep(0.02)
            proj.note.apply_async(("last",), queue="reload")
            print(sent)
            """
        )
        count = int(sent.stdout)
        assert count
        until(lambda: notes.exists() and "last" in notes.read_text().split(), 20, what="the last one to have run")
        assert sorted(notes.read_text().split()) == sorted([*map(str, range(count)), "last"])
    finally:
        os.kill(int(pidfile.read_text()), signal.SIGTERM)
    until(lambda: not pidfile.exists(), 20, what="the last worker to end")
