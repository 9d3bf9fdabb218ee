"""The events of our workers beside those of the real Celery's, for the same tasks, heard by Celery's own receiver."""

from __future__ import annotations

import itertools
import os
import socket
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import celery
import pytest
from support.heard import Heard
from support.mixed import ENGINES, Fleet, ask
from support.wait import until

from multi import App

QUEUES = {"celery": "theirs", "multi": "ours"}
#: How a task is called, and after which event it is over.
SCRIPT: dict[str, tuple[str, tuple[Any, ...], dict[str, Any], dict[str, Any], str]] = {
    "success": ("add", (2,), {"y": 3}, {}, "succeeded"),
    "text": ("same", ("é \U0001f600 %s {}",), {}, {}, "succeeded"),
    "failure": ("value_error", ("no", 1), {}, {}, "failed"),
    "own exception": ("trouble", ("x",), {}, {}, "failed"),
    "retry": ("again", (), {"name": "retry"}, {}, "succeeded"),
    "no retry left": ("give_up", (), {}, {}, "failed"),
    "ignore": ("ignored", (), {}, {}, "started"),
    "reject": ("refused", (False,), {"name": "reject"}, {}, "rejected"),
    "requeue": ("refused", (True,), {"name": "requeue"}, {}, "succeeded"),
    "revoked": ("add", (1, 1), {}, {}, "revoked"),
    "expired": ("add", (1, 1), {}, {"expires": datetime(2020, 1, 1, tzinfo=UTC)}, "revoked"),
    "eta": ("add", (1, 1), {}, {"countdown": 0.3}, "succeeded"),
    "unknown": ("nothere", (1,), {}, {}, "failed"),
    "hard limit": ("slow", (), {"name": "hard", "seconds": 30}, {"time_limit": 0.5}, "failed"),
    "soft limit": ("slow", (), {"name": "soft", "seconds": 30}, {"soft_time_limit": 1}, "failed"),
    "terminated": ("slow", (), {"name": "terminated", "seconds": 30}, {}, "revoked"),
    "lost": ("gone", (), {}, {}, "failed"),
    "arguments": ("add", (1,), {}, {}, "failed"),
}
#: What differs from run to run.
EACH_ITS_OWN = {
    "uuid",
    "root_id",
    "hostname",
    "pid",
    "clock",
    "timestamp",
    "local_received",
    "runtime",
    "eta",
    "expires",
}

LIMITS = ("TimeLimitExceeded", "WorkerLostError")


class Told:
    """The events of both engines for the whole script."""

    def __init__(self, heard: Heard, ids: dict[tuple[str, str], str]) -> None:
        self.heard, self.ids = heard, ids


@pytest.fixture(scope="module")
def told(fleet: Fleet) -> Iterator[Told]:
    client = fleet.clients["celery"]
    client.control.enable_events()
    heard = Heard(fleet.broker)
    with heard.listening():
        for engine in ENGINES:
            # both have heard that events are wanted
            def seen(queue: str = QUEUES[engine]) -> bool:
                task_id = ask(client, "same", (1,), queue=queue).id
                try:
                    return bool(until(lambda: heard.of(task_id), 0.5))
                except AssertionError:
                    return False

            until(seen, 30, what=f"the first events of {engine}")
        ids = {}
        for engine in ENGINES:
            for case, (name, args, kwargs, options, _) in SCRIPT.items():
                task_id = ids[engine, case] = str(uuid.uuid4())
                if "name" in kwargs:
                    kwargs = {**kwargs, "name": f"{kwargs['name']} {engine}"}
                if case == "revoked":
                    client.control.revoke(task_id)
                    until(partial(_all_heard, fleet, task_id), 30, what="that all have heard of the revoke")
                if case != "lost":
                    ask(client, name, args, kwargs, queue=QUEUES[engine], task_id=task_id, **options)
        for engine in ENGINES:
            fleet.wait_notes(f"terminated {engine}", timeout=30)
            client.control.revoke(ids[engine, "terminated"], terminate=True)
        for (engine, case), task_id in ids.items():
            if case == "lost":
                continue
            _over(heard, task_id, f"{case} by {engine}", SCRIPT[case][4])
        for engine in ENGINES:  # by itself: it takes Celery's pool along
            ask(client, "gone", (f"lost {engine}",), queue=QUEUES[engine], task_id=ids[engine, "lost"])
        for engine in ENGINES:
            _over(heard, ids[engine, "lost"], f"lost by {engine}", "failed")
        heard.wait_types("worker-heartbeat", 2)
        yield Told(heard, ids)
    client.control.disable_events()


