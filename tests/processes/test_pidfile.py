"""The pid file: written, held, removed, and never somebody else's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.wait import until

from multi.errors import NodeError
from multi.worker.pidfile import PidFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "w1.pid"


def test_it_holds_our_number_and_goes_with_us(path: Path) -> None:
    pidfile = PidFile(str(path))
    pidfile.acquire()
    assert path.read_text() == f"{os.getpid()}\n"
    pidfile.release()
    assert not path.exists()
    pidfile.release()


def test_a_living_owner_is_left_alone(path: Path) -> None:
    program = (
        "import sys; from multi.worker.pidfile import PidFile; PidFile(sys.argv[1]).acquire(); "
        "print('held', flush=True); sys.stdin.read()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "held\n"
    with pytest.raises(NodeError, match=f"belongs to process {owner.pid}, which is running: this node runs already"):
        PidFile(str(path)).acquire()
    assert path.read_text() == f"{owner.pid}\n"
    owner.kill()
    owner.communicate()
    assert path.exists()
    PidFile(str(path)).acquire()
    assert path.read_text() == f"{os.getpid()}\n"


def test_a_stale_file_whose_number_belongs_to_another_process_now_is_taken_over(path: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        path.write_text(f"{stranger.pid}\n")
        long_ago = time.time() - 3600
        os.utime(path, (long_ago, long_ago))
        pidfile = PidFile(str(path))
        pidfile.acquire()
        assert path.read_text() == f"{os.getpid()}\n"
        pidfile.release()
        assert stranger.poll() is None
    finally:
        stranger.communicate()


def test_a_number_that_belongs_to_some_other_program_is_stale_however_old_that_is(path: Path) -> None:
    stranger = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        path.write_text(f"{stranger.pid}\n")
        pidfile = PidFile(str(path))
        pidfile.acquire()
        assert path.read_text() == f"{os.getpid()}\n"
        pidfile.release()
    finally:
        stranger.communicate()


def test_a_living_worker_of_celery_which_takes_no_lock_is_left_alone(path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()", "celery"], stdin=subprocess.PIPE)
    until(lambda: Path(f"/proc/{other.pid}/cmdline").read_text(), what="it has its own command line")
    try:
        path.write_text(f"{other.pid}\n")
        with pytest.raises(NodeError, match=f"process {other.pid}"):
            PidFile(str(path)).acquire()
        assert path.read_text() == f"{other.pid}\n"
    finally:
        other.communicate()


@pytest.mark.parametrize("content", ["", "nonsense\n", "999999999\n"])
def test_what_is_no_number_of_a_process_is_taken_over(path: Path, content: str) -> None:
    path.write_text(content)
    pidfile = PidFile(str(path))
    pidfile.acquire()
    assert path.read_text() == f"{os.getpid()}\n"
    pidfile.release()


def test_a_file_that_somebody_put_in_its_place_is_not_removed(path: Path) -> None:
    pidfile = PidFile(str(path))
    pidfile.acquire()
    path.unlink()
    path.write_text("1\n")
    pidfile.release()
    assert path.read_text() == "1\n"


def test_children_neither_keep_the_lock_nor_remove_the_file(path: Path) -> None:
    pidfile = PidFile(str(path))
    pidfile.acquire()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        pidfile.release()
        os.read(read, 1)  # until the parent has looked
        os._exit(0)
    assert path.exists()
    pidfile.release()
    again = PidFile(str(path))
    again.acquire()
    again.release()
    os.close(write)
    os.waitpid(child, 0)
    os.close(read)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match=r"none/w1.pid can't be written: No such file or directory"):
        PidFile(str(tmp_path / "none" / "w1.pid")).acquire()
