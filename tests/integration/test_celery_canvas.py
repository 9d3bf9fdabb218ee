"""Canvases on Celery and on multi with the same Redis: the same programs lead to the same outcomes, whoever sends what and
whoever runs it, and a chain or a chord whose parts run on both sides completes once."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import celery
import celery.exceptions
import pytest
import redis
from conftest import in_ci
from support import celeries
from support.mixed import ENGINES, Fleet, sign
from support.servers import Redis
from support.wait import until

import multi
from multi.backends.redis import RedisBackend

TIMEOUT = 30
QUEUES = {"celery": "theirs", "multi": "ours"}
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def fleet(redis_server: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A worker of Celery's for the queue `theirs` and one of multi's for `ours`; `both` is served by both."""
    with_tasks = Fleet(tmp_path_factory.mktemp("canvas"), redis_server.fresh())
    try:
        for engine, queue in QUEUES.items():
            with_tasks.worker(engine, queue, f"{queue},both", "-c", "3", task_default_queue=queue)
        for worker in with_tasks.workers:
            worker.wait_ready()
        yield with_tasks
    finally:
        with_tasks.close()


class Kit:
    """What a program writes its canvas with: one client's words, and the queue of the worker that is to run it."""

    def __init__(self, fleet: Fleet, client: str, queue: str) -> None:
        self.client, self.queue = fleet.clients[client], queue
        self.lib: Any = celery if client == "celery" else multi
        self.note = uuid.uuid4().hex

    def s(self, name: str, /, *args: Any, queue: str | None = None, **kwargs: Any) -> Any:
        return sign(self.client, name, *args, queue=queue or self.queue, **kwargs)

    def group(self, *calls: Any) -> Any:
        return self.lib.group(*calls, app=self.client)

    def chain(self, *calls: Any) -> Any:
        return self.lib.chain(*calls, app=self.client) if self.lib is multi else self.lib.chain(*calls)

    def chord(self, header: Any, body: Any) -> Any:
        return self.lib.chord(header, body, app=self.client)


def outcome(result: Any) -> Any:
    """What a program gets in the end, with ids made equal."""
    try:
        # a Celery client that lets exceptions through raises that of a body or of its header, as it happens to come
        return comparable(result.get(timeout=TIMEOUT, propagate=False))
    except (celery.exceptions.TimeoutError, TimeoutError) as error:
        return f"no end: {error}"


def comparable(value: Any) -> Any:
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if key != "engine"}
    if type(value).__name__ == "EncodeError":
        return "EncodeError", "<told>"  # each in words of its own
    if isinstance(value, Exception):
        return type(value).__name__, ID.sub("<id>", str(value)).replace("fleet.", "")
    return value


