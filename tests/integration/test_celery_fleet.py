"""Workers of Celery's and of multi's on one queue: every task runs once, and none is lost with the worker that had it."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import redis
from support.mixed import Fleet, ask
from support.wait import until

pytestmark = pytest.mark.slow

Maker = Callable[..., Fleet]

#: A Celery worker takes back what was claimed more than 5 s ago, whoever claimed it; it looks every second, by default
#: every hundred.
IMPATIENT = {"visibility_timeout": 5, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}


def state(fleet: Fleet) -> dict[str, int]:
    """How much of a claim is left in Redis."""
    with redis.Redis.from_url(fleet.broker) as server:
        return {
            "unacked": server.hlen("unacked"),
            "unacked_index": server.zcard("unacked_index"),
            "leases": server.zcard("multi:leases"),
            "claims": server.hlen("multi:claims"),
            "starts": server.hlen("multi:starts"),
        }


def settled(fleet: Fleet, *keys: str) -> bool:
    """Whether nothing is claimed by anybody (any more)."""
    left = state(fleet)
    return not any(left[key] for key in keys or left)


def test_tasks_of_20_seconds_run_once_with_a_visibility_timeout_of_5(make_fleet: Maker) -> None:
    """Sent by both clients and run by both workers; and a short lease of ours next to late claims of Celery's."""
    short = make_fleet(broker_transport_options=IMPATIENT)
    short.worker("celery", "theirs", "both,theirs", "-c", "4", "--disable-prefetch")
    short.worker("multi", "ours", "both,ours", "-c", "4")
    leased = make_fleet(worker_lease=1.5)
    leased.worker("celery", "theirs", "theirs", "-c", "2")
    leased.worker("multi", "ours", "ours", "-c", "2")
    for fleet in (short, leased):
        for worker in fleet.workers:
            worker.wait_ready()
    sent: list[tuple[Fleet, Any, str]] = []
    for engine, client in short.clients.items():
        for queue in ("both", "theirs", "ours"):
            name = f"{engine}-{queue}"
            sent.append((short, ask(client, "slow", (name, 20), queue=queue), name))
    for engine, client in leased.clients.items():
        for queue, task in (("theirs", "late"), ("ours", "slow")):
            name = f"{engine}-{queue}"
            sent.append((leased, ask(client, task, (name, 20), queue=queue), name))
    for fleet, result, name in sent:
        assert result.get(timeout=45) in ("celery", "multi")
        assert [note["what"] for note in fleet.notes(name)] == ["begin", "end"], name
    for fleet in (short, leased):
        until(partial(settled, fleet), 10, what="no claim to be left")
        # nothing has been put back into a queue either
        for client in fleet.clients.values():
            for queue in ("theirs", "ours"):
                assert ask(client, "add", (1, 1), queue=queue).get(timeout=15) == 2
    for fleet, _, name in sent:
        assert len(fleet.notes(name)) == 2, name
    with redis.Redis.from_url(leased.broker) as server:
        assert server.keys("multi:dead:*") == []


