"""The way back: what multi's workers leave in the broker is run by Celery's, each task once."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from support.mixed import Fleet, ask
from support.project import Project
from support.servers import RabbitMQ, Redis
from support.wait import until

from multi.brokers.base import Broker, QueueCounts
from multi.brokers.redis import RedisBroker
from multi.outcome import Publication
from multi.testing.nodes import nodes
from multi.testing.rig import ended, message, name_of

#: Tasks that are run before the worker is stuck, tasks for later, and those that wait behind; on Redis 1,000 in all.
SIZES = {"redis": (298, 200, 500), "rabbitmq": (30, 20, 50)}
STUCK = 2
LEASE = 3.0


@pytest.fixture
def small_fleet(redis_server: Redis, tmp_path: Path, mark: str, no_leftovers: None) -> Iterator[Callable[[str], Fleet]]:
    """A fleet on a broker of either kind, with results in Redis."""
    made: list[Fleet] = []

    def make(broker: str) -> Fleet:
        made.append(Fleet(tmp_path, broker, redis_server.fresh(), task_ignore_result=True))
        return made[-1]

    yield make
    for fleet in made:
        fleet.close()


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_tasks_go_to_multi_and_back_to_celery_none_lost_none_run_twice(
    kind: str,
    small_fleet: Callable[[str], Fleet],
    project: Project,
    redis_server: Redis,
    request: pytest.FixtureRequest,
) -> None:
    """Celery's client, a worker of multi that is killed in the middle of its work, and Celery's worker for what is left."""
    before, later, behind = SIZES[kind]
    if kind == "rabbitmq":
        server: RabbitMQ = request.getfixturevalue("rabbitmq_server")
        fleet = small_fleet(server.fresh())
    else:
        fleet = small_fleet(redis_server.fresh())
    ours = fleet.worker("multi", "ours", "celery", "-c", str(STUCK), worker_lease=LEASE).wait_ready()
    client = fleet.clients["celery"]
    number = 0

    def send(count: int, name: str = "note", **options: object) -> None:
        nonlocal number
        for _ in range(count):
            ask(
                client,
                name,
                (number,) if name == "note" else (),
                {"name": f"run-{number}"} if name == "stuck" else {"name": "runs"},
                **options,
            )
            number += 1

    send(before)
    send(later, countdown=12 if kind == "redis" else 6)
    send(STUCK, "stuck")
    send(behind)
    broker: Broker = fleet.clients["multi"].broker

    def counts() -> QueueCounts:
        return next(each for each in broker.counts(["celery"]) if each.name == "celery")

    fleet.wait_notes("runs", before, timeout=60)
    for each in range(before + later, before + later + STUCK):
        fleet.wait_notes(f"run-{each}", timeout=30)
    # what is done is acknowledged, so that nothing but what is stuck is held; some from behind may have been run before that
    until(lambda: counts().claimed in (STUCK, None), 30, what="only the stuck ones held")
    until(lambda: counts().waiting == before + behind - len(fleet.notes("runs")), 30, what="all others in their queue")
    done_here = len(fleet.notes("runs"))
    if kind == "redis":
        project.multi("queues", "handback", "-b", fleet.broker, code=1)
    ours.kill()
    done = project.multi("queues", "handback", "-b", fleet.broker, "-Q", "celery", "--wait", "1m", "--json")
    told = json.loads(done.stdout)
    if kind == "redis":
        assert told == {"parked": later, "claimed": STUCK, "dead": 0, "held": 0}
        after = counts()
        left = before + later + STUCK + behind - done_here
        assert (after.waiting, after.parked, after.claimed) == (left, 0, 0)
    else:
        assert told == {"parked": 0, "claimed": 0, "dead": 0, "held": 0}
    theirs = fleet.worker("celery", "theirs", "celery", "-c", "2").wait_ready()
    fleet.wait_notes("runs", before + later + behind, timeout=90)
    for each in range(before + later, before + later + STUCK):
        fleet.wait_notes(f"run-{each}", 2, timeout=30)
    assert theirs.stop() == 0
    runs = Counter(run["args"][0] for run in fleet.notes("runs"))
    expected = {*range(number)} - {*range(before + later, before + later + STUCK)}
    assert runs == dict.fromkeys(expected, 1)
    engines = Counter(run["engine"] for run in fleet.notes("runs"))
    assert engines == {"multi": done_here, "celery": number - STUCK - done_here}
    for each in range(before + later, before + later + STUCK):
        begun, ended = fleet.notes(f"run-{each}")
        assert (begun["engine"], begun["ended"]) == ("multi", False)
        assert (ended["engine"], ended["ended"]) == ("celery", True)
    after = counts()
    assert (after.waiting, after.parked or 0, after.claimed or 0, after.dead) == (0, 0, 0, 0)


def test_keys_with_a_prefix_priorities_and_odd_names_are_told_apart(redis_url: str) -> None:
    """Names that would match as patterns, a queue that is another one's with a step, and messages that Celery's workers hold."""
    brokers = [RedisBroker(redis_url, {"global_keyprefix": prefix}) for prefix in ("s[h]op*:", "")]
    mine, other = brokers
    queue = "a[b]*?"
    due = time.time() + 100
    for broker in brokers:
        broker.publish([Publication(queue, message("p", priority=priority), due) for priority in (0, 4, 9)])
        broker.publish([Publication("second", message("s"), due)])
    mine.publish([Publication(queue, message("d", priority=0)), Publication(queue, message("c"))])
    with nodes(False) as make:
        lane = make(mine, [queue]).lane()
        dead, claimed = sorted(lane.take(2), key=name_of, reverse=True)
        lane.settle(ended(dead, "bury", reason="test"))
        # as a worker of Celery's holds it
        with redis.Redis.from_url(redis_url) as server:
            entry = json.dumps([{"body": "", "properties": {}}, queue, queue])
            server.hset("s[h]op*:unacked", "theirs", entry)
            server.zadd("s[h]op*:unacked_index", {"theirs": time.time()})
        found = {each.name: (each.waiting, each.parked, each.claimed, each.dead) for each in mine.counts([queue])}
        assert found == {queue: (0, 3, 2, 1), "second": (0, 1, 0, 0)}
        lane.settle(ended(claimed))
        # a worker that is stopped would put back by itself what is parked
        back = mine.hand_back([queue], dead=True)
    assert (back.parked, back.claimed, back.dead, back.held) == (3, 0, 1, 0)
    assert mine.depth(queue) == 4
    with redis.Redis.from_url(redis_url) as server:
        assert server.llen(f"s[h]op*:{queue}") == 1  # our highest is what Celery serves first
        assert server.hexists("s[h]op*:unacked", "theirs")
    assert [(each.name, each.parked) for each in other.counts([])] == [(queue, 3), ("second", 1)]
    assert other.hand_back().parked == 4
    for broker in brokers:
        broker.close()


def test_of_a_worker_that_lives_only_what_it_does_not_hold_is_taken_and_only_by_force(
    redis_url: str, project: Project
) -> None:
    broker = RedisBroker(redis_url)
    with nodes(False) as make:
        lane = make(broker, ["celery"]).lane()
        broker.publish([Publication("celery", message("held"))])
        held = lane.one()
        broker.publish([Publication("celery", message("parked"), time.time() + 100)])
        words = ("queues", "handback", "-b", redis_url)
        refused = project.multi(*words, "--wait", "0.3", code=1).stderr
        assert "workers of multi still consume" in refused
        assert "from celery: counts as gone in" in refused
        told = json.loads(project.multi(*words, "--dry-run", "--json").stdout)
        assert told["queues"] == [{"name": "celery", "parked": 1, "claimed": 1, "dead": 0}]
        assert told["consumers"]
        assert json.loads(project.multi(*words, "-Q", "other", "--json").stdout)["parked"] == 0
        assert broker.depth("celery") == 0
        forced = project.multi(*words, "--force", code=5).stdout
        assert "parked: 1 handed back" in forced
        assert "1 are held by workers that live" in forced
        assert broker.depth("celery") == 1
        lane.settle(ended(held))
    broker.close()