Scenario = Callable[[Kit], Any]
SCENARIOS: dict[str, tuple[Scenario, Any]] = {
    "a task": (lambda c: c.s("add", 1, 2).apply_async(), 3),
    "a task that fails": (lambda c: c.s("trouble", "no").apply_async(), ("Trouble", "no")),
    "a task that waits for its time": (lambda c: c.s("add", 1, 2).apply_async(countdown=0.5), 3),
    "a task that has expired": (lambda c: c.s("add", 1, 2).apply_async(expires=-1), ("TaskRevokedError", "expired")),
    "a task that expires in time": (lambda c: c.s("add", 1, 2).apply_async(expires=60, countdown=0.2), 3),
    "a task that is retried": (lambda c: c.s("again", c.note).apply_async(), {"retries": 1}),
    "a task that is retried in a chain": (
        lambda c: c.chain(c.s("again", c.note), c.s("same"), c.s("same")).apply_async(),
        {"retries": 1},
    ),
    "a task that is retried too often": (
        lambda c: c.s("again", c.note, times=9).apply_async(),
        ("Trouble", "not yet"),
    ),
    "a result that nobody can read": (lambda c: c.s("unserializable").apply_async(), ("EncodeError", "<told>")),
    "a callback of a callback": (lambda c: _linked(c).apply_async(), 3),
    "a group": (lambda c: c.group(c.s("add", i, i) for i in range(3)).apply_async(), [0, 2, 4]),
    "a group that is given arguments": (lambda c: c.group(c.s("add", i) for i in range(3)).apply_async((10,)), [10, 11, 12]),
    "an empty group": (lambda c: c.group([]).apply_async(), []),
    "a group of which a task fails": (
        lambda c: c.group(c.s("add", 1, 1), c.s("value_error", "no")).apply_async(),
        [2, ("ValueError", "no")],
    ),
    "groups in a group": (
        lambda c: c.group(c.s("add", 0, 0), c.group(c.s("add", 1, 1), c.s("add", 2, 2))).apply_async(),
        [0, 2, 4],
    ),
    "a group of chains": (
        lambda c: c.group(c.chain(c.s("add", i, 1), c.s("add", 10)) for i in range(2)).apply_async(),
        [11, 12],
    ),
    "a chain": (lambda c: c.chain(c.s("add", 1, 2), c.s("add", 3), c.s("add", 4)).apply_async(), 10),
    "a chain that is given an argument": (lambda c: c.chain(c.s("add", 1), c.s("add", 3)).apply_async((5,)), 9),
    "a chain in a chain": (lambda c: c.chain(c.s("add", 1, 2), c.chain(c.s("add", 3), c.s("add", 4))).apply_async(), 10),
    "a chain that ends in a group": (lambda c: (c.s("add", 1, 2) | c.group(c.s("add", 3), c.s("add", 4))).apply_async(), [6, 7]),
    "a group of one in a chain": (lambda c: (c.s("add", 1, 2) | c.group([c.s("add", 3)]) | c.s("add", 4)).apply_async(), 10),
    "a group in a chain": (
        lambda c: (c.s("add", 1, 2) | c.group(c.s("add", 3), c.s("add", 4)) | c.s("total") | c.s("add", 100)).apply_async(),
        113,
    ),
    "two groups in a chain": (
        lambda c: (
            c.group(c.s("add", 1, 2), c.s("add", 3, 4)) | c.s("total") | c.group(c.s("add", 1), c.s("add", 2)) | c.s("total")
        ).apply_async(),
        23,
    ),
    "a group after a group": (
        lambda c: (c.group(c.s("same", 1), c.s("same", 2)) | c.group(c.s("total"), c.s("same"))).apply_async(),
        [3, [1, 2]],
    ),
    "a chain whose second task fails": (
        lambda c: c.chain(c.s("add", 1, 2), c.s("value_error"), c.s("add", 1)).apply_async(),
        ("ValueError", "3"),
    ),
    "a chord": (lambda c: c.chord([c.s("add", i, i) for i in range(5)], c.s("same")).apply_async(), [0, 2, 4, 6, 8]),
    "a chord called with its body": (lambda c: c.lib.chord([c.s("add", i, i) for i in range(3)])(c.s("total")), 6),
    "a chord of one task": (lambda c: c.chord([c.s("add", 1, 2)], c.s("same")).apply_async(), [3]),
    "a chord without a header": (lambda c: c.chord([], c.s("same")).apply_async(), []),
    "a chord whose body takes nothing": (
        lambda c: c.chord([c.s("add", 1, 2)], c.s("add", 5, 6, immutable=True)).apply_async(),
        11,
    ),
    "a chord that is given an argument": (
        lambda c: c.chord([c.s("add", 1), c.s("add", 2)], c.s("same")).apply_async((10,)),
        [11, 12],
    ),
    "a chord of chains": (
        lambda c: c.chord([c.chain(c.s("add", i, 1), c.s("add", 10)) for i in range(3)], c.s("same")).apply_async(),
        [11, 12, 13],
    ),
    "a chord whose body is a chain": (
        lambda c: c.chord([c.s("add", 1, 2), c.s("add", 3, 4)], c.chain(c.s("total"), c.s("add", 100))).apply_async(),
        110,
    ),
    "a chord whose body is a group": (
        lambda c: c.chord([c.s("same", 1), c.s("same", 2)], c.group(c.s("total"), c.s("same"))).apply_async(),
        [3, [1, 2]],
    ),
    "a chord that a task follows": (
        lambda c: (c.chord([c.s("add", 1, 2), c.s("add", 3, 4)], c.s("total")) | c.s("add", 100)).apply_async(),
        110,
    ),
    "a chord that a chord follows": (
        lambda c: c.chain(
            c.chord([c.s("add", 1, 2), c.s("add", 3, 4)], c.s("total")),
            c.chord([c.s("add", 1), c.s("add", 2)], c.s("same")),
        ).apply_async(),
        [11, 12],
    ),
    "a chord in a chord's header": (
        lambda c: c.chord(
            [c.s("add", 1, 1), c.chord([c.s("add", 2, 2), c.s("add", 3, 3)], c.s("total"))], c.s("same")
        ).apply_async(),
        [2, 10],
    ),
    "a chord as a chord's body": (
        lambda c: c.chord([c.s("same", 1), c.s("same", 2)], c.chord([c.s("total"), c.s("same")], c.s("same"))).apply_async(),
        [3, [1, 2]],
    ),
    "groups in a chord's header": (
        lambda c: c.chord([c.group(c.s("same", 1), c.s("same", 2)), c.s("same", 3)], c.s("total")).apply_async(),
        6,
    ),
    "a chain that ends in a group in a chord's header": (
        lambda c: c.chord(
            [c.s("same", 1), c.chain(c.s("same", 2), c.group(c.s("add", 1), c.s("add", 2)))], c.s("same")
        ).apply_async(),
        [1, [3, 4]],
    ),
    "a chord of which a part fails": (
        lambda c: c.chord([c.s("add", 1, 1), c.s("value_error", "no")], c.s("same")).apply_async(),
        ("ChordError", "Dependency <id> raised ValueError('no')"),
    ),
    "a chord whose part fails in a chain": (
        lambda c: c.chord([c.s("add", 1, 1), c.chain(c.s("value_error", "no"), c.s("same"))], c.s("same")).apply_async(),
        ("ChordError", "Dependency <id> raised ValueError('no')"),
    ),
    "a chord whose body fails": (
        lambda c: c.chord([c.s("add", 1, 1)], c.s("value_error")).apply_async(),
        ("ValueError", "[2]"),
    ),
    "a task after a chord of which a part fails": (
        lambda c: c.chain(c.chord([c.s("value_error", "no"), c.s("same", 1)], c.s("same")), c.s("same")).apply_async(),
        ("ChordError", "Dependency <id> raised ValueError('no')"),
    ),
    "a chord whose part is retried": (
        lambda c: c.chord([c.s("add", 1, 1), c.s("again", c.note), c.s("add", 2, 2)], c.s("total_of_numbers")).apply_async(),
        6,
    ),
    "a chord of which a part has expired": (
        lambda c: c.chord([c.s("add", 1, 1), c.s("add", 1, 1).set(expires=-1)], c.s("same")).apply_async(),
        ("ChordError", "Dependency <id> raised TaskRevokedError('expired')"),
    ),
    "a task that becomes another": (lambda c: c.s("become", "task", 1, c.queue).apply_async(), 2),
    "a task that becomes a chain": (lambda c: c.s("become", "chain", 1, c.queue).apply_async(), 102),
    "a task that becomes a group": (lambda c: c.s("become", "group", 1, c.queue).apply_async(), [2, 3]),
    "a task that becomes a chord": (lambda c: c.s("become", "chord", 1, c.queue).apply_async(), 5),
    "a task in a chain that becomes a group": (
        lambda c: c.chain(c.s("become", "group", 1, c.queue), c.s("total"), c.s("add", 10)).apply_async(),
        15,
    ),
    "a task in a chord that becomes a chord": (
        lambda c: c.chord([c.s("become", "chord", 1, c.queue), c.s("add", 1, 1)], c.s("same")).apply_async(),
        [5, 2],
    ),
    "a task in a chord that becomes a chain": (
        lambda c: c.chord([c.s("become", "chain", 1, c.queue), c.s("add", 1, 1)], c.s("same")).apply_async(),
        [102, 2],
    ),
    "a task in a chord that adds another": (
        lambda c: c.chord([c.s("grow", 1, c.queue), c.s("add", 1, 1)], c.s("total")).apply_async(),
        1004,
    ),
    "a stamped chain": (lambda c: _stamped(c, c.chain(c.s("same", 1), c.s("stamps"))), {"customer": "42"}),
    "a stamped chord": (lambda c: _stamped(c, c.chord([c.s("stamps"), c.s("stamps")], c.s("same"))), [{"customer": "42"}] * 2),
}  # fmt: skip


