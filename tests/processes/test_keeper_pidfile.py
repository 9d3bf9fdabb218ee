"""A node's pid file: somebody else's is never taken, nor removed."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.nodes import Nodes, kill

NOBODY = 65534


def start(nodes: Nodes, path: Path, code: int = 0) -> str:
    done = nodes.start("w1", more=("--pidfile", str(path)), code=code)
    return done.stdout + done.stderr


@pytest.fixture
def stranger() -> Iterator[Callable[[int | None], int]]:
    """Starts programs that run, as another user where that is asked for."""
    found: list[subprocess.Popen[bytes]] = []

    def run(uid: int | None = None) -> int:
        found.append(subprocess.Popen(["cat"], stdin=subprocess.PIPE, user=uid))
        return found[-1].pid

    yield run
    for process in found:
        process.communicate()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a program as another user")
def test_the_pid_file_of_another_users_program_is_left_alone(
    nodes: Nodes, tmp_path: Path, stranger: Callable[[int | None], int]
) -> None:
    path = tmp_path / "other.pid"
    pid = stranger(NOBODY)
    path.write_text(f"{pid}\n")
    os.chown(path, NOBODY, NOBODY)
    said = start(nodes, path, code=1)
    assert f"the pid file {path} belongs to the process {pid} (" in said
    assert "of the user nobody), which runs, and is left as it is; name another with --pidfile" in said
    assert path.read_text() == f"{pid}\n"
    assert path.stat().st_uid == NOBODY
    nodes.run("stopwait", "w1", code=None)
    assert path.read_text() == f"{pid}\n"
    nodes.start("w1", more=("--pidfile", str(tmp_path / "mine.pid")))


def test_a_number_that_went_to_a_younger_process_is_stale(
    nodes: Nodes, tmp_path: Path, stranger: Callable[[int | None], int]
) -> None:
    path = tmp_path / "w1.pid"
    path.write_text(f"{stranger(None)}\n")
    long_ago = time.time() - 3600
    os.utime(path, (long_ago, long_ago))
    start(nodes, path)
    assert path.read_text() == f"{nodes.keeper('w1')}\n"
    nodes.run("stopwait", "w1")
    assert not path.exists()


def test_its_own_after_its_keeper_was_killed_is_taken_over(nodes: Nodes, tmp_path: Path) -> None:
    path = tmp_path / "w1.pid"
    start(nodes, path)
    kill(nodes.keeper("w1"))
    nodes.run("status", "w1")
    assert path.read_text() == f"{nodes.keeper('w1')}\n"


@pytest.mark.parametrize("text", ["127.0.0.1 localhost\n", "12 34\n"])
def test_a_file_that_holds_something_else_is_left_alone(nodes: Nodes, tmp_path: Path, text: str) -> None:
    path = tmp_path / "hosts"
    path.write_text(text)
    assert f"the pid file {path} holds no process id" in start(nodes, path, code=1)
    assert path.read_text() == text


def test_what_is_no_file_is_told(nodes: Nodes, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert f"the pid file {path} is no file that can be written" in start(nodes, path, code=1)
    assert path.is_fifo()


def test_an_empty_one_is_taken(nodes: Nodes, tmp_path: Path) -> None:
    path = tmp_path / "w1.pid"
    path.write_text("")
    start(nodes, path)
    assert path.read_text() == f"{nodes.keeper('w1')}\n"


def test_one_that_somebody_has_put_in_its_place_is_not_removed(nodes: Nodes, tmp_path: Path) -> None:
    path = tmp_path / "w1.pid"
    start(nodes, path)
    path.write_text("1\n")
    nodes.run("stopwait", "w1")
    assert path.read_text() == "1\n"
