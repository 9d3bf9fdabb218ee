"""The demo, and that it cleans up whatever happens; that nothing is left running is asserted after every test here."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from support.project import QUICKSTART, Project
from support.wait import until


def demo(folder: Path, project: Project) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(folder / "demo.py")],
        env={**project.env, "TMPDIR": str(project.home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_demo_shows_the_life_of_two_nodes(project: Project) -> None:
    with demo(QUICKSTART, project) as process:
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 0, said
    commands = [line[2:] for line in said.splitlines() if line.startswith("$ ")]
    assert commands == [
        "multi start w1 w2 -A proj -l INFO",
        "cat send.py",
        "python send.py",
        "multi status",
        "multi logs w1 w2 -n 8",
        "multi restart w1",
        "python send.py",
        "multi stopwait w1 w2",
    ]
    for result in ("add.delay(4, 4)        -> 8", "mul.delay(6, 7)        -> 42", "xsum.delay([1, 2, 3])  -> 6"):
        assert said.count(result) == 2
    assert "nothing is left running" in said
    assert not list(project.home.glob("multi-demo-*"))


def copy_of_the_example(project: Project) -> Path:
    return Path(shutil.copytree(QUICKSTART, project.path / "quickstart", ignore=shutil.ignore_patterns("__pycache__")))


def test_a_failing_step_ends_the_demo_with_an_exit_code_and_stops_the_nodes(project: Project) -> None:
    folder = copy_of_the_example(project)
    (folder / "proj" / "tasks.py").write_text(
        "from .celery import app\n\n@app.task\ndef add(x, y):\n    return x + y\n"
    )
    with demo(folder, project) as process:
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 1, said
    assert "The demo failed: `python send.py` ended with exit code 1" in said
    assert not list(project.home.glob("multi-demo-*"))


def test_a_demo_that_is_told_to_end_stops_the_nodes(project: Project) -> None:
    folder = copy_of_the_example(project)
    held = project.home / "held"
    (folder / "send.py").write_text(f"import pathlib, signal\npathlib.Path({str(held)!r}).touch()\nsignal.pause()\n")
    with demo(folder, project) as process:
        until(held.exists, 30)
        os.kill(process.pid, signal.SIGTERM)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 1, said
    assert not list(project.home.glob("multi-demo-*"))