def _stamped(kit: Kit, canvas: Any) -> Any:
    canvas.stamp(customer="42")
    return canvas.apply_async()


def _linked(kit: Kit) -> Any:
    call, first, second = kit.s("add", 1, 2), kit.s("add", 10), kit.s("add", 100)
    first.link(second)
    call.link(first)
    return call


COMBINATIONS = [(client, worker) for client in ENGINES for worker in ENGINES]


@pytest.fixture(scope="module")
def outcomes(fleet: Fleet) -> dict[str, dict[tuple[str, str], Any]]:
    """What each scenario leads to, by client and worker; all of them are under way at once."""
    sent = {
        name: {(client, worker): program(Kit(fleet, client, QUEUES[worker])) for client, worker in COMBINATIONS}
        for name, (program, _) in SCENARIOS.items()
    }
    return {
        name: {by: (outcome(result), getattr(result, "state", None)) for by, result in results.items()}
        for name, results in sent.items()
    }


@pytest.mark.parametrize("name", SCENARIOS)
def test_outcomes_are_those_of_celery(outcomes: dict[str, dict[tuple[str, str], Any]], name: str) -> None:
    found = outcomes[name]
    expected = SCENARIOS[name][1]
    assert all(found[by][0] == expected for by in COMBINATIONS), found
    assert len({state for _, state in found.values()}) == 1, found