def _all_heard(fleet: Fleet, text: str) -> bool:
    return all(text in worker.said() for worker in fleet.workers)


def _regular(name: str, event: dict[str, Any]) -> bool:
    return bool(event["type"] == "worker-heartbeat" and event["hostname"].startswith(name) and event["freq"] == 2.0)


def _over(heard: Heard, task_id: str, what: str, last: str) -> None:
    until(lambda: last in heard.types(task_id), 30, what=f"{what}: {last}; there are {heard.types(task_id)}")


def _sequence(told: Told, engine: str, case: str) -> list[str]:
    """The types in order, each once in a row.

    A task that waits for its time is received by our workers when it comes and, as it waits in the broker, when it is due,
    perhaps by another one. Celery's tell of a task that was killed by its limit twice.
    """
    return [kind for kind, _ in itertools.groupby(told.heard.types(told.ids[engine, case]))]


@pytest.mark.parametrize("case", SCRIPT)
def test_a_task_has_the_events_that_celerys_worker_sends(told: Told, case: str) -> None:
    theirs, ours = (_sequence(told, engine, case) for engine in ENGINES)
    if case == "retry" and theirs[2:4] == ["received", "retried"]:
        # the child has sent the message by then, and Celery's worker may get that before it hears from its child
        theirs[2:4] = ["retried", "received"]
    assert ours == theirs
    assert len(theirs) >= (1 if case in ("unknown", "revoked", "expired") else 2)


@pytest.mark.parametrize("case", SCRIPT)
def test_the_events_have_celerys_fields_and_values(told: Told, case: str) -> None:
    by_type: dict[str, dict[str, dict[str, Any]]] = {}
    for engine in ENGINES:
        for event in told.heard.of(told.ids[engine, case]):
            by_type.setdefault(event["type"], {})[engine] = event
    for kind, events in by_type.items():
        theirs, ours = events["celery"], events["multi"]
        assert set(ours) == set(theirs), kind
        for field in set(theirs) - EACH_ITS_OWN:
            if field == "traceback":
                assert type(ours[field]) in (str, type(None)) and (field not in theirs or type(theirs[field]) is str)
            elif field in ("args", "kwargs", "result"):  # some name their engine
                assert ours[field].replace("multi'", "'") == theirs[field].replace("celery'", "'"), (kind, field)
            elif field == "exception" and case in ("hard limit", "soft limit", "lost"):
                # Celery's tell the name of a wrapper, for two of them
                assert ours[field].split("(")[0] in (*theirs[field].split("("), *LIMITS), (kind, field)
            elif case == "no retry left" and field == "exception":  # the text has the id of its task
                assert len(ours[field]) == len(theirs[field]), (kind, field)
            elif case == "retry" and field == "parent_id":
                assert ours[field] is None  # a retry is no child of its former run
            else:
                assert ours[field] == theirs[field], (kind, field)
                assert type(ours[field]) is type(theirs[field]), (kind, field)
        for field in ("eta", "expires"):
            assert (ours.get(field) is None) == (theirs.get(field) is None)


def test_celerys_state_comes_to_the_same_end(told: Told) -> None:
    state = told.heard.state
    for case in SCRIPT:
        theirs, ours = (state.tasks[told.ids[engine, case]] for engine in ENGINES)
        assert (ours.state, ours.name, ours.retries) == (theirs.state, theirs.name, theirs.retries), case
        assert ours.worker.hostname == f"ours@{socket.gethostname()}"
    workers = {name.partition("@")[0]: worker for name, worker in state.workers.items()}
    assert workers["ours"].alive and workers["theirs"].alive
    assert workers["ours"].freq == workers["theirs"].freq == 2.0


