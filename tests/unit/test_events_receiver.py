"""Receiving events, and taking pictures of what is known from them."""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.wait import until

from multi import App, Polaroid
from multi.app.events.receiver import Receiver
from multi.app.events.timer import Timer
from multi.codecs import dump_json
from multi.errors import BrokerUnavailable, Lacking, UnsupportedOption
from multi.message import Message


@pytest.fixture
def app(request: pytest.FixtureRequest) -> Iterator[App]:
    made = App("events", broker=f"memory://{request.node.name}", set_as_current=False)
    yield made
    made.close()


def say(app: App, body: Any, key: str = "task.multi", **properties: Any) -> None:
    data = body if isinstance(body, bytes) else dump_json(body)
    app.worker_broker.say("celeryev", Message({}, data, **properties), key=key, kind="topic")


def test_events_reach_the_handler_of_their_type_or_that_of_all(app: App) -> None:
    failed: list[Any] = []
    others: list[Any] = []
    receiver = app.events.Receiver(handlers={"task-failed": failed.append, "*": others.append})
    capture = receiver.itercapture(limit=3, timeout=20, wakeup=False)
    threading.Timer(
        0.05, say, (app, [{"type": "task-failed", "clock": 3}, {"type": "task-started", "clock": 4}])
    ).start()
    next(capture)
    with app.events.default_dispatcher() as dispatcher:
        dispatcher.send("deploy-begun", version=5)
    say(app, {"type": "worker-online", "clock": 9}, "worker.online")
    assert [*capture] == [None, None]
    assert [event["type"] for event in failed] == ["task-failed"]
    assert [event["type"] for event in others] == ["task-started", "deploy-begun", "worker-online"]
    assert others[1]["version"] == 5
    assert app.clock.value > 9, "what is told from now on counts as later than what has been heard"
    assert all(abs(event["local_received"] - time.time()) < 60 for event in others)


def test_only_what_the_key_asks_for_is_heard(app: App) -> None:
    seen: list[str] = []
    receiver = app.events.Receiver(handlers={"*": lambda event: seen.append(event["type"])}, routing_key="worker.#")
    subscription = receiver.subscribe()
    say(app, [{"type": "task-started"}])
    say(app, {"type": "worker-heartbeat"}, "worker.heartbeat")
    while (message := subscription.get(0.01)) is not None:
        receiver.receive(message)
    subscription.close()
    assert seen == ["worker-heartbeat"]


def test_nothing_for_too_long_is_a_timeout_and_stop_is_heard(app: App) -> None:
    receiver = app.events.Receiver()
    with pytest.raises(TimeoutError, match="no event has come within 0.05 s"):
        receiver.capture(timeout=0.05)
    threading.Timer(0.05, lambda: setattr(receiver, "should_stop", True)).start()
    receiver.capture()


def test_all_workers_are_asked_for_a_heartbeat_at_the_start(app: App) -> None:
    ear = app.worker_broker.subscribe("celery.pidbox")
    with pytest.raises(TimeoutError):
        app.events.Receiver().capture(timeout=0.01)
    heard = ear.get(5)
    ear.close()
    assert heard is not None and b'"heartbeat"' in heard.body


def test_a_clients_events_take_the_clock_of_what_came_last_and_times_stay_as_they_are(app: App) -> None:
    receiver = app.events.Receiver()
    receiver.adjust_clock(40)
    latest = receiver.clock.value
    kind, event = receiver.event_from_message({"type": "task-sent", "clock": 1, "timestamp": 5.0, "utcoffset": -9})
    assert (kind, event["clock"], event["timestamp"]) == ("task-sent", latest - 1, 5.0)
    for clock in (None, "soon", -1, 1 << 70):
        _, event = receiver.event_from_message({"type": "task-started", "clock": clock})
        latest, before = event["clock"], latest
        assert latest > before