@pytest.mark.parametrize("client", ENGINES)
def test_a_chain_hops_between_both_engines(fleet: Fleet, client: str) -> None:
    kit = Kit(fleet, client, "ours")
    steps = [kit.s("note", 0, name=kit.note, queue="ours")]
    steps += [kit.s("note", name=kit.note, queue=queue) for queue in ("theirs", "ours", "theirs", "ours")]
    result = kit.chain(*steps, kit.s("add", 5, queue="theirs")).apply_async()
    assert result.get(timeout=TIMEOUT) == 5
    notes = fleet.wait_notes(kit.note, 5)
    assert [note["engine"] for note in notes] == ["multi", "celery", "multi", "celery", "multi"]
    assert {note["root"] for note in notes} == {notes[0]["id"]}
    assert [note["parent"] for note in notes[1:]] == [note["id"] for note in notes[:-1]]


@pytest.mark.parametrize("body", ["theirs", "ours", "both"])
@pytest.mark.parametrize("client", ENGINES)
def test_a_chord_whose_parts_run_on_both_engines_is_completed_once(fleet: Fleet, client: str, body: str) -> None:
    kit = Kit(fleet, client, "ours")
    queues = ("ours", "theirs", "both")
    rounds = []
    for _ in range(8):
        note = uuid.uuid4().hex
        parts = [kit.s("same", number, queue=queues[number % 3]) for number in range(9)]
        rounds.append((note, kit.chord(parts, kit.s("note", name=note, queue=body)).apply_async()))
    for note, result in rounds:
        assert result.get(timeout=TIMEOUT) == list(range(9))
        (only,) = fleet.wait_notes(note)
        assert only["args"] == [list(range(9))]
    # whatever a second completion had sent would have gone through the same queue before this
    kit.s("same", 1, queue=body).apply_async().get(timeout=TIMEOUT)
    assert [len(fleet.notes(note)) for note, _ in rounds] == [1] * 8


@pytest.mark.parametrize("client", ENGINES)
@pytest.mark.parametrize("failing", ["theirs", "ours"])
def test_a_part_that_fails_on_either_engine_fails_the_body_once(fleet: Fleet, client: str, failing: str) -> None:
    kit = Kit(fleet, client, "ours")
    other = "ours" if failing == "theirs" else "theirs"
    told = kit.s("note", name=kit.note, queue="both")
    body = kit.s("note", name=f"{kit.note}-body", queue="both")
    body.link_error(told)
    parts = [kit.s("value_error", "no", queue=failing), *(kit.s("same", n, queue=other) for n in range(4))]
    result = kit.chord(parts, body).apply_async()
    assert comparable(result.get(timeout=TIMEOUT, propagate=False)) == (
        "ChordError",
        "Dependency <id> raised ValueError('no')",
    )
    (only,) = fleet.wait_notes(kit.note)
    assert only["args"] == [result.id]
    assert fleet.notes(f"{kit.note}-body") == []