def test_task_events_travel_in_lists_and_those_of_workers_alone(told: Told) -> None:
    host = socket.gethostname()
    keys = {}
    for engine, name in (("celery", "theirs"), ("multi", "ours")):
        mine = [each for each in told.heard.messages if each[1].get("hostname") == f"{name}@{host}"]
        keys[engine] = {key for key, _, _ in mine}
        assert {properties.get("delivery_mode") for _, _, properties in mine} == {1}
    assert keys["multi"] == keys["celery"] == {"task.multi", "worker.heartbeat"}


def test_heartbeats_have_celerys_fields(told: Told) -> None:
    # those of every few seconds: one that a receiver asks for at its begin is shorter, by Celery's workers
    theirs, ours = (told.heard.wait(partial(_regular, name))[-1] for name in ("theirs@", "ours@"))
    assert set(ours) == set(theirs)
    for field in set(theirs) - {"sw_ident", "sw_ver"}:
        assert type(ours[field]) is type(theirs[field]), field
    assert (ours["sw_sys"], ours["utcoffset"]) == (theirs["sw_sys"], theirs["utcoffset"])
    assert len(ours["loadavg"]) == 3


def test_clocks_go_on_through_all_processes_of_a_node(told: Told) -> None:
    for case in SCRIPT:  # in which order they are, the sequences tell
        clocks = [event["clock"] for event in told.heard.of(told.ids["multi", case])]
        assert len(set(clocks)) == len(clocks)
    beats = [
        e["clock"] for e in told.heard.events if e["hostname"].startswith("ours@") and e["type"].startswith("worker-")
    ]
    assert beats == sorted(set(beats))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_task_tells_of_itself_and_one_that_is_to_be_silent_is(told: Told, fleet: Fleet, engine: str) -> None:
    client = fleet.clients[engine]
    silent = ask(client, "unseen", queue=QUEUES[engine])
    assert silent.get(timeout=20)
    task_id = ask(client, "telling", queue=QUEUES[engine]).id
    told.heard.wait(lambda event: event["type"] == "task-succeeded" and event["uuid"] == task_id)
    (halfway,) = told.heard.wait(lambda event: event["type"] == "task-halfway" and event["uuid"] == task_id)
    assert halfway["percent"] == 50
    assert halfway["hostname"].partition("@")[0] == QUEUES[engine]
    paid = told.heard.wait(lambda event: event["type"] == "shop-paid" and event["pid"] == halfway["pid"])
    assert paid[0]["order"] == 7
    assert paid[0]["hostname"].startswith(f"gen{halfway['pid']}@")
    keys = [key for key, _, _ in told.heard.messages]
    assert {"task.halfway", "shop.paid"} <= set(keys)
    assert told.heard.of(silent.id) == []


def test_who_sends_a_task_tells_so_with_celerys_fields(redis_url: str) -> None:
    settings = {"task_send_sent_event": True, "task_routes": {"fleet.routed": {"queue": "far"}}}
    theirs = celery.Celery("t", broker=redis_url, set_as_current=False)
    ours = App("o", broker=redis_url, backend="disabled://", set_as_current=False)
    sent = {}
    heard = Heard(redis_url)
    with heard.listening():
        for engine, app in (("celery", theirs), ("multi", ours)):
            app.conf.update(settings)
            sent[engine] = [
                app.send_task("fleet.add", (1, "x"), {"k": None}).id,
                app.send_task("fleet.routed", countdown=60, expires=90, retries=2).id,
                app.send_task("fleet.add", queue="named", parent_id="p", root_id="r").id,
            ]
        events = {event["uuid"]: event for event in heard.wait_types("task-sent", 6)}
        for their_id, our_id in zip(sent["celery"], sent["multi"], strict=True):
            their, our = events[their_id], events[our_id]
            assert set(our) == set(their)
            for field in set(their) - EACH_ITS_OWN:
                assert our[field] == their[field], field
            for field in ("eta", "expires", "root_id"):
                assert type(our[field]) is type(their[field]), field
            assert our["hostname"] == their["hostname"] == f"gen{os.getpid()}@{socket.gethostname()}"
        # several at once: one message of several events
        results = ours.send_many([("fleet.add", (number,)) for number in range(3)])
        heard.wait(lambda event: event.get("uuid") in {result.id for result in results}, 3)
    ours.close()
    theirs.close()
