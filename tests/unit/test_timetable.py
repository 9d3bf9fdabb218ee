"""The schedule at run time, and how it is kept."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.beats import START, TASK, Clock, documents, make_app, make_beat

from multi import App, crontab, schedule, solar
from multi.app.schedules.entry import Entry
from multi.app.timetable.document import ADDED, CODE, Claim, Document, define, read, restore, write
from multi.app.timetable.shelves import shelf
from multi.connections.memory import forget
from multi.documents import Change
from multi.errors import ConfigurationError, EntryNotFound

URL = "memory://timetable"
NOW = datetime.fromtimestamp(START, UTC)


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    monkeypatch.setattr("multi.clock.now", lambda: NOW)
    entries = {
        "ten": {"schedule": 10.0, "args": (1,), "options": {"queue": "q"}},
        "daily": {"schedule": crontab(hour=7, minute=0, tz="Europe/Zurich")},
    }
    made = make_app(URL, entries)
    make_beat(made, Clock()).start()
    yield made
    forget(URL)


def names(app: App) -> list[str]:
    return [each.name for each in app.schedule.list()]


def test_what_there_is_is_listed_with_its_next_run(app: App) -> None:
    daily, ten = app.schedule.list()
    assert (daily.name, daily.task, daily.origin, daily.paused, daily.count, daily.last) == (
        *("daily", TASK, "code", False),
        *(0, None),
    )
    assert daily.next == datetime(2023, 11, 15, 6, 0, tzinfo=UTC)
    assert (ten.args, ten.options, ten.next) == ((1,), {"queue": "q"}, NOW + timedelta(seconds=10))
    assert app.schedule.get("ten") == ten


def test_entries_of_the_code_that_no_scheduler_has_taken_up_are_shown_as_new() -> None:
    with make_app("memory://new", {"ten": {"schedule": 10.0}}) as app:
        assert [(each.name, each.origin) for each in app.schedule.list()] == [("ten", "new")]
        assert app.schedule.get("ten").origin == "new"
        app.schedule.pause("ten")
        assert app.schedule.get("ten").paused
        assert app.schedule.get("ten").origin == "code"
    forget("memory://new")


def test_the_next_runs_of_all_come_in_their_order(app: App) -> None:
    app.schedule.set("sun", TASK, solar("solar_noon", 47.4, 8.5)) if _has_ephem() else None
    app.schedule.set("four", TASK, 4.0)
    seconds = [((due - NOW).total_seconds(), name) for due, name in app.schedule.next(count=5)]
    assert seconds == [(4, "four"), (8, "four"), (10, "ten"), (12, "four"), (16, "four")]
    assert [due for due, _ in app.schedule.next("daily", 2)] == [
        datetime(2023, 11, 15, 6, 0, tzinfo=UTC),
        datetime(2023, 11, 16, 6, 0, tzinfo=UTC),
    ]
    later = app.schedule.next("ten", 1, since=NOW + timedelta(seconds=25))
    assert later == [(NOW + timedelta(seconds=30), "ten")]
    app.schedule.pause("ten")
    assert app.schedule.next("ten") == []
    with pytest.raises(TypeError, match=r"an entry's name, not 2; .* next\(count=2\)"):
        app.schedule.next(2)  # type: ignore[arg-type]


def _has_ephem() -> bool:
    try:
        import ephem  # noqa: F401
    except ImportError:
        return False
    return True


def test_an_entry_is_added_changed_and_removed(app: App) -> None:
    made = app.schedule.set("new", TASK, crontab(minute=5), kwargs={"k": 1}, missed="skip")
    assert (made.origin, made.missed, made.kwargs) == ("added", "skip", {"k": 1})
    changed = app.schedule.set("new", args=[2])
    assert (list(changed.args), changed.kwargs, changed.missed, changed.task) == ([2], {"k": 1}, "skip", TASK)
    assert changed.schedule == made.schedule
    app.schedule.set("new", schedule=timedelta(minutes=2))
    assert documents(app)["new"].what.schedule == {
        "v": 1,
        "kind": "interval",
        "with": {"run_every": 120.0, "relative": False},
    }
    app.schedule.remove("new")
    assert names(app) == ["daily", "ten"]


def test_another_task_object_is_taken_as_its_name(app: App) -> None:
    assert app.schedule.set("obj", app.tasks[TASK], 5).task == TASK


def test_a_change_of_when_begins_anew_and_one_of_what_does_not(app: App) -> None:
    place = shelf(app)
    value = place.keeps.documents(place.name)[1]["ten"]
    document = read(value)
    assert document is not None
    document.at -= 5
    place.keeps.change(place.name, [Change("ten", value, write(document))])
    app.schedule.set("ten", args=[3])
    assert documents(app)["ten"].at == START - 5
    app.schedule.set("ten", schedule=20.0)
    assert documents(app)["ten"].at == START


def test_pausing_is_kept_and_resuming_makes_up_for_nothing(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    app.schedule.pause("ten", "daily")
    assert [each.paused for each in app.schedule.list()] == [True, True]
    monkeypatch.setattr("multi.clock.now", lambda: NOW + timedelta(seconds=95))
    app.schedule.resume("ten")
    assert app.schedule.get("ten").next == NOW + timedelta(seconds=105)
    app.schedule.resume("ten")
    assert documents(app)["ten"].at == START + 95


def test_an_entry_is_sent_at_once_beside_its_schedule(app: App) -> None:
    sent = app.schedule.run("ten")
    (seen,) = app.broker.peek("q", 9)
    assert seen.message is not None
    assert seen.message.headers["id"] == sent.id
    assert seen.message.headers["periodic_task_name"] == "ten"
    assert documents(app)["ten"].count == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"task": TASK}, "schedule is missing"),
        ({"schedule": 5}, "task is missing"),
        ({"task": TASK, "schedule": 5, "colour": "red"}, "'colour' is no key of an entry"),
        ({"task": TASK, "schedule": "* * *"}, "new"),
        ({"task": TASK, "schedule": 5, "options": {"countdwn": 3}}, "countdwn"),
        ({"task": TASK, "schedule": 5, "args": [object()]}, "object"),
        ({"task": TASK, "schedule": 5, "missed": "never"}, "'once', 'skip', 'all'"),
    ],
)
def test_what_makes_no_entry_is_refused(app: App, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        app.schedule.set("new", **given)
    assert names(app) == ["daily", "ten"]


@pytest.mark.parametrize("name", ["", "  "])
def test_an_entry_has_a_name(app: App, name: str) -> None:
    with pytest.raises(ConfigurationError, match="the name of an entry is empty; give it one"):
        app.schedule.set(name, TASK, 5)
    assert names(app) == ["daily", "ten"]


def test_arguments_that_do_not_fit_are_refused_where_the_task_is_known(app: App) -> None:
    @app.task(name="proj.add")
    def add(a: int, b: int) -> None: ...

    with pytest.raises(ConfigurationError, match="the entry 'new': its task can't be called so: .*'b'"):
        app.schedule.set("new", add, 5, args=[1])
    assert names(app) == ["daily", "ten"]
    assert app.schedule.set("new", "elsewhere.add", 5, args=[1]).args == (1,)


def test_a_schedule_that_cant_be_written_down_belongs_into_the_code(app: App) -> None:
    class Own(schedule):
        def __init__(self, when: object) -> None:
            super().__init__(1.0)
            self.when = when

    with pytest.raises(ConfigurationError, match="have it in the code's beat_schedule"):
        app.schedule.set("own", TASK, Own(object()))


def test_an_unknown_name_is_an_error_that_names_the_near_one(app: App) -> None:
    for act in (app.schedule.get, app.schedule.pause, app.schedule.resume, app.schedule.remove, app.schedule.run):
        with pytest.raises(EntryNotFound, match="there is no entry 'tenn' in the schedule; did you mean 'ten'?"):
            act("tenn")
    with pytest.raises(KeyError):
        app.schedule.next("tenn")


def test_a_document_comes_back_as_it_was_written(app: App) -> None:
    entry = Entry(
        "e",
        TASK,
        crontab(minute="*/5", tz="Asia/Tokyo"),
        (1, "ü", [2.5]),
        {"d": NOW},
        {"expires": timedelta(minutes=1)},
    )
    what = define(entry)
    document = Document(what, START + 0.123456, "me:1", ADDED, START, 3, "id", True, "why", Claim([START], "me", START))
    assert read(write(document)) == document
    back = restore("e", what, {}, app)
    assert back is not None
    assert back.schedule == entry.schedule
    assert (list(back.args), back.kwargs, back.options) == ([1, "ü", [2.5]], {"d": NOW}, {"expires": 60.0})
    assert define(back) == what


def test_what_only_code_can_say_needs_that_code(app: App) -> None:
    entry = Entry("e", TASK, schedule(5.0, nowfun=lambda: NOW), (object(),))
    what = define(entry)
    assert (what.schedule, what.body) == (None, "")
    assert restore("e", what, {}, app) is None
    assert restore("e", what, {"e": entry}, app) is entry


def test_a_document_of_another_version_is_left_alone(app: App, caplog: pytest.LogCaptureFixture) -> None:
    place = shelf(app)
    value = place.keeps.documents(place.name)[1]["ten"]
    place.keeps.change(place.name, [Change("ten", value, b'{"new": "form"}')])
    beat = make_beat(app, Clock())
    beat.tick()
    assert place.keeps.documents(place.name)[1]["ten"] == b'{"new": "form"}'
    assert "ten was written by another version of multi" in caplog.text
    assert names(app) == ["daily", "ten"]
    with pytest.raises(ConfigurationError, match="another version"):
        app.schedule.pause("ten")


def test_an_entry_of_the_code_that_was_added_before_is_the_codes(app: App) -> None:
    app.schedule.set("later", TASK, 5.0)
    app.conf.beat_schedule = {**app.conf.beat_schedule, "later": {"task": TASK, "schedule": 5.0}}
    make_beat(app, Clock()).start()
    assert documents(app)["later"].origin == CODE


@pytest.mark.parametrize(
    ("main", "setting", "name"),
    [("proj", None, "beat:proj"), (None, None, "beat:default"), ("proj", "other", "beat:other")],
)
def test_schedulers_of_one_name_share_a_schedule(main: str | None, setting: str | None, name: str) -> None:
    made = App(main, broker=URL, set_as_current=False, beat_schedule_name=setting)
    assert shelf(made).name == name
