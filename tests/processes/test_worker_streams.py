"""A worker whose standard output nobody reads, or that has none, works all the same."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.project import Project
from support.wait import until

TASKS = """
from multi import App

app = App("proj")

@app.task
def add(x, y):
    print("said", x)
    return x + y
"""


@pytest.mark.parametrize("output", ["closed", "nobody reads it"])
def test_a_worker_without_an_output_works(project: Project, output: str) -> None:
    project.write("proj.py", TASKS)
    errors = project.path / "errors"
    worker = shlex.join([sys.executable, "-m", "multi", "worker", "-A", "proj", "-l", "INFO", "-c", "1"])
    reader, writer = os.pipe()
    with errors.open("w") as file:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {worker} {'>&-' if output == 'closed' else ''}"],
            cwd=project.path,
            env=project.env,
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=file,
        )
    os.close(writer)
    os.close(reader)  # before the worker has written anything
    try:
        until(lambda: " ready." in _text(errors) or process.poll() is not None, 15, what=_text(errors))
        assert project.python("import proj; print(proj.add.delay(1, 2).get(timeout=10))").stdout == "3\n"
        assert "said 1" in _text(errors)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(15)
    assert (code, "Traceback" in _text(errors)) == (0, False), _text(errors)


def _text(file: Path) -> str:
    return file.read_text()
