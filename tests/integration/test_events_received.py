"""Events of Celery's workers and of multi's, heard by multi's receiver: what Celery's own state makes of them, ours does, too."""

from __future__ import annotations

import random
import termios
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import celery
import pytest
from celery.events.state import State as CelerysState
from support.mixed import Fleet, ask
from support.project import Project
from support.servers import Redis
from support.states import feed, known
from support.terminal import Terminal
from support.wait import until

from multi import App
from multi.app.events.state import State
from multi.errors import BrokerUnavailable

QUEUES = {"celery": "theirs", "multi": "ours"}
SOON = 30


@pytest.fixture
def telling(make_fleet: Callable[..., Fleet]) -> Fleet:
    """A fleet with one worker of each engine, both of which tell of their tasks."""
    fleet = make_fleet(task_send_sent_event=True)
    workers = [fleet.worker(engine, engine, queue, "-c", "1", "-E") for engine, queue in QUEUES.items()]
    for worker in workers:
        worker.wait_ready()
    return fleet


def test_states_know_the_same_of_real_events_in_any_order(telling: Fleet) -> None:
    client: App = telling.clients["multi"]
    heard: list[dict[str, Any]] = []
    receiver = client.events.Receiver(handlers={"*": heard.append})
    listener = threading.Thread(target=receiver.capture)
    listener.start()
    try:
        until(
            lambda: {event["hostname"].split("@")[0] for event in heard} >= {*QUEUES},
            SOON,
            what="both workers are heard",
        )
        sent: dict[str, str] = {}
        for queue in QUEUES.values():
            for end, name, args, options in (
                ("SUCCESS", "add", (1, 2), {}),
                ("FAILURE", "value_error", (), {}),
                ("SUCCESS", "again", (), {"kwargs": {"name": uuid.uuid4().hex}}),
                ("REVOKED", "add", (1, 2), {"expires": -5}),
            ):
                for side in telling.clients.values():
                    sent[ask(side, name, args, queue=queue, **options).id] = end
        state = State()

        def missing() -> list[Any]:
            state.clear(ready=False)
            feed([*heard], state)
            return [
                (uuid, end, state.tasks.get(uuid))
                for uuid, end in sent.items()
                if state.get_or_create_task(uuid)[0].state != end
            ]

        deadline = time.monotonic() + SOON
        while left := missing():
            assert time.monotonic() < deadline, left
            time.sleep(0.1)
    finally:
        receiver.should_stop = True
        listener.join()
    by_worker = {name.split("@")[0]: {task.uuid for task in tasks} for name, tasks in state.tasks_by_worker.items()}
    assert {name: len(tasks & {*sent}) for name, tasks in by_worker.items() if name in QUEUES} == {
        "celery": 8,
        "multi": 8,
    }
    done = next(task for task in state.tasks.values() if task.name == "fleet.add" and task.ready and task.result)
    assert (done.args, done.kwargs, done.result) == ("[1, 2]", "{}", "3") and done.runtime is not None
    assert len([*state.alive_workers()]) == 2
    again = [task for task in state.tasks.values() if task.name == "fleet.again"]
    assert all(task.retried and task.succeeded and task.sent for task in again)
    for event in heard:
        event["local_received"] = event["timestamp"]  # Celery's counts the time of a task's event as when it was heard
        if "freq" in event:
            event["freq"] = 600.0  # nobody falls silent between two looks
    rng = random.Random(1)
    for _ in range(5):
        theirs, ours = CelerysState(), State()
        feed(heard, theirs, ours)
        assert known(ours) == known(theirs)
        rng.shuffle(heard)


@pytest.mark.parametrize("kind", ["redis_url", "rabbitmq_url"])
def test_what_a_program_of_celerys_tells_is_heard(kind: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(kind)
    theirs = celery.Celery("theirs", broker=url, set_as_current=False)
    ours = App("ours", broker=url, set_as_current=False)
    heard: list[dict[str, Any]] = []
    receiver = ours.events.Receiver(handlers={"order-paid": heard.append}, routing_key="order.#")
    capture = receiver.itercapture(limit=1, timeout=SOON, wakeup=False)
    subscribed = threading.Event()

    def tell() -> None:
        with theirs.events.default_dispatcher(hostname="shop") as told:
            while not heard and not subscribed.wait(0.05):
                told.send("other-thing")
                told.send("order-paid", sum=5)

    telling = threading.Thread(target=tell)
    telling.start()
    try:
        assert [*capture] == [None]
    finally:
        subscribed.set()
        telling.join()
        ours.close()
        theirs.close()
    assert [(event["hostname"], event["sum"]) for event in heard] == [("shop", 5)]


def test_the_view_outlives_its_broker(project: Project) -> None:
    server = Redis()
    server.start()
    app = App("watched", broker=server.url(), set_as_current=False)
    try:
        with Terminal(project, "events", "-b", server.url(), rows=12, columns=120) as view:
            view.until("No task has been heard of yet", SOON)

            def beat(name: str) -> bool:
                fields: dict[str, Any] = {"freq": 60.0, "active": 0, "processed": 0}
                with app.events.default_dispatcher(hostname=name) as told:
                    told.send("worker-heartbeat", **fields)
                return name in view.text

            until(lambda: beat("before@host"), SOON, what="the worker is seen")
            server.kill()
            view.until("the broker is away", SOON)
            view.press("?")
            view.until("select", SOON)  # its keys work meanwhile
            view.press(" ")
            server.start()
            view.until_gone("the broker is away", SOON)

            def beat_again() -> bool:
                try:
                    return beat("after@host")
                except BrokerUnavailable:
                    return False

            until(beat_again, SOON, what="another worker is seen")
            assert "before@host" in view.text
            view.process.terminate()
            assert view.end() == 0
            assert termios.tcgetattr(view._master)[3] & termios.ECHO, "the terminal is as it was"
    finally:
        app.close()
        server.stop()


def test_a_watcher_of_a_flood_keeps_what_is_new_in_bounds(redis_url: str) -> None:
    app = App("flood", broker=redis_url, set_as_current=False)
    state = app.events.State(max_tasks_in_memory=200)
    receiver = app.events.Receiver(handlers={"*": state.event})
    stop = threading.Event()

    def flood() -> None:
        with app.events.default_dispatcher(hostname="w@host") as told:
            number = 0
            while not stop.is_set():
                number += 1
                told.send("task-received", uuid=str(number), name=f"t{number}", args="x" * 2000, kwargs="{}")

    flooding = threading.Thread(target=flood)
    flooding.start()
    begin = time.monotonic()
    try:
        for _ in receiver.itercapture(timeout=SOON, wakeup=False):
            if state.task_count > 1500 or time.monotonic() > begin + SOON:
                break
    finally:
        stop.set()
        flooding.join()
        app.close()
    assert state.task_count > 1500 and len(state.tasks) == 200 == sum(map(len, state.tasks_by_type.values()))
    newest = [int(uuid) for uuid, _ in state.tasks_by_time(limit=10)]
    assert newest == sorted(newest, reverse=True) and newest[0] == int(max(state.tasks, key=int))