def test_the_tasks_of_a_killed_worker_run_again(make_fleet: Maker) -> None:
    """Four fleets at once: which engine's worker dies, and which engine's is there to take its tasks over."""
    options: dict[str, Any] = {"broker_transport_options": IMPATIENT, "worker_lease": 2}
    # our node dies, our other one takes over
    ours = make_fleet(worker_lease=2)
    # our node dies, only a Celery worker is left
    left = make_fleet(**options)
    # a Celery worker that acknowledges late dies; our node stays, and leaves the claim to a Celery worker that comes
    theirs = make_fleet(**options)
    victims = [
        ours.worker("multi", "victim", "q", "-c", "2"),
        left.worker("multi", "victim", "q", "-c", "2"),
        theirs.worker("celery", "victim", "q", "-c", "1"),
    ]
    for victim in victims:
        victim.wait_ready()
    tasks: list[tuple[Fleet, str]] = []
    for fleet in (ours, left):
        for engine, client in fleet.clients.items():
            ask(client, "slow", (engine, 2), queue="q")
            tasks.append((fleet, engine))
    ask(theirs.clients["multi"], "late", ("late", 2), queue="q")
    tasks.append((theirs, "late"))
    for fleet, name in tasks:
        fleet.wait_notes(name)
    for victim in victims:
        victim.kill()
    killed = time.time()
    for fleet, name in tasks:
        assert [note["what"] for note in fleet.notes(name)] == ["begin"]
    ours.worker("multi", "heir", "q", "-c", "2")
    left.worker("celery", "heir", "q", "-c", "2")
    theirs.worker("multi", "bystander", "q,other", "-c", "1").wait_ready()
    for name in ("celery", "multi"):
        notes = ours.wait_notes(name, 3, 20)
        assert [note["what"] for note in notes] == ["begin", "begin", "end"]
        assert notes[1]["time"] - killed < 2 * 2 + 3, "a dead worker's tasks return after its lease"
    # for more than two leases our node has seen Celery's claim, and not touched it
    assert time.time() - killed > 4
    assert state(theirs)["unacked"] == 1
    assert len(theirs.notes("late")) == 1
    theirs.worker("celery", "heir", "other2", "-c", "1")
    for name in ("celery", "multi"):
        notes = left.wait_notes(name, 3, 40)
        assert [note["what"] for note in notes] == ["begin", "begin", "end"]
        assert notes[1]["engine"] == "celery"
    notes = theirs.wait_notes("late", 3, 40)
    assert [note["what"] for note in notes] == ["begin", "begin", "end"]
    assert notes[1]["engine"] == "multi"
    for fleet, _ in tasks:
        until(partial(settled, fleet, "unacked"), 10, what="all claims to be settled")


@pytest.mark.parametrize("engine", ["celery", "multi"])
def test_many_tasks_on_one_queue_are_shared_and_each_runs_once(make_fleet: Maker, engine: str) -> None:
    fleet = make_fleet()
    client = fleet.clients[engine]
    fleet.worker("celery", "theirs", "q", "-c", "2")
    fleet.worker("multi", "ours", "q", "-c", "2")
    for worker in fleet.workers:
        worker.wait_ready()
    name = uuid.uuid4().hex
    sent = [ask(client, "note", (number,), {"name": name}, queue="q") for number in range(600)]
    notes = fleet.wait_notes(name, 600, 40)
    assert Counter(note["id"] for note in notes) == Counter(result.id for result in sent)
    assert {note["engine"] for note in notes} == {"celery", "multi"}
    assert [result.get(timeout=10) for result in sent] == list(range(600))
    until(partial(settled, fleet), 10, what="no claim to be left")


def test_workers_of_both_engines_come_and_go_and_each_task_runs_once(make_fleet: Maker) -> None:
    fleet = make_fleet()
    theirs = fleet.worker("celery", "theirs", "q", "-c", "2")
    ours = fleet.worker("multi", "ours", "q", "-c", "2")
    theirs.wait_ready()
    ours.wait_ready()
    name = uuid.uuid4().hex
    sent = [ask(client, "slow", (name, 0.02), queue="q") for client in fleet.clients.values() for _ in range(300)]

    def ended() -> int:
        return sum(note["what"] == "end" for note in fleet.notes(name))

    until(lambda: ended() > 60, 20)
    assert ours.stop() == 0
    until(lambda: ended() > 150, 20)
    ours.start()
    ours.wait_ready()
    stopping = time.time()
    assert theirs.stop() == 0
    until(lambda: ended() > 300, 20)
    theirs.start()
    until(lambda: ended() >= 600, 40)
    assert {result.get(timeout=10) for result in sent} == {"celery", "multi"}
    runs: dict[str, list[dict[str, Any]]] = {one.id: [] for one in sent}
    for note in fleet.notes(name):
        if note["what"] == "begin":
            runs[note["id"]].append(note)
    for first, *more in runs.values():
        # what Celery has run and not yet acknowledged, its own warm stop puts back ("Restoring 1 unacknowledged message(s)")
        assert not more or (first["engine"] == "celery" and more[0]["time"] > stopping and len(more) == 1), (
            first,
            more,
        )
    assert sum(len(more) for _, *more in runs.values()) <= 2, "no more than its processes had in hand"
    until(partial(settled, fleet), 10, what="no claim to be left")
