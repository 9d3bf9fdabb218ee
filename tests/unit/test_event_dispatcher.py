"""Telling events: Celery's interface, over a broker in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from multi import App
from multi.app.events.event import Event, group_from, routing_key
from multi.errors import BrokerUnavailable, EncodeError
from multi.talk import Subscription


class Ear:
    """What is told meanwhile."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    def heard(self) -> list[Any]:
        found = []
        while (message := self._subscription.get(0)) is not None:
            found.append(msgspec.json.decode(message.body))
            self.last = message
        return found


@pytest.fixture
def app() -> Iterator[App]:
    app = App("x", broker="memory://", set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def ear(app: App) -> Iterator[Ear]:
    subscription = app.broker.subscribe("celeryev", keys=("#",), kind="topic")
    yield Ear(subscription)
    subscription.close()


def types(events: list[Any]) -> list[str]:
    return [event["type"] for event in events]


def test_an_event_says_who_tells_it_and_when(app: App, ear: Ear) -> None:
    app.send_event("shop-paid", order=7)
    (event,) = ear.heard()
    assert event == {
        "type": "shop-paid",
        "order": 7,
        "hostname": event["hostname"],
        "pid": os.getpid(),
        "clock": 1,
        "utcoffset": event["utcoffset"],
        "timestamp": event["timestamp"],
    }
    assert event["hostname"].startswith(f"gen{os.getpid()}@")
    assert ear.last.headers == {"hostname": event["hostname"]}
    assert ear.last.properties["delivery_mode"] == 1


def test_a_dispatcher_tells_for_a_name_while_it_is_enabled_and_of_its_groups(app: App, ear: Ear) -> None:
    told = []
    with app.events.Dispatcher(hostname="me@here", groups=["shop"]) as dispatcher:
        dispatcher.on_disabled.add(lambda: told.append("off"))
        dispatcher.on_enabled.add(lambda: told.append("on"))
        dispatcher.send("shop-open")
        dispatcher.send("door-open")
        dispatcher.disable()
        dispatcher.disable()
        dispatcher.send("shop-missed")
        dispatcher.publish("shop-told-anyway", {"a": 1})
        dispatcher.enable()
        dispatcher.send("shop-closed", blind=True, timestamp=1.5)
    events = ear.heard()
    assert types(events) == ["shop-open", "shop-told-anyway", "shop-closed"]
    assert {event["hostname"] for event in events} == {"me@here"}
    assert (events[2]["clock"], events[2]["timestamp"]) == (None, 1.5)
    assert told == ["off", "on"]


def test_events_of_a_group_that_is_buffered_travel_together(app: App, ear: Ear) -> None:
    waits = []
    with app.events.Dispatcher(
        buffer_group=["task"], buffer_limit=3, on_send_buffered=lambda: waits.append(1)
    ) as dispatcher:
        for number in range(4):
            dispatcher.send("task-custom", number=number)
        assert [[event["number"] for event in several] for several in ear.heard()] == [[0, 1, 2]]
        assert len(waits) == 3
        dispatcher.send("task-custom", number=4)
        dispatcher.flush()
        assert [[event["number"] for event in several] for several in ear.heard()] == [[3, 4]]
        dispatcher.flush()
        assert ear.heard() == []
        dispatcher.send("task-custom", number=5)
    assert [[event["number"] for event in several] for several in ear.heard()] == [[5]]


def test_what_cannot_be_told_now_waits_or_is_an_error(app: App, ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise BrokerUnavailable("the broker is away")

    waiting = app.events.Dispatcher()
    with monkeypatch.context() as patched:
        patched.setattr(app.broker, "say", away)
        waiting.send("shop-open")
        with app.events.default_dispatcher() as strict, pytest.raises(BrokerUnavailable):
            strict.send("shop-open")
        with pytest.raises(BrokerUnavailable):
            app.send_event("shop-open")
    assert ear.heard() == []
    other = app.events.Dispatcher()
    other.extend_buffer(waiting)
    other.flush()
    waiting.flush()
    assert types(ear.heard()) == ["shop-open", "shop-open"]


def test_what_json_cannot_say_is_named(app: App) -> None:
    with pytest.raises(EncodeError):
        app.send_event("shop-paid", what=object())


def test_in_a_process_of_a_worker_the_worker_is_told(app: App, ear: Ear) -> None:
    told: list[tuple[str, str, bytes]] = []
    app.event_sink = lambda *event: told.append(event)
    app.send_event("shop-paid", order=7)
    assert ear.heard() == []
    ((key, hostname, text),) = told
    assert (key, msgspec.json.decode(text)["order"]) == ("shop.paid", 7)
    assert hostname.startswith("gen")


def test_settings_name_the_exchange_and_the_serializer(app: App) -> None:
    app.conf.update(event_exchange="told", event_serializer="msgpack")
    subscription = app.broker.subscribe("told", keys=("shop.#",), kind="topic")
    app.send_event("shop-paid", order=7)
    message = subscription.get(5)
    assert message is not None
    assert message.content_type == "application/x-msgpack"
    assert msgspec.msgpack.decode(message.body)["order"] == 7
    subscription.close()


def test_sending_is_told_only_where_it_is_asked_for(app: App, ear: Ear) -> None:
    @app.task(name="add")
    def add(x: int) -> int:
        return x

    add.delay(1)
    assert ear.heard() == []
    app.conf.task_send_sent_event = True
    task_id = add.delay(1).id
    (event,) = ear.heard()
    assert (event["type"], event["uuid"], event["queue"], event["args"]) == ("task-sent", task_id, "celery", "(1,)")
    app.send_many([(add, (number,)) for number in range(3)])
    (several,) = ear.heard()
    assert types(several) == ["task-sent"] * 3
    assert [event["clock"] for event in several] == [2, 3, 4]


def test_names_of_types_and_keys() -> None:
    assert (group_from("task-sent"), group_from("shop")) == ("task", "shop")
    assert routing_key("task-sent-off") == "task.sent.off"
    assert Event("a-b", {"x": 1}, y=2, timestamp=3) == {"x": 1, "y": 2, "timestamp": 3, "type": "a-b"}
