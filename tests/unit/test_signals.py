"""Signals: who is told, of what, and what receivers can't break. Names and arguments are compared with Celery's."""

from __future__ import annotations

import gc
import logging
from pathlib import Path
from typing import Any

import pytest

from multi import App, signals
from multi.signals import Group, Signal


@pytest.fixture
def signal() -> Signal:
    return Signal("something", ("value",))


def test_receivers_are_called_in_order_with_the_signal_the_sender_and_what_it_provides(signal: Signal) -> None:
    @signal.connect
    def first(signal: Signal, sender: Any, value: int, **kwargs: Any) -> tuple[Any, ...]:
        return signal.name, sender, value

    @signal.connect
    def second(**kwargs: Any) -> int:
        return 2

    assert signal.send("me", value=1) == [(first, ("something", "me", 1)), (second, 2)]


def test_one_that_raises_is_told_in_the_log_and_stops_nobody(signal: Signal, caplog: pytest.LogCaptureFixture) -> None:
    @signal.connect
    def bad(**kwargs: Any) -> None:
        raise ValueError("no")

    @signal.connect
    def good(**kwargs: Any) -> str:
        return "told"

    (_, error), (_, answer) = signal.send()
    assert isinstance(error, ValueError)
    assert answer == "told"
    assert "bad of something has raised ValueError('no')" in caplog.text


def test_one_that_is_to_be_tried_again_is_called_until_it_does_not_raise(
    signal: Signal, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("multi.signals.time.sleep", pauses.append)
    tries = iter([1, 2, 3])

    @signal.connect(retry=True)
    def third_time_lucky(**kwargs: Any) -> int:
        if (count := next(tries)) < 3:
            raise OSError
        return count

    assert signal.send()[0][1] == 3
    assert pauses == [2.0, 4.0]


def test_a_receiver_is_connected_once_and_can_be_disconnected(signal: Signal) -> None:
    def receiver(**kwargs: Any) -> None: ...

    signal.connect(receiver)
    signal.connect(receiver)
    assert len(signal.send()) == 1
    assert signal.disconnect(receiver)
    assert not signal.disconnect(receiver)
    assert signal.send() == []
    signal.connect(lambda **kwargs: 1, dispatch_uid="one", weak=False)
    signal.connect(lambda **kwargs: 2, dispatch_uid="one", weak=False)
    assert [answer for _, answer in signal.send()] == [1]
    assert signal.disconnect(dispatch_uid="one")


def test_a_receiver_that_nobody_else_holds_is_gone_unless_it_is_held_strongly(signal: Signal) -> None:
    class Listener:
        def hear(self, **kwargs: Any) -> str:
            return "heard"

    listener = Listener()
    signal.connect(listener.hear)
    signal.connect(lambda **kwargs: "kept", weak=False)
    assert [answer for _, answer in signal.send()] == ["heard", "kept"]
    del listener
    gc.collect()
    assert [answer for _, answer in signal.send()] == ["kept"]
    assert signal.has_listeners()


def test_a_receiver_can_be_for_one_task_alone(signal: Signal) -> None:
    app = App("signals", set_as_current=False)

    @app.task(name="a")
    def one() -> None: ...

    @app.task(name="b")
    def other() -> None: ...

    signal.connect(lambda **kwargs: "one", sender=one, weak=False)
    signal.connect(lambda **kwargs: "named", sender="a", weak=False)
    assert [answer for _, answer in signal.send(one)] == ["one", "named"]
    assert [answer for _, answer in signal.send("a")] == ["one", "named"]
    assert signal.send(other) == signal.send("b") == signal.send(None) == []
    assert not signal.has_listeners(other)


def test_what_can_not_be_a_receiver_is_refused(signal: Signal) -> None:
    with pytest.raises(TypeError, match="takes a function"):
        signal.connect(5)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match=r"\*\*kwargs"):
        signal.connect(lambda sender: None, weak=False)


def test_places_where_nobody_listens_cost_one_look() -> None:
    group = Group()
    one = signals.SIGNALS["one"] = Signal("one", (), group)
    try:
        assert not group.any
        one.connect(lambda **kwargs: None, dispatch_uid=1, weak=False)
        assert group.any
        one.disconnect(dispatch_uid=1)
        assert not group.any
    finally:
        del signals.SIGNALS["one"]


def test_there_are_all_of_celerys_but_the_deprecated_and_they_provide_what_celerys_do() -> None:
    celery = pytest.importorskip("celery.signals")
    for name in celery.__all__:
        theirs = getattr(celery, name)
        assert theirs.providing_args <= set(signals.SIGNALS[name].provides), name


def test_each_has_its_line_in_the_documents() -> None:
    text = (Path(__file__).parents[2] / "docs/signals.md").read_text()
    assert [name for name in signals.SIGNALS if f"`{name}`" not in text] == []


