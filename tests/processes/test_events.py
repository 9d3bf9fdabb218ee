"""`multi events` with a real worker: the live view and its keys on a terminal, lines and JSON in a pipe, a camera."""

from __future__ import annotations

import json
import os
import signal
import termios
from collections.abc import Iterator
from pathlib import Path
from select import select

import pytest
from support.project import Project
from support.terminal import Terminal
from support.wait import until
from support.workers import Bench, bench

#: What the view may take to show something on a busy machine.
SOON = 30


@pytest.fixture
def at_work(project: Project) -> Iterator[Bench]:
    """A project on a file of its own, without a worker yet."""
    url = f"sqlite:///{project.path}/queue.db"
    with bench(project, url, url) as made:
        yield made


def flags(terminal: Terminal) -> list[object]:
    """How the terminal treats what is typed and written."""
    return termios.tcgetattr(terminal._master)[:4]


def test_the_view_shows_tasks_and_workers_and_its_keys_steer_them(at_work: Bench) -> None:
    tasks = at_work.tasks
    worker = at_work.start()
    with Terminal(at_work.project, "events", "-A", at_work.module, rows=24, columns=140) as view:
        before = flags(view)
        view.until("w1@test", SOON)
        # a worker that tells nothing of its tasks is named, and asked to
        tasks.add.delay(1, 2).get(timeout=20)
        view.until("w1@test: tasks run there of which nothing is told (e: have workers send events", SOON)
        view.press("e")
        view.until("events of tasks: w1@test: task events enabled", SOON)
        # tasks, their details, and back
        tasks.fail.delay()
        view.until("FAILURE", SOON)
        view.press("\n")
        text = view.until("Traceback (most recent call last)", SOON)
        assert "exception" in text and "received" in text and "any key: back" in text
        view.press("q")
        view.until("filter", SOON)
        # one is terminated, one revoked, in the middle of others and with a filter
        held = [tasks.hold.delay(f"held{number}") for number in range(3)]
        view.until("2 started", SOON)
        view.press("/task:hold state:started\n")
        view.until("filter: task:hold state:started", SOON)
        view.until_gone("FAILURE", SOON)
        view.press("x")
        view.until("y/n", SOON)
        view.press("n")
        view.until_gone("y/n", SOON)
        view.press("jx")
        view.until("y/n", SOON)
        view.press("y")
        view.until(": w1@test: terminate:", SOON)
        until(lambda: [each.state for each in held].count("REVOKED") == 1, SOON, what="one of them is terminated")
        view.press("l")
        view.until("rate limit of", SOON)
        view.press("often\n")
        view.until("'often' is no rate", SOON)
        view.press("l10/m\n")
        view.until("w1@test: new rate limit set successfully", SOON)
        view.press("\x1b")
        view.until("REVOKED", SOON)
        # what is paused stays, and what came meanwhile is there afterwards
        view.press(" ")
        view.until("PAUSED at", SOON)
        at_work.let_go("held0")
        at_work.let_go("held1")
        at_work.let_go("held2")
        until(lambda: [each.state for each in held].count("SUCCESS") == 2, SOON, what="the others are done")
        assert "PAUSED" in view.text and "started" in view.lines[0]
        view.press(" ")
        view.until("2 success", SOON)
        # workers, help, sizes
        view.press("\t\n")
        view.until("Worker w1@test", SOON)
        view.press("q?")
        view.until("have all workers send events of tasks, or no longer", SOON)
        view.press(" \t")
        view.resize(10, 50)
        until(
            lambda: view.lines[-1].startswith("q quit") and "SUCCESS" in view.text,
            SOON,
            what=f"it is small: {view.text}",
        )
        view.resize(30, 100)
        until(lambda: view.lines[-1].startswith("q quit"), SOON, what=f"it fills the larger terminal:\n{view.text}")
        # the worker goes, and is still shown
        assert worker.stop() == 0
        view.until("stopped", SOON)
        view.press("\x03")
        assert view.end() == 0
        assert flags(view) == before and b'Traceback (most recent call last):\n  File "/' not in view.seen[-2000:]


