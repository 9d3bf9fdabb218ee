"""The parts of remote control that need no worker: commands, patterns, what is shown of tasks, what holds for all children."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from multi import App, Panel, control_command, inspect_command
from multi.app.panel import Later
from multi.connections.turns import Turns
from multi.errors import ConfigurationError
from multi.loop import Loop
from multi.message import Message
from multi.worker import ear
from multi.worker.autoscale import Autoscaler, scaler
from multi.worker.directives import SPARE, Content, Directives
from multi.worker.panel.held import read_message
from multi.worker.panel.matching import NoPattern, matches
from multi.worker.totals import Totals


@pytest.fixture
def panel() -> Iterator[None]:
    data, meta, own = dict(Panel.data), dict(Panel.meta), set(Panel.own)
    yield
    Panel.data.clear()
    Panel.data.update(data)
    Panel.meta.clear()
    Panel.meta.update(meta)
    Panel.own.clear()
    Panel.own.update(own)


@pytest.mark.usefixtures("panel")
def test_a_command_is_described_as_celerys_are() -> None:
    @control_command(
        name="turn",
        alias="turn_it",
        args=[("by", int)],
        signature="<N>",
        default_timeout=3.0,
        visible=False,
        variadic="more",
    )
    def turn_around(state: Any, by: int) -> int:
        """Turn.

        And more.
        """
        return by

    @inspect_command
    def look(state: Any) -> str:
        return "seen"

    assert Panel.data["turn"] is Panel.data["turn_it"] is turn_around
    assert Panel.meta["turn"]._asdict() == {
        "alias": "turn_it",
        "type": "control",
        "visible": False,
        "default_timeout": 3.0,
        "help": "Turn.",
        "signature": "<N>",
        "args": [("by", int)],
        "variadic": "more",
    }
    assert (Panel.meta["look"].type, Panel.meta["look"].default_timeout, Panel.meta["look"].help) == (
        "inspect",
        1.0,
        "",
    )


@pytest.mark.usefixtures("panel")
def test_what_can_be_no_command_is_refused_when_it_is_registered() -> None:
    async def slow(state: Any) -> None: ...

    for register, error, said in (
        (lambda: control_command(slow), TypeError, "ordinary function"),
        (
            lambda: Panel.register(name="x")(7),  # type: ignore[type-var]
            TypeError,
            "takes the worker's state",
        ),
        (lambda: Panel.register(print, name="no name"), ValueError, "a name like that of a function"),
        (lambda: Panel.register(print, type="other"), ValueError, "'control' or 'inspect'"),
        (lambda: inspect_command(nmae="x")(print), TypeError, "nmae"),
    ):
        with pytest.raises(error, match=said):
            register()
    assert "slow" not in Panel.data


@pytest.mark.usefixtures("panel")
def test_a_projects_command_goes_before_one_of_multis_whichever_is_registered_first() -> None:
    def own(state: Any) -> str:
        return "own"

    def theirs(state: Any) -> str:
        return "theirs"

    Panel.register(own, name="first", own=True)
    Panel.register(theirs, name="first")
    Panel.register(theirs, name="second")
    Panel.register(own, name="second", own=True)
    assert (Panel.data["first"](None), Panel.data["second"](None)) == ("theirs", "theirs")


def test_a_later_reply_is_given_once_before_or_after_it_is_asked_for() -> None:
    early, late = Later(), Later()
    told: list[Any] = []
    early.answer(1)
    early.then(told.append)
    late.then(told.append)
    late.answer(2)
    late.answer(3)
    assert told == [1, 2]


@pytest.mark.parametrize(
    ("pattern", "matcher", "is_meant"),
    [("w1@*", "glob", True), ("w[2-9]@*", "glob", False), (r"w\d@", "pcre", True), ("host", "pcre", False)],
)
def test_names_are_matched_as_celerys_workers_do(pattern: str, matcher: str, is_meant: bool) -> None:
    assert matches("w1@host", pattern, matcher) is is_meant


@pytest.mark.parametrize(
    ("pattern", "matcher", "said"),
    [
        ("(", "pcre", "can't be understood"),
        ("*", "magic", "known are glob and pcre"),
        ("w" * 300, "glob", "256 are the limit"),
        ("(.?){200}x$", "pcre", "takes too long"),
    ],
)
def test_patterns_that_can_not_be_tried_are_refused_at_once(pattern: str, matcher: str, said: str) -> None:
    began = time.monotonic()
    with pytest.raises(NoPattern, match=said):
        matches("worker-1@a.host.of.ours", pattern, matcher)
    assert time.monotonic() - began < 2.0


def test_a_message_is_shown_with_its_secrets_masked_and_run_by_nobody() -> None:
    app = App("shown", broker="memory://", set_as_current=False)
    body = b'[["amqp://me:hidden@host", {"token": "hidden"}], {"password": "hidden", "n": 1}, {}]'
    headers = {
        "id": "1",
        "task": "proj.add",
        "shadow": "Add",
        "argsrepr": "('x',)",
        "kwargsrepr": "{'password': 'hidden', 'n': 1}",
    }
    known = read_message(app, Message(headers, body, properties={"priority": 3}), "work")
    assert (known.name, known.type) == ("Add", "proj.add")
    assert known.args == ["amqp://me:**@host", {"token": "***"}]
    assert known.kwargs == {"password": "***", "n": 1}
    assert known.kwargsrepr == "{'password': ***, 'n': 1}"
    assert known.delivery_info == {"exchange": "", "routing_key": "work", "priority": 3, "redelivered": False}
    # what could run code when it is read isn't read
    pickled = read_message(app, Message(headers, b"cos\nsystem\n", "application/x-python-serialize"), "work")
    assert (pickled.args, pickled.kwargs) == ("('x',)", "{'password': ***, 'n': 1}")
    for broken in (
        Message({}, b"", "application/json"),
        Message({"id": 7, "task": None}, b"[1, 2", "application/json"),
    ):
        assert read_message(app, broken, "work").delivery_info["routing_key"] == "work"


def test_a_rate_that_is_changed_again_begins_anew_and_there_is_room_for_so_many() -> None:
    app = App("paced", broker="memory://", set_as_current=False)

    @app.task(name="t")
    def t() -> None: ...

    page = Directives()
    page.limit_rate(app, "t", "1/h")
    first: Turns = app.turns[("t", 3600.0)]
    assert (first.reserve("a"), first.reserve("b") > 3000) == (0.0, True)
    page.limit_rate(app, "t", "2/h")
    page.limit_rate(app, "t", "1/h")
    assert app.turns[("t", 3600.0)].reserve("c") == 0.0
    for number in range(SPARE - 1):
        page.limit_rate(app, f"other {number}", "1/s")
    with pytest.raises(ValueError, match="were set at run time already"):
        page.limit_rate(app, "one more", "1/s")
    with pytest.raises(ValueError, match="no room for more limits"):
        page.write(Content(times={f"a task of a long name, number {number}": (1.0, 2.0) for number in range(5000)}))


def test_totals_are_counted_by_each_child_in_its_row() -> None:
    totals = Totals(["b", "a"], 3)
    totals.row(0)[totals.places["a"]] += 2
    totals.row(2)[totals.places["a"]] += 1
    totals.admit(["c", "a"])
    totals.row(1)[totals.places["c"]] += 5
    assert totals.by_name() == {"a": 3, "c": 5}
    assert [totals.of_row(row) for row in range(3)] == [2, 5, 1]
    totals.admit(f"late {number}" for number in range(1000))
    assert len(totals.places) == 2 + 64


class Own(Autoscaler):
    """A class as a project may have one."""


def test_the_class_that_scales_is_named_by_its_path() -> None:
    assert scaler(None) is scaler("celery.worker.autoscale:Autoscaler") is Autoscaler
    assert scaler(f"{__name__}:Own") is scaler(f"{__name__}.Own") is Own
    for path, said in (("nowhere:Own", "can't be imported"), (f"{__name__}:App", "should be a class made of")):
        with pytest.raises(ConfigurationError, match=said):
            scaler(path)


def test_a_flood_of_requests_that_are_not_heeded_is_summed_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loop = Loop()
    flooded = ear.Ear.__new__(ear.Ear)
    flooded._worker, flooded._complaints = SimpleNamespace(loop=loop), 0  # type: ignore[assignment]
    monkeypatch.setattr(ear, "_SPAN", 0.01)
    caplog.set_level("ERROR")
    for _ in range(2):
        for number in range(250):
            flooded._refuse(f"it is number {number}")
        while flooded._complaints:
            loop.turn()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 202
    assert said[100] == said[201] == "150 more requests of remote control were not heeded"
    loop.close()