def test_an_app_tells_when_its_settings_are_read_and_its_tasks_known() -> None:
    app = App("moments", set_as_current=False, broker="memory://moments")
    told: list[tuple[str, Any]] = []

    @app.on_configure.connect
    def before(sender: App, **kwargs: Any) -> None:
        told.append(("configure", sender))

    @app.on_after_configure.connect
    def after(sender: App, source: Any, **kwargs: Any) -> None:
        told.append(("configured", source))

    @app.on_after_finalize.connect
    def complete(sender: App, **kwargs: Any) -> None:
        told.append(("complete", sorted(sender.tasks)[:1]))

    assert told == []
    assert app.conf.task_default_queue == "celery"
    assert app.conf.task_default_queue == "celery"
    assert told == [("configure", app), ("configured", app.conf)]
    app.finalize()
    app.finalize()
    assert told[2:] == [("complete", ["celery.accumulate"])]


@pytest.fixture
def sent() -> Any:
    app = App("publishing", set_as_current=False, broker="memory://signals-publishing")

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    yield add
    app.close()


def test_a_message_is_told_of_before_and_after_it_is_sent_and_can_be_changed_before(sent: Any) -> None:
    told: list[tuple[str, Any, dict[str, Any]]] = []

    def before(sender: str, headers: dict[str, Any], properties: dict[str, Any], **kwargs: Any) -> None:
        headers["tenant"] = "shop"
        properties["priority"] = 3
        told.append(("before", sender, kwargs))

    def after(sender: str, headers: dict[str, Any], body: Any, **kwargs: Any) -> None:
        told.append(("after", sender, {"body": body, **headers, **kwargs}))

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after, sender="add")
    try:
        result = sent.delay(1, 2)
        sent.apply_async((3, 4), queue="other", argsrepr="(secret)")
    finally:
        signals.before_task_publish.disconnect(before)
        signals.after_task_publish.disconnect(after, sender="add")
    assert [(moment, name) for moment, name, _ in told] == [("before", "add"), ("after", "add")] * 2
    assert told[0][2]["body"][:2] == ((1, 2), {})
    assert told[0][2]["routing_key"] == "celery"
    assert told[0][2]["retry_policy"]["max_retries"] == 3
    assert told[1][2]["id"] == result.id
    assert told[1][2]["tenant"] == "shop"
    assert told[1][2]["body"][:2] == ([1, 2], {})
    assert (told[3][2]["routing_key"], told[3][2]["argsrepr"]) == ("other", "(secret)")
    sent.delay(1, 2)
    assert len(told) == 4, "nobody listens any more"


@pytest.mark.parametrize("name", ["ok", "bad", "again"])
def test_a_run_is_told_of_from_its_beginning_to_its_end(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    app = App("runs", set_as_current=False, task_eager_propagates=False)
    told: list[str] = []

    class Handled(app.Task):  # type: ignore[name-defined,misc]
        def on_success(self, *args: Any) -> None:
            told.append("on_success")

        def on_failure(self, *args: Any) -> None:
            told.append("on_failure")

        def on_retry(self, *args: Any) -> None:
            told.append("on_retry")

        def before_start(self, *args: Any) -> None:
            told.append("before_start")

        def after_return(self, *args: Any) -> None:
            told.append("after_return")

    @app.task(name="ok", base=Handled)
    def ok() -> int:
        return 1

    @app.task(name="bad", base=Handled)
    def bad() -> int:
        raise ValueError("bad")

    @app.task(name="again", base=Handled, bind=True, default_retry_delay=0)
    def again(self: Any) -> int:
        if not self.request.retries:
            raise self.retry()
        return 2

    def note(signal: Signal, sender: Any, **kwargs: Any) -> None:
        assert sender.name == name
        assert set(signal.provides) == set(kwargs)
        more = f" {kwargs['state']} {kwargs['retval']!r}" if "state" in kwargs else ""
        told.append(f"{signal.name.removeprefix('task_')}{more}")

    seen = [
        signals.task_prerun,
        signals.task_postrun,
        signals.task_success,
        signals.task_failure,
        signals.task_retry,
    ]
    for one in seen:
        one.connect(note)
    try:
        app.tasks[name].apply()
    finally:
        for one in seen:
            one.disconnect(note)
    expected = {
        "ok": ["prerun", "before_start", "on_success", "success", "after_return", "postrun SUCCESS 1"],
        "bad": ["prerun", "before_start", "on_failure", "failure", "after_return", "postrun FAILURE ValueError('bad')"],
        "again": [
            *("prerun", "before_start", "on_retry", "retry", "postrun RETRY None"),
            *("prerun", "before_start", "on_success", "success", "after_return", "postrun SUCCESS 2"),
        ],
    }
    assert told == expected[name]