def test_in_a_pipe_events_are_lines_or_json_and_a_camera_goes_to_the_background(at_work: Bench) -> None:
    project = at_work.project
    project.write(
        "cameras.py",
        """
        import json
        from pathlib import Path

        from multi import Polaroid


        class Camera(Polaroid):
            clear_after = True

            def on_shutter(self, state):
                with (Path(__file__).parent / "film").open("a") as film:
                    for uuid, task in state.itertasks():
                        print(json.dumps([uuid, task.name.rpartition(".")[2], task.state]), file=film)
        """,
    )
    events = ("events", "-A", at_work.module)
    lines, told = project.path / "lines", project.path / "told"
    with lines.open("w") as dump, told.open("w") as objects:
        # before there is a worker, and so before there is the file; it is asked for events when it comes
        listening = [project.popen(*events, "--enable", stdout=dump)]
        assert listening[0].stderr is not None
        assert "trying again" in listening[0].stderr.readline()
        at_work.start()
        listening += [
            project.popen(*events, "--json", "--filter", "type:task-*", stdout=objects),
            project.popen(*events, "--json", "--filter", "task:add"),
        ]
    few = listening[2].stdout
    assert few is not None
    said = project.multi(
        *(*events, "-c", "cameras.Camera", "--freq", "0.1", "--detach", "--loglevel", "INFO"),
        *("--pidfile", "camera.pid", "--logfile", "camera.log", "--maxrate", "100/s"),
    )
    assert "running in the background" in said.stdout
    pid = int((project.path / "camera.pid").read_text())
    add = at_work.tasks.add
    try:
        until(
            lambda: add.delay(1, 2).get(timeout=20) and _text(lines) and _text(told) and select([few], [], [], 0)[0],
            SOON,
            what="all of them hear what is told",
        )
        last = add.delay(40, 2)
        assert last.get(timeout=20) == 42
        few.close()  # as `head` does
        assert listening[2].wait(20) == 0, "it ends with its reader, though nothing more is to be printed"
        until(lambda: _text(told).count(last.id) == 4, SOON, what="events of the last task, one of them its root, too")
        of_last = [event for event in map(json.loads, _text(told).splitlines()) if event["uuid"] == last.id]
        assert [event["type"] for event in of_last] == ["task-received", "task-started", "task-succeeded"]
        assert of_last[2]["result"] == "42"
        until(
            lambda: f"task succeeded: {at_work.module}.add({last.id})" in _text(lines), SOON, what="a line of its end"
        )
        for process, number in zip(listening, (signal.SIGINT, signal.SIGTERM), strict=False):
            process.send_signal(number)
            assert process.wait(20) == 0
        film = project.path / "film"
        until(lambda: last.id in _text(film), SOON, what="a picture of the last task")
        project.write(
            "broken.py",
            "import cameras\nclass Camera(cameras.Camera):\n    def __init__(self, *args, **options):\n        1 / 0\n",
        )
        failed = project.multi(*events, "-c", "broken.Camera", code=2)
        assert "--camera broken.Camera: ZeroDivisionError" in failed.stderr and "/multi/" not in failed.stderr
        refused = project.multi(*events, "-c", "cameras.Camera", "--pidfile", "camera.pid", code=1)
        assert f"belongs to process {pid}" in refused.stderr
        assert "that camera runs already; stop it first, or name another file" in refused.stderr
    finally:
        os.kill(pid, signal.SIGTERM)
        for process in listening:
            process.kill()
            with process:
                pass  # its pipes are closed
    until(lambda: not (project.path / "camera.pid").exists(), SOON, what="the camera is gone")
    assert "Taking pictures with cameras.Camera" in (project.path / "camera.log").read_text()
    seen = [json.loads(line) for line in _text(film).splitlines()]
    assert [state for uuid, _, state in seen if uuid == last.id][-1] == "SUCCESS"


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""
