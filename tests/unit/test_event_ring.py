"""The ring through which a child tells its worker: nothing is torn, what doesn't fit is dropped and counted."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator

import pytest

from multi.worker.events.ring import ASLEEP, PLENTY, Ring, Rings, keyed, unkeyed


@pytest.fixture
def bell() -> Iterator[int]:
    bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    yield bell
    os.close(bell)


def rung(bell: int) -> bool:
    try:
        return os.eventfd_read(bell) > 0
    except BlockingIOError:
        return False


def test_what_is_written_is_taken_whole_and_in_order_however_the_ring_turns(bell: int) -> None:
    chance = random.Random(7)
    ring = Ring(bell, 1000)
    written: list[bytes] = []
    taken = b""
    for number in range(5000):
        line = b"%d %s\n" % (number, b"x" * chance.randrange(150))
        before = ring.dropped
        ring.write(line)
        if ring.dropped == before:
            written.append(line)
        if chance.random() < 0.4:
            piece = ring.take(chance.choice((1, 100, 400, 10_000)))
            assert piece.endswith(b"\n") or not piece
            taken += piece
    while piece := ring.take(300):
        taken += piece
    assert taken == b"".join(written)
    assert ring.empty
    assert 0 < ring.dropped == 5000 - len(written)
    assert len(written) > 1000


def test_a_full_ring_keeps_what_came_first_and_counts_the_rest(bell: int) -> None:
    ring = Ring(bell, 100)
    for number in range(30):
        ring.write(b"%9d\n" % number)
    ring.write(b"a\nb\n", 2)
    assert ring.dropped == 22
    assert ring.take(1000) == b"".join(b"%9d\n" % number for number in range(10))
    ring.write(b"x" * 200 + b"\n")  # never fits
    assert ring.dropped == 23
    ring.write(b"more\n")
    assert ring.take(1000) == b"more\n"


def test_the_worker_is_woken_when_it_sleeps_and_when_there_is_plenty(bell: int) -> None:
    ring = Ring(bell)
    ring.write(b"one\n")
    assert rung(bell)
    ring.write(b"two\n")
    assert not rung(bell)  # it is awake
    line = b"x" * 999 + b"\n"
    for _ in range(PLENTY // len(line) - 1):
        ring.write(line)
    assert not rung(bell)
    ring.write(line)
    ring.write(line)
    assert ring.plenty and rung(bell)
    ring.write(line)
    assert not rung(bell)
    while ring.take(PLENTY):
        pass
    ring.header[ASLEEP] = 1
    ring.write(b"three\n")
    assert rung(bell) and not ring.header[ASLEEP]


def test_a_line_outlives_the_child_that_wrote_it(bell: int) -> None:
    rings = Rings(bell)
    pid = os.fork()
    if not pid:
        rings.tasks.write(b"last words\n")
        rings.sink()("shop.paid", "w1@h", b'{"a": "b c"}')
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert rings.tasks.take(1000) == b"last words\n"
    assert unkeyed(rings.own.take(1000)) == ("shop.paid", "w1@h", b'{"a": "b c"}')


def test_a_process_that_a_task_forks_does_not_write_into_the_ring(bell: int) -> None:
    rings = Rings(bell)
    sink = rings.sink()
    pid = os.fork()
    if not pid:
        sink("shop.paid", "w1@h", b"{}")
        os._exit(0)
    os.waitpid(pid, 0)
    assert rings.own.empty
    sink("shop.paid", "w1@h", b"{}")
    assert rings.own.take(1000) == keyed("shop.paid", "w1@h", b"{}")
    rings.tasks.close()
    rings.own.close()
