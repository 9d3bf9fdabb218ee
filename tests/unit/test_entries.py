"""The entries of a schedule: `beat_schedule`, `add_periodic_task`, and all that is wrong with them at once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from multi import App, BeatLazyFunc, chain, crontab, group, schedule
from multi.app.schedules.entries import entries_of, read
from multi.app.schedules.entry import Entry
from multi.errors import ConfigurationError

NOON = datetime(2026, 6, 3, 12, tzinfo=UTC)


def an_app(**settings: Any) -> App:
    app = App("proj", set_as_current=False, **settings)

    @app.task(name="proj.tasks.add")
    def add(a: int, b: int = 0) -> int:
        return a + b

    @app.task(name="proj.tasks.report", serializer="pickle")
    def report(day: Any) -> None: ...

    return app


def wrong(app: App) -> str:
    with pytest.raises(ConfigurationError) as raised:
        read(app)
    return str(raised.value)


def test_entries_are_read_from_the_setting() -> None:
    app = an_app(
        timezone="Europe/Zurich",
        beat_schedule={
            "every minute": {"task": "proj.tasks.add", "schedule": crontab(minute="*/1"), "args": (10, 20)},
            "ten": {"task": "proj.tasks.add", "schedule": timedelta(seconds=10), "args": [1], "kwargs": {"b": 2}},
            "number": {
                "task": "proj.tasks.add",
                "schedule": 30.0,
                "args": (1,),
                "relative": True,
                "options": {"queue": "x", "expires": 5},
            },
            "line": {
                "task": "proj.tasks.add",
                "args": (1,),
                "schedule": "30 7 * * mon",
                "tz": "Asia/Tokyo",
                "missed": "all",
            },
            "off": {"task": "proj.tasks.add", "schedule": 1, "enabled": False, "args": None, "kwargs": {"a": 1}},
        },
    )
    entries, notes = read(app)
    assert notes == []
    assert list(entries) == ["every minute", "ten", "number", "line", "off"]
    assert entries["every minute"] == Entry("every minute", "proj.tasks.add", crontab("*/1"), (10, 20))
    assert entries["ten"].schedule == schedule(10) and entries["ten"].args == (1,) and entries["ten"].kwargs == {"b": 2}
    number = entries["number"].schedule
    assert isinstance(number, schedule) and number.relative and entries["number"].relative
    assert entries["number"].options == {"queue": "x", "expires": 5}
    assert str(entries["line"].schedule.tz) == "Asia/Tokyo" and entries["line"].missed == "all"
    assert str(entries["every minute"].schedule.tz) == "Europe/Zurich" and entries["every minute"].missed == "once"
    assert not entries["off"].enabled and entries["off"].args == ()


def test_entries_are_added_by_a_program() -> None:
    app = App("proj", set_as_current=False)

    @app.task(name="proj.tasks.add")
    def add(a: int, b: int = 0) -> int:
        return a + b

    assert app.add_periodic_task(10, add.s(1, 2)) == "proj.tasks.add(1, 2)"

    @app.on_after_configure.connect
    def configured(sender: App, **more: Any) -> None:
        sender.add_periodic_task(
            crontab(30, 7, "mon"), add.s(5), args=(3,), kwargs={"b": 1}, name="mondays", queue="x", missed="skip"
        )

    @app.on_after_finalize.connect
    def finalized(sender: App, **more: Any) -> None:
        sender.add_periodic_task("0 0 * * *", add, args=(4,), name="late", expires=60, tz="Asia/Tokyo", enabled=False)

    entries, _ = read(app)
    assert set(entries) == {"proj.tasks.add(1, 2)", "mondays", "late"}
    mondays, late = entries["mondays"], entries["late"]
    assert (mondays.args, mondays.kwargs, mondays.options, mondays.missed) == ((3, 5), {"b": 1}, {"queue": "x"}, "skip")
    assert (late.args, late.options, late.enabled, str(late.schedule.tz)) == (
        (4,),
        {"expires": 60},
        False,
        "Asia/Tokyo",
    )
    assert late.schedule == crontab(0, 0, tz="Asia/Tokyo")
    assert read(app).entries == entries, "asking again adds nothing"


def test_arguments_are_merged_as_celery_merges_them() -> None:
    celery = pytest.importorskip("celery")
    theirs = celery.Celery("proj", set_as_current=False)

    def add(a: int, b: int = 0) -> int:
        return a + b

    their: Any = theirs.task(name="proj.tasks.add")(add)
    app = an_app()
    ours = app.tasks["proj.tasks.add"]
    cases: list[tuple[Any, Any, Any]] = [
        ((), {}, {}),
        ((7,), {"b": 5}, {"queue": "y", "expires": 9}),
        ((), {"c": 1}, {}),
    ]
    for args, kwargs, options in cases:
        makes: list[Callable[[Any], Any]] = [
            lambda task: task.s(1, b=2).set(queue="x", priority=3),
            lambda task: task.si(1, b=2),
            lambda task: task,
        ]
        for make in makes:
            name = theirs.add_periodic_task(10, make(their), args, kwargs, **options)
            expected = theirs.conf.beat_schedule.pop(name)
            assert app.add_periodic_task(10, make(ours), args, kwargs, **options) == name
            found = read(app).entries[name]
            assert (found.task, found.args, found.kwargs) == (
                expected["task"],
                tuple(expected["args"]),
                expected["kwargs"],
            )
            assert found.options == expected["options"]
            app.added_entries.clear()


def test_the_same_entry_twice_is_one_and_another_of_its_name_is_an_error() -> None:
    app = an_app(beat_schedule={"a": {"task": "proj.tasks.add", "schedule": 10, "args": (1,)}})
    add = app.tasks["proj.tasks.add"]
    for _ in range(2):  # as when a module is imported under two names
        app.add_periodic_task(10, add.s(1))
    assert len(read(app).entries) == 2
    app.add_periodic_task(30, add.s(1))
    app.add_periodic_task(30, add.s(2), name="a")
    text = wrong(app)
    assert (
        "'proj.tasks.add(1)': two entries are called so: give each a name, as in add_periodic_task(…, name='…')" in text
    )
    assert "'a': two entries are called so: give one of them another name" in text


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = wrong(
        an_app(
            beat_schedule={
                "keys": {"task": "proj.tasks.add", "shedule": 10},
                "nothing": {},
                "text": "proj.tasks.add",
                "crontab": {"task": "proj.tasks.add", "schedule": "61 * * * *"},
                "zone": {"task": "proj.tasks.add", "schedule": crontab(), "tz": "Europe/Zurch"},
                "never": {"task": "proj.tasks.add", "schedule": 0},
                "missed": {"task": "proj.tasks.add", "schedule": 1, "missed": "twice", "enabled": "no"},
                "arguments": {
                    "task": "proj.tasks.add",
                    "schedule": 1,
                    "args": "abc",
                    "kwargs": {1: 2},
                    "options": ["x"],
                },
                "unsendable": {"task": "proj.tasks.add", "schedule": 1, "args": (1,), "kwargs": {"b": object()}},
                "option": {"task": "proj.tasks.add", "schedule": 1, "options": {"qeue": "x"}},
                "value": {"task": "proj.tasks.add", "schedule": 1, "options": {"priority": 1000}},
                "callable": {"task": print, "schedule": 1},
                7: {"task": "proj.tasks.add", "schedule": 1},
                " ": {"task": "proj.tasks.add", "schedule": 1},
            }
        )
    )
    assert text.startswith("beat_schedule: 19 things are wrong:")
    for line in (
        "'keys': 'shedule' is no key of an entry; did you mean 'schedule'?",
        "'keys': schedule is missing",
        "'nothing': task is missing",
        "'nothing': schedule is missing",
        "'text': it is 'proj.tasks.add'; an entry is a dictionary with task and schedule",
        "'crontab': crontab: minute: 61 is out of range; allowed are 0-59",
        "'zone': tz: no time zone is called 'Europe/Zurch'; did you mean 'Europe/Zurich'?",
        "'never': run_every: 0 seconds: an interval is longer than nothing",
        "'missed': missed is 'twice'; it is one of 'once', 'skip', 'all'",
        "'missed': enabled is 'no'; it is True or False",
        "'arguments': args is 'abc'; it is a tuple or list of the arguments",
        "'arguments': kwargs is {1: 2}; it is a dictionary with names as keys",
        "'arguments': options is ['x']; it is a dictionary",
        "'unsendable': the argument 'b' of proj.tasks.add, a object, can't be sent by the serializer 'json'",
        "'option': options: apply_async has no option 'qeue'; did you mean 'queue'?",
        "'value': options: priority",
        "'callable': task is <built-in function print>; it is the name of a task",
        "7: the name of an entry is a text",
        "' ': the name of an entry is empty; give it one",
    ):
        assert line in text


def test_arguments_are_tried_with_the_serializer_that_sends_them() -> None:
    given = {"task": "proj.tasks.report", "schedule": 1, "args": ({1, 2},)}
    assert read(an_app(beat_schedule={"a": given})).entries
    other = {**given, "options": {"serializer": "json"}}
    assert read(an_app(beat_schedule={"a": {**other, "args": ([1],)}})).entries
    assert "can't be sent by the serializer 'json'" in wrong(
        an_app(beat_schedule={"a": {**other, "args": (object(),)}})
    )


def test_canvases_are_sent_by_a_task() -> None:
    app = an_app()
    add = app.tasks["proj.tasks.add"]
    app.add_periodic_task(10, chain(add.s(1), add.s(2)), name="c")
    app.add_periodic_task(10, group(add.s(1), add.s(2)), name="g")
    text = wrong(app)
    assert "'c': task is a chain; it is one task's name: make a task of it that sends the chain" in text
    assert "'g': task is a group" in text


def test_what_is_no_task_is_refused_where_it_is_added() -> None:
    app = an_app()
    with pytest.raises(
        TypeError, match=r"'proj.tasks.add' is no task; .* \(one that .*: app.signature\('proj.tasks.add'\)\)"
    ):
        app.add_periodic_task(10, "proj.tasks.add")  # type: ignore[arg-type]  # wrong on purpose
    app.add_periodic_task(10, app.signature("elsewhere", (1,)))
    assert read(app).entries["elsewhere(1)"].args == (1,)


def test_a_task_that_is_not_here_is_remarked_with_the_nearest_name(caplog: pytest.LogCaptureFixture) -> None:
    near, far = {"task": "proj.tasks.ad", "schedule": 1}, {"task": "elsewhere", "schedule": 1}
    app = an_app(beat_schedule={"a": near, **{f"b{number}": far for number in range(5)}})
    with caplog.at_level(logging.WARNING):
        assert len(entries_of(app)) == 6
    assert caplog.messages == [
        "the entry 'a' sends 'proj.tasks.ad', which is no task of this app; did you mean 'proj.tasks.add'?",
        (
            "the entries 'b0', 'b1', 'b2' and 2 more send 'elsewhere', which is no task of this app; "
            "it is sent all the same, should a worker of another app have it"
        ),
    ]


def test_arguments_that_do_not_fit_are_remarked_before_anything_is_sent() -> None:
    app = an_app(
        beat_schedule={
            "without": {"task": "proj.tasks.add", "schedule": 1},
            "too": {"task": "proj.tasks.add", "schedule": 1, "enabled": False, "args": None, "kwargs": None},
            "another": {"task": "proj.tasks.report", "schedule": 1, "kwargs": {"night": 1}},
            "lazy": {"task": "proj.tasks.report", "schedule": 1, "args": (BeatLazyFunc(datetime.now),)},
        }
    )
    entries, notes = read(app)
    assert len(entries) == 4
    missing, unknown = notes
    assert missing.startswith("the entries 'without', 'too' can't be sent: ")
    assert "missing 1 required positional argument: 'a'" in missing
    assert unknown.startswith("the entry 'another' can't be sent: ")


def test_ten_thousand_entries_are_read_in_a_moment() -> None:
    import time

    entries = {
        str(n): {"task": "proj.tasks.add", "schedule": crontab(n % 60, n % 24), "args": (n,)} for n in range(10_000)
    }
    app = an_app(beat_schedule=entries)
    began = time.process_time()
    found = read(app).entries
    assert len(found) == 10_000 and time.process_time() - began < 8
    began = time.process_time()
    assert all(entry.schedule.next_after(NOON) for entry in found.values())
    assert time.process_time() - began < 2, "200 µs each: ten times what it takes"


def test_a_call_that_is_made_later_shows_its_function_and_not_its_arguments() -> None:
    shown = [str(BeatLazyFunc(each)) for each in (datetime.now, an_app)]
    assert shown == ["BeatLazyFunc(datetime.now)", f"BeatLazyFunc({__name__}.an_app)"]
    assert str(BeatLazyFunc(datetime.now, "secret")) == "BeatLazyFunc(datetime.now, …)"
