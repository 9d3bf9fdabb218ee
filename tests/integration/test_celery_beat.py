"""Celery's beat and ours: its file is taken over, and its workers run what our schedulers send."""

from __future__ import annotations

import dbm.dumb
import os
import pickle
import shelve
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import celery
import celery.schedules
import pytest
from celery.beat import PersistentScheduler
from support.beats import START, TASK, Clock, documents, make_app, make_beat, run_until, sent
from support.mixed import Fleet
from support.wait import until

from multi import crontab
from multi.app.schedules.entries import entries_of
from multi.app.timetable.shelves import shelf
from multi.beat.beat import Beat
from multi.beat.migration import is_there, last_runs

Maker = Callable[..., Fleet]
COUNTS = {"hourly": 7, "ten": 8, "sun": 9, "celery.backend_cleanup": 1}


def celerys_file(path: Path, last: datetime, zone: str) -> None:
    """What Celery's beat leaves behind."""
    app = celery.Celery("proj", broker="memory://", set_as_current=False)
    app.conf.timezone = zone
    app.conf.beat_schedule = {
        "hourly": {"task": TASK, "schedule": celery.schedules.crontab(minute=0), "args": (1,)},
        "ten": {"task": TASK, "schedule": timedelta(seconds=10), "options": {"expires": timedelta(seconds=5)}},
        "sun": {"task": TASK, "schedule": celery.schedules.schedule(3.0)},
    }
    beat = PersistentScheduler(app=app, schedule_filename=str(path), lazy=True)
    beat.setup_schedule()
    for name, entry in beat.schedule.items():
        entry.last_run_at = last.astimezone(app.timezone)
        entry.total_run_count = COUNTS[name]
    beat.sync()
    beat.close()
    app.close()


@pytest.mark.parametrize("zone", ["UTC", "Europe/Zurich", "Asia/Kolkata"])
def test_last_runs_and_counts_of_celerys_file_are_taken_over_once(tmp_path: Path, zone: str) -> None:
    path = tmp_path / "celerybeat-schedule"
    last = datetime.fromtimestamp(START - 2 * 3600, UTC)
    celerys_file(path, last, zone)
    assert is_there(str(path))
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    found = last_runs(str(path))
    assert found == {name: (last.timestamp(), count) for name, count in COUNTS.items()}
    schedule = {"hourly": {"schedule": crontab(minute=0)}, "ten": {"schedule": 10.0}, "new": {"schedule": 10.0}}
    clock = Clock()
    with make_app(f"sqlite:///{tmp_path}/q.db?create=all", schedule) as app:
        run_until([make_beat(app, clock, former=found)], clock, START)
        # two hours have passed since Celery's beat stopped: each of its entries is made up for, once
        assert {name for name, _ in sent(app)} == {"hourly", "ten"}
        kept = documents(app)
        assert (kept["hourly"].count, kept["ten"].count, kept["new"].count) == (8, 9, 0)
        run_until([make_beat(app, clock, former=found)], clock, START + 1)
        assert len(sent(app)) == 2, "and only when they are new here"
    assert {file: file.read_bytes() for file in before} == before, "the file is left alone"


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch /nowhere-at-all; exit 7",)


def test_nothing_in_the_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    path = str(tmp_path / "s")
    with shelve.open(path) as file:
        file["entries"] = {"bad": Evil(), "worse": [Evil()], "text": "no entry"}
    monkeypatch.setattr(os, "system", ran.append)
    assert last_runs(path) == {}
    assert ran == []


def test_every_kind_of_file_is_read_and_a_broken_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "celerybeat-schedule"
    last = datetime.fromtimestamp(START, UTC)
    celerys_file(path, last, "UTC")
    wanted = last_runs(str(path))
    with dbm.open(str(path), "r") as file:
        entries = file[b"entries"]
    other = str(tmp_path / "other")
    with dbm.dumb.open(other, "n") as plain:
        plain[b"entries"] = entries
    assert is_there(other)
    assert not os.path.exists(other)
    assert last_runs(other) == wanted
    with dbm.dumb.open(str(tmp_path / "cut"), "n") as plain:
        plain[b"entries"] = entries[: len(entries) // 2]
    with pytest.raises(ValueError, match="can't be read"):
        last_runs(str(tmp_path / "cut"))
    (tmp_path / "text").write_text("no database\n" * 100)
    with pytest.raises(ValueError, match="can't be read"):
        last_runs(str(tmp_path / "text"))
    index = tmp_path / "cut.dir"
    index.write_text(index.read_text()[:6])
    with pytest.raises(ValueError, match="cut can't be read: it is damaged"):
        last_runs(str(tmp_path / "cut"))
    assert pickle.loads(pickle.dumps(wanted)) == wanted


def test_workers_of_both_sides_run_what_our_scheduler_sends(make_fleet: Maker) -> None:
    fleet = make_fleet()
    for engine in ("celery", "multi"):
        fleet.worker(engine, engine, engine, "-c", "1").wait_ready()
    app = fleet.clients["multi"]
    app.conf.beat_schedule = {
        engine: {
            "task": "fleet.note",
            "schedule": 0.3,
            "kwargs": {"name": f"by-{engine}"},
            "options": {"queue": engine, "expires": 60},
        }
        for engine in ("celery", "multi")
    }
    beat = Beat(app, shelf(app), entries_of(app))

    def noted() -> bool:
        time.sleep(min(beat.tick(), 0.05))
        return all(len(fleet.notes(f"by-{engine}")) >= 2 for engine in ("celery", "multi"))

    until(noted, 30, what="both have run it")
