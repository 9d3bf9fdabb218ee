"""Schedulers while the clock on the wall is set: each run once, nothing left out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from support.beats import Clock, make_app, make_beat, run_until, sent

from multi import crontab, schedule
from multi.connections.memory import forget

URL = "memory://clocks"
ENTRIES = {
    "every five minutes": {"schedule": crontab("*/5")},
    "hourly": {"schedule": crontab(17)},
    "nightly": {"schedule": crontab(30, 2)},
    "in utc": {"schedule": crontab(30, 2, tz="UTC")},
    "ten minutes": {"schedule": 600},
    "on the hour": {"schedule": schedule(3600, relative=True)},
}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    forget(URL)


@pytest.mark.parametrize(
    ("change", "nightly"), [("2026-03-29T01:00", "2026-03-29T01:00"), ("2026-10-25T01:00", "2026-10-25T00:30")]
)
def test_two_schedulers_send_each_run_once_while_the_clock_is_set(change: str, nightly: str) -> None:
    at = datetime.fromisoformat(change).replace(tzinfo=UTC)
    clock = Clock((at - timedelta(hours=3, seconds=30)).timestamp())
    app = make_app(URL, ENTRIES, timezone="Europe/Zurich", beat_max_loop_interval=300)
    beats = [make_beat(app, clock) for _ in range(2)]
    for beat in beats:
        beat.start()
    run_until(beats, clock, (at + timedelta(hours=3)).timestamp())
    found = sent(app)
    assert set(found.values()) == {1}
    runs: dict[str, list[float]] = {name: sorted(due for entry, due in found if entry == name) for name in ENTRIES}
    for name, step in (("every five minutes", 300), ("hourly", 3600), ("ten minutes", 600), ("on the hour", 3600)):
        assert {other - one for one, other in pairwise(runs[name])} == {step}, name
        assert len(runs[name]) >= 6 * 3600 // step
    assert [datetime.fromtimestamp(due, UTC).isoformat()[:16] for due in runs["nightly"]] == [nightly]
    assert [datetime.fromtimestamp(due, UTC).isoformat()[11:16] for due in runs["in utc"]] == ["02:30"]
