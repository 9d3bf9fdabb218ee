"""The turns of a rate limit, shared by a worker and its children."""

from __future__ import annotations

import fcntl
import os
import signal
import time

import pytest
from support.wait import until

from multi.connections.turns import Turns
from multi.testing.rig import in_child


def test_processes_forked_later_share_the_turns() -> None:
    turns = Turns(60.0)
    assert turns.reserve("one") == 0
    in_child(lambda: check(turns, "two", 60))
    assert turns.reserve("three") == pytest.approx(120, abs=5)
    # who was given a turn by one process has it with the others
    in_child(lambda: check(turns, "three", 120))
    assert turns.reserve("two") == pytest.approx(60, abs=5)


def check(turns: Turns, member: str, wait: float) -> None:
    assert turns.reserve(member) == pytest.approx(wait, abs=5)


def test_a_process_that_dies_with_the_lock_holds_up_nobody() -> None:
    turns = Turns(60.0)
    pid = os.fork()
    if pid == 0:
        fcntl.lockf(turns._file.descriptor, fcntl.LOCK_EX, 1)
        time.sleep(60)
        os._exit(1)
    try:
        until(lambda: _held(turns), 10)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert turns.reserve("one") == 0


def _held(turns: Turns) -> bool:
    try:
        fcntl.lockf(turns._file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
    except OSError:
        return True
    fcntl.lockf(turns._file.descriptor, fcntl.LOCK_UN, 1)
    return False


def test_the_rate_holds_when_more_wait_than_are_remembered() -> None:
    pause = 100.0
    turns = Turns(pause)
    waits = [turns.reserve(f"m{number}") for number in range(6000)]
    assert waits == pytest.approx([number * pause for number in range(6000)], abs=pause)
    again = [turns.reserve(f"m{number}") for number in range(100, 6000)]
    last = 5999.5 * pause - pause
    kept = sum(wait < last for wait in again)
    assert 3000 < kept <= 4096
    # the others take new turns, behind all that were given
    new = [6000 * pause + number * pause for number in range(5900 - kept)]
    assert sorted(wait for wait in again if wait > last) == pytest.approx(new, abs=pause)