def test_a_chord_is_completed_once_beside_workers_of_an_older_celery(fleet: Fleet) -> None:
    # until 5.6 they count the parts in steps of their own, and write down neither which have come nor who sends the body
    try:
        python = celeries.python("5.4")
    except celeries.NotMade as error:
        if in_ci():
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    worker = fleet.worker("celery", "old", "old", "-c", "3", python=python).wait_ready()
    try:
        for client in ENGINES:
            kit = Kit(fleet, client, "ours")
            rounds = []
            for _ in range(10):
                note = uuid.uuid4().hex
                parts = [kit.s("same", number, queue="old" if number % 2 else "ours") for number in range(8)]
                rounds.append((note, kit.chord(parts, kit.s("note", name=note)).apply_async()))
            for note, result in rounds:
                assert result.get(timeout=TIMEOUT) == list(range(8))
                assert [run["args"] for run in fleet.wait_notes(note)] == [[list(range(8))]]
            kit.s("same", 1).apply_async().get(timeout=TIMEOUT)
            assert [len(fleet.notes(note)) for note, _ in rounds] == [1] * 10
    finally:
        worker.stop()


def test_a_part_that_an_older_celery_counted_twice_is_one_part(redis_url: str) -> None:
    backend = RedisBackend(redis_url)
    server = redis.Redis.from_url(redis_url)
    backend.store(backend.open_chord("g", 3, None))
    for value in ("first", "delivered again"):
        server.zadd("celery-taskset-meta-g.j", {json.dumps([1, "a", "SUCCESS", value]): 0})
    parts = {name: json.dumps([1, name, "SUCCESS", name]).encode() for name in "bc"}
    assert backend.join_chord("g", 1, "b", parts["b"], success=True) is None
    joined = backend.join_chord("g", 2, "c", parts["c"], success=True)
    assert joined is not None
    assert [json.loads(part)[1] for part in joined.parts] == ["a", "b", "c"]
    backend.close()
    server.close()


def test_a_chord_on_both_engines_survives_the_death_of_our_worker(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(worker_lease=2)
    theirs = fleet.worker("celery", "theirs", "theirs", "-c", "2")
    first = fleet.worker("multi", "first", "ours", "-c", "2").wait_ready()
    theirs.wait_ready()
    kit = Kit(fleet, "celery", "ours")
    parts = [kit.s("slow", kit.note, 0.5, queue="ours" if number % 2 else "theirs") for number in range(8)]
    result = kit.chord(parts, kit.s("note", name=f"{kit.note}-body", queue="theirs")).apply_async()
    until(lambda: sum(run["engine"] == "multi" for run in fleet.notes(kit.note)) >= 3, 15, what="parts at our worker")
    first.kill()
    fleet.worker("multi", "second", "ours", "-c", "2").wait_ready()
    assert result.get(timeout=TIMEOUT) == ["celery", "multi"] * 4
    kit.s("same", 1, queue="theirs").apply_async().get(timeout=TIMEOUT)
    (body,) = fleet.notes(f"{kit.note}-body")
    assert body["args"] == [["celery", "multi"] * 4]


def test_chords_in_chords_run_on_both_engines(fleet: Fleet) -> None:
    for client in ENGINES:
        kit = Kit(fleet, client, "ours")

        def inner(first: str, second: str, kit: Kit = kit) -> Any:
            return kit.chord(
                [kit.s("same", 1, queue=first), kit.s("same", 2, queue=second)], kit.s("total", queue=first)
            )

        header = [inner("ours", "theirs"), inner("theirs", "ours"), kit.s("same", 10, queue="both")]
        result = (kit.chord(header, kit.s("total", queue="theirs")) | kit.s("add", 1, queue="ours")).apply_async()
        assert result.get(timeout=TIMEOUT) == 17


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")
def test_a_group_that_one_client_saved_is_restored_by_the_other(fleet: Fleet) -> None:
    for client, other in zip(ENGINES, reversed(ENGINES), strict=True):
        kit = Kit(fleet, client, "both")
        result = kit.group(kit.s("add", i, i) for i in range(3)).apply_async()
        result.save()
        restored = fleet.clients[other].GroupResult.restore(result.id)
        assert restored.get(timeout=TIMEOUT) == [0, 2, 4]
        assert restored.as_tuple() == result.as_tuple()
        restored.delete()
        assert fleet.clients[client].GroupResult.restore(result.id) is None
