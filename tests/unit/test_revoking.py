"""The table of what is revoked, the words of remote control, and what becomes of a revoked message."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from multi import App, signals
from multi.app.control import place_of
from multi.connections import memory
from multi.revoking import RevokedTable, of_stamps, of_task
from multi.testing.worker import LocalWorker


@pytest.fixture
def app(tmp_path: Any) -> Iterator[App]:
    url = f"memory://{tmp_path.name}"
    yield App("proj", broker=url, backend=url, set_as_current=False)
    memory.forget(url)


def test_the_table_says_of_nothing_that_it_is_revoked_until_something_is() -> None:
    table = RevokedTable(100)
    assert table.memory[0] == 0
    assert not table.holds("a", {})
    table.add({of_task("a"): 10.0})
    assert table.memory[0] == 1
    assert table.holds("a", {})
    assert not table.holds("b", {})


def test_stamps_match_by_value_one_or_several() -> None:
    table = RevokedTable(100)
    table.add(dict.fromkeys(of_stamps({"customer": ["c1", 7]}), 10.0))
    assert table.holds("x", {"stamps": {"customer": "c1"}})
    assert table.holds("x", {"stamps": {"customer": ["c9", 7]}})
    assert not table.holds("x", {"stamps": {"customer": "c2", "other": "c1"}})
    assert not table.holds("x", {"stamps": None})


def test_marks_end_and_of_too_many_the_oldest_go() -> None:
    table = RevokedTable(50)
    table.add({of_task(str(number)): float(number) for number in range(1, 501)})
    assert len(table) <= 50
    assert table.holds("500", {})
    assert not table.holds("1", {})
    table.forget(499.5)
    assert len(table) == 1
    assert table.holds("500", {})
    assert not table.holds("499", {})
    table.forget(501)
    assert table.memory[0] == 0


def test_a_forked_child_sees_what_its_worker_takes_up_later() -> None:
    table = RevokedTable(100)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(reader, 1)
        os._exit(0 if table.memory[0] and table.holds("late", {}) else 1)
    table.add({of_task(str(number)): 10.0 for number in range(50)} | {of_task("late"): 10.0})
    os.write(writer, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(reader)
    os.close(writer)


def test_a_revoked_task_is_not_run_by_a_worker_of_a_test_and_the_signal_tells_of_it(app: App) -> None:
    ran: list[int] = []
    told: list[Any] = []

    @app.task
    def note(number: int) -> None:
        ran.append(number)

    def tell(request: Any, **facts: Any) -> None:
        told.append((request.id, facts["terminated"], facts["expired"], facts["signum"]))

    signals.task_revoked.connect(tell)
    try:
        first, second = note.delay(1), note.delay(2)
        first.revoke()
        outcomes = LocalWorker(app).drain()
    finally:
        signals.task_revoked.disconnect(tell)
    assert [outcome.state for outcome in outcomes] == ["REVOKED", "SUCCESS"]
    assert ran == [2]
    assert (first.state, second.state) == ("REVOKED", "SUCCESS")
    assert told == [(first.id, False, False, None)]


def test_a_group_is_revoked_as_a_whole(app: App) -> None:
    from multi import group

    @app.task
    def note(number: int) -> None:
        raise AssertionError("it runs")

    result = group(note.s(number) for number in range(3)).apply_async()
    result.revoke()
    assert [outcome.state for outcome in LocalWorker(app).drain()] == ["REVOKED"] * 3


def kept(app: App) -> list[str]:
    """The marks that are kept for workers that come later."""
    place = place_of(app)
    assert place is not None
    return sorted(place.revoked())


def test_the_marks_stay_as_long_and_are_as_many_as_the_environment_says(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_WORKER_REVOKES_MAX", "2")
    for task_id in "abc":
        app.control.revoke(task_id)
    assert kept(app) == ["id:b", "id:c"]
    monkeypatch.setenv("CELERY_WORKER_REVOKE_EXPIRES", "nonsense")
    app.control.revoke("d")
    assert kept(app) == ["id:c", "id:d"]


def test_what_only_some_workers_are_told_is_not_kept_for_all(app: App) -> None:
    app.control.revoke("a", destination=["w1@host"])
    assert kept(app) == []


@pytest.mark.parametrize("wrong", [None, 5, "", [], [None], ["x", ""], b"x", {"x": 1}])
def test_what_names_no_task_is_refused(app: App, wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="revoke takes the id of a task, or several of them, not"):
        app.control.revoke(wrong)


@pytest.mark.parametrize("wrong", [None, 5, "a=b", {}, [], {"a": None}, {"a": []}])
def test_what_names_no_stamp_is_refused(app: App, wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="stamp"):
        app.control.revoke_by_stamped_headers(wrong)
