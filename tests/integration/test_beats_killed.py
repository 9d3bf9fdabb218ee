"""Schedulers are killed at random moments, hundreds of them, while others take over: every due run is sent exactly once."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.beats import START, Accelerated, documents, due_times, kill, make_app, make_beat, sent

from multi import App, crontab

KILLS = 500
SPEED = 200.0
SCHEDULE = {
    "two": {"schedule": 2.0, "missed": "all"},
    "seven": {"schedule": 7.0, "missed": "all", "args": ("a", 1), "options": {"priority": 5}},
    "minute": {"schedule": crontab(), "missed": "all"},
    "five": {"schedule": crontab(minute="*/5", tz="Europe/Zurich"), "missed": "all"},
}


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    return f"sqlite:///{tmp_path}/q.db?create=all"


def finish(make: App, clock: float) -> None:
    """Have a last scheduler send what is still due at that moment."""
    last = make_beat(make, lambda: clock)
    while last.tick() == 0:
        pass


def check(app: App, begin: Mapping[str, float], end: float) -> int:
    """Every due run since `begin` was sent once, and counted; how many there were."""
    found, wanted = sent(app), due_times(app, begin, end)
    assert [run for run, times in found.items() if times > 1] == [], "sent twice"
    assert sorted(wanted - found) == [], "never sent"
    assert sorted(found - wanted) == [], "never due"
    counts = Counter(name for name, _ in found.elements())
    assert {name: document.count for name, document in documents(app).items()} == dict(counts)
    return wanted.total()


def test_each_due_run_is_sent_once_however_many_schedulers_are_killed(url: str) -> None:
    seed = int(os.environ.get("MULTI_SEED") or random.randrange(10**6))
    print(f"MULTI_SEED={seed}")  # noqa: T201 - shown where the test fails
    chance = random.Random(seed)
    clock = Accelerated(SPEED)

    def make() -> App:
        return make_app(url, SCHEDULE)

    with make() as app:
        make_beat(app, clock).start()
        begin = {name: document.at for name, document in documents(app).items()}
    beats = [clock.fork(make) for _ in range(3)]
    try:
        for _ in range(KILLS):
            time.sleep(chance.expovariate(1 / 0.012))
            number = chance.randrange(len(beats))
            assert kill(beats[number]) == -signal.SIGKILL, "it had ended by itself"
            beats[number] = clock.fork(make)
    finally:
        for pid in beats:
            kill(pid)
    end = clock()
    with make() as app:
        finish(app, end)
        assert check(app, begin, end) > (end - START) / 2, "there was something to be sent"


def test_three_schedulers_that_die_in_turn_leave_nothing_out(url: str) -> None:
    """One after the other until none is left, under load: the last runs are those of the last one."""
    clock = Accelerated(20.0)
    schedule = {f"e{number}": {"schedule": 1.0 + number / 7, "missed": "all"} for number in range(60)}

    def make() -> App:
        return make_app(url, schedule)

    with make() as app:
        make_beat(app, clock).start()
        begin = {name: document.at for name, document in documents(app).items()}
    beats = [clock.fork(make) for _ in range(3)]
    try:
        while beats:
            time.sleep(0.4)
            kill(beats.pop(0))
    finally:
        for pid in beats:
            kill(pid)
    end = clock()
    with make() as app:
        finish(app, end)
        assert check(app, begin, end) > 60 * 3