def test_what_is_no_event_is_left_out_and_told_once(app: App, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []
    receiver = app.events.Receiver(handlers={"*": seen.append})
    with caplog.at_level(logging.WARNING):
        for body, content_type in (
            (b"\xff", "application/json"),
            (b"5", "application/json"),
            (b'[{"type": 5}, {"type": "task-started"}, null]', "application/json"),
            (b"{}", "application/x-python-serialize"),
        ):
            receiver.receive(Message({}, body, content_type))
    assert [event["type"] for event in seen] == ["task-started"]
    assert receiver.unreadable == 5
    assert len(caplog.records) == 1 and "no event" in caplog.text


def test_a_program_of_celerys_hands_over_its_connection(app: App) -> None:
    seen: list[Any] = []
    with app.connection() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": seen.append})
        subscription = receiver.subscribe()
        app.send_event("hello-world")
        message = subscription.get(5)
        assert message is not None
        receiver.receive(message)
        subscription.close()
    assert seen[0]["type"] == "hello-world"
    kombu: Any = importlib.import_module("kombu")
    url = f"memory://{app.worker_broker.url.partition('//')[2]}"
    assert Receiver(kombu.Connection(url), app=app).connection is not app.worker_broker
    with pytest.raises(TypeError, match="a connection is None for the app's own"):
        _ = Receiver(5, app=app).connection


def test_queues_that_stay_are_refused(app: App) -> None:
    with pytest.raises(UnsupportedOption, match="goes with it"):
        app.events.Receiver(queue_durable=True)
    with pytest.raises(UnsupportedOption, match="goes with it"):
        app.events.Receiver(queue_exclusive=False)
    app.events.Receiver(queue_durable=False, queue_exclusive=True)


def test_names_and_times_of_the_queue_are_those_of_the_settings(app: App) -> None:
    app.conf.update(event_queue_prefix="mine", event_queue_ttl=3, event_queue_expires=9)
    receiver = app.events.Receiver(node_id="x")
    assert (receiver.queue, receiver.queue_ttl, receiver.queue_expires) == ("mine.x", 3, 9)
    assert app.events.Receiver(queue_prefix="p", queue_ttl=1, queue_expires=2, node_id="y").queue == "p.y"


# cameras -------------------------------------------------------------------------------------------------------------


class Camera(Polaroid):
    """Keeps what it has seen; fails when told to."""

    clear_after = True
    fails = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.seen: list[set[str]] = []
        self.cleaned = 0

    def on_shutter(self, state: Any) -> None:
        if self.fails:
            self.fails = False
            raise ValueError("no film")
        self.seen.append({uuid for uuid, _ in state.itertasks()})

    def on_cleanup(self) -> None:
        self.cleaned += 1

    def __enter__(self) -> Camera:
        super().__enter__()
        return self


def done(state: Any, uuid: str) -> None:
    state.event({"type": "task-succeeded", "uuid": uuid, "hostname": "w", "timestamp": time.time(), "clock": 1})


def test_a_camera_sees_everything_once_also_what_comes_last_and_what_it_failed_at(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    state = app.events.State()
    camera = Camera(state, freq=0.01, cleanup_freq=0.01, app=app)
    camera.fails = True
    told: list[Any] = []

    def listen(sender: Any, **_: Any) -> None:
        told.append(sender)

    Polaroid.shutter_signal.connect(listen, sender=state)
    with camera:
        done(state, "a")
        until(lambda: {"a"} in camera.seen, what="it has seen the first task")
        until(lambda: camera.cleaned, what="it was told to clean up")
        camera._own.stop() if camera._own else None
        done(state, "b")
    assert [each for each in camera.seen if each] == [{"a"}, {"b"}]
    assert "no film" in caplog.text
    assert told and told[0] is state
    assert not state.tasks


def test_pictures_that_would_come_too_fast_are_left_out_and_nothing_is_forgotten_for_them(app: App) -> None:
    state = app.events.State()
    camera = Camera(state, maxrate="1/h", app=app)
    for uuid in ("a", "b", "c"):
        done(state, uuid)
        camera.capture()
    assert camera.seen == [{"a"}] and {*state.tasks} == {"b", "c"}


def test_a_camera_may_be_driven_by_a_timer_of_the_programs_own(app: App) -> None:
    timer = Timer()
    order: list[str] = []
    cancelled = timer.call_repeatedly(0.01, order.append, ("never",))
    cancelled.cancel()
    with Camera(app.events.State(), freq=0.01, timer=timer, app=app) as camera:
        until(lambda: len(camera.seen) > 3, what="several pictures")
    timer.stop()
    count = len(camera.seen)
    timer.call_repeatedly(0.001, order.append, ("stopped",))
    time.sleep(0.02)
    assert len(camera.seen) == count and order == []


def test_a_connection_waits_for_its_broker_and_says_what_it_has_not(app: App) -> None:
    told: list[float] = []
    away = App("away", broker="redis://:geheim@127.0.0.1:1/0", set_as_current=False)
    with away.connection_for_read() as connection, pytest.raises(BrokerUnavailable):
        connection.ensure_connection(lambda error, pause: told.append(pause), 2, 0.01, 0.01)
    assert told == [0.01, 0.02]
    assert "geheim" not in repr(connection) and "geheim" in connection.as_uri(include_password=True)
    assert issubclass(BrokerUnavailable, connection.connection_errors)
    assert app.connection_for_write().ensure_connection(timeout=5)
    with pytest.raises(Lacking, match="kombu.Connection"):
        connection.channel  # type: ignore[attr-defined]  # that is the point  # noqa: B018
