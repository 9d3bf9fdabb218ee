"""The loop: descriptors and timers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from time import monotonic

import pytest

from multi.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_a_readable_descriptor_calls_back(loop: Loop, pipe: tuple[int, int]) -> None:
    heard: list[bytes] = []
    loop.on_readable(pipe[0], lambda: heard.append(os.read(pipe[0], 10)))
    os.write(pipe[1], b"hello")
    loop.turn(1)
    assert heard == [b"hello"]


def test_reading_and_writing_of_one_descriptor_are_watched_apart(loop: Loop) -> None:
    import socket

    here, there = socket.socketpair()
    calls: list[str] = []
    loop.on_readable(here.fileno(), lambda: calls.append("read"))
    loop.on_writable(here.fileno(), lambda: calls.append("write"))
    loop.turn(1)
    assert calls == ["write"]
    loop.on_writable(here.fileno(), None)
    there.send(b"x")
    loop.turn(1)
    assert calls == ["write", "read"]
    loop.forget(here.fileno())
    loop.turn(0.01)
    assert calls == ["write", "read"]
    here.close()
    there.close()


def test_a_callback_may_take_back_another_one_of_the_same_turn(loop: Loop) -> None:
    import socket

    here, there = socket.socketpair()
    calls: list[str] = []

    def read() -> None:
        calls.append("read")
        loop.on_writable(here.fileno(), None)

    loop.on_readable(here.fileno(), read)
    loop.on_writable(here.fileno(), lambda: calls.append("write"))
    there.send(b"x")
    loop.turn(1)
    assert calls == ["read"]
    loop.forget(here.fileno())
    here.close()
    there.close()


def test_a_callback_may_forget_another_descriptor_of_the_same_turn(loop: Loop) -> None:
    ends = [os.pipe() for _ in range(2)]
    calls: list[int] = []

    def read(number: int) -> None:
        calls.append(number)
        loop.forget(ends[1 - number][0])

    for number, (reading, writing) in enumerate(ends):
        loop.on_readable(reading, lambda number=number: read(number))  # type: ignore[misc]
        os.write(writing, b"x")
    loop.turn(1)
    assert len(calls) == 1
    for end in (*ends[0], *ends[1]):
        loop.forget(end)
        os.close(end)


def test_timers_come_in_the_order_of_their_times(loop: Loop) -> None:
    calls: list[str] = []
    loop.later(0.02, lambda: calls.append("late"))
    loop.later(0.0, lambda: calls.append("soon"))
    loop.later(0.03, loop.stop)
    loop.run()
    assert calls == ["soon", "late"]


def test_a_cancelled_timer_does_not_call(loop: Loop) -> None:
    calls: list[str] = []
    loop.later(0.0, lambda: calls.append("no")).cancel()
    loop.turn(0.01)
    assert calls == []


def test_every_repeats_until_it_is_cancelled(loop: Loop) -> None:
    calls: list[float] = []

    def tick() -> None:
        calls.append(monotonic())
        if len(calls) == 3:
            timer.cancel()
            loop.later(0.02, loop.stop)

    timer = loop.every(0.005, tick)
    loop.run()
    assert len(calls) == 3


def test_an_exception_of_a_callback_reaches_the_caller_of_run(loop: Loop) -> None:
    def fail() -> None:
        raise LookupError("told")

    loop.later(0, fail)
    with pytest.raises(LookupError, match="told"):
        loop.run()


def test_a_turn_waits_no_longer_than_it_is_told(loop: Loop) -> None:
    began = monotonic()
    loop.later(60, lambda: None)
    loop.turn(0.01)
    assert monotonic() - began < 5
