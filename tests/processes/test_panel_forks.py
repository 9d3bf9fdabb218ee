"""What remote control does by processes: children that heed directives, and copies that do what takes long."""

from __future__ import annotations

import os
import time

import pytest

from multi import App
from multi.loop import Loop
from multi.worker.directives import Content, Directives, heed
from multi.worker.panel import apart
from multi.worker.panel.apart import Apart


def test_directives_reach_a_process_that_was_forked_before() -> None:
    app = App("directed", broker="memory://", set_as_current=False)

    @app.task(name="t", rate_limit="1/h", time_limit=9)
    def t() -> None: ...

    page = Directives()
    version = page.version
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        while page.version == version:
            time.sleep(0.001)
        _, content = page.read()
        heed(app, content, page.turns)
        os.write(writer, f"{t.rate_limit} {t.time_limit} {t.soft_time_limit} {app.turns[('t', 0.1)].pause}".encode())
        os._exit(0)
    page.write(Content(rates={"t": ("10/s", 3)}, times={"t": (2.0, 5.0)}))
    assert os.read(reader, 100) == b"10/s 5.0 2.0 0.1"
    os.waitpid(pid, 0)
    for end in (reader, writer):
        os.close(end)


def test_what_is_done_apart_is_bounded_and_told_when_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, told = Loop(), list[bytes | None]()
    monkeypatch.setattr(apart, "MOST", 3)
    copies = Apart(loop)

    def fail() -> bytes:
        raise ValueError("no")

    def stay() -> bytes:
        time.sleep(600)
        return b""

    copies.do(lambda: b"x" * 300_000, told.append, 30.0)
    copies.do(fail, told.append, 30.0)
    copies.do(stay, told.append, 0.05)
    copies.do(lambda: b"third", told.append, 30.0)
    copies.do(lambda: str(os.getpid()).encode(), told.append, 30.0)
    copies.do(lambda: b"too many", told.append, 30.0)
    assert told == [None]
    deadline = time.monotonic() + 30
    while len(told) < 6 and time.monotonic() < deadline:
        loop.turn(0.1)
    loop.close()
    assert told.count(None) == 3
    done = [each for each in told if each is not None]
    assert {b"x" * 300_000, b"third"} < {*done}
    assert len(done) == 3
    assert str(os.getpid()).encode() not in done
