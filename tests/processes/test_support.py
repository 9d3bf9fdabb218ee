"""The helpers that watch over processes: a mistake here would hide everybody else's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import leash
from support.processes import Leftovers, marked
from support.project import Project
from support.wait import until

DAEMON = """
import os, signal, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        os.close(1)
        os.close(2)
        signal.pause()
    os._exit(0)
"""


def start_daemon() -> int:
    """A process that has left its session and lost its parent."""
    said = subprocess.run([sys.executable, "-c", DAEMON], capture_output=True, text=True, check=True, timeout=20)
    return int(said.stdout)


def test_a_daemon_that_a_test_leaves_is_found_and_ended(mark: str) -> None:
    leftovers = Leftovers(mark)
    pid = start_daemon()
    assert marked(mark) == {pid}
    with pytest.raises(AssertionError, match=f"left processes behind:\n{pid}: "):
        leftovers.expect_none(timeout=0)
    leftovers.expect_none()


def test_a_forked_child_that_a_test_leaves_is_found(mark: str) -> None:
    leftovers = Leftovers(mark)
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    with pytest.raises(AssertionError, match=f"{pid}: "):
        leftovers.expect_none(timeout=0)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL


def test_the_leash_ends_daemons_too_when_its_holder_lets_go(mark: str) -> None:
    command = [sys.executable, leash.__file__, sys.executable, "-c", DAEMON + "\nsignal.pause()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        daemon = int(process.stdout.readline())
        assert daemon in marked(mark)
        process.stdin.close()
        process.wait(10)
    assert not marked(mark)


def test_the_leash_gives_the_exit_status_of_its_command() -> None:
    command = [sys.executable, leash.__file__, sys.executable, "-c", "raise SystemExit(3)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.wait(20) == 3


def test_a_project_runs_programs_with_its_own_home(project: Project) -> None:
    project.write("thing.py", "import os\nhome = os.environ['HOME']\n")
    said = project.python("import thing; print(thing.home)").stdout.strip()
    assert Path(said) == project.home
    until(lambda: not marked(project.env["MULTI_TEST_MARK"]))
