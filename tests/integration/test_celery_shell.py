"""The commands for tasks and queues, with Celery's workers and clients at the other end."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import pytest
from support.mixed import Fleet
from support.project import Project
from support.wait import until

from multi.brokers.amqp import AMQPBroker
from multi.brokers.redis import RedisBroker

kombu: Any = importlib.import_module("kombu")  # without types


@pytest.fixture
def celerys(fleet: Fleet) -> Any:
    return fleet.clients["celery"]


def test_calls_are_checked_by_what_celerys_workers_have_registered(fleet: Fleet, project: Project) -> None:
    done = project.multi("call", "fleet.add", "-a", "[2, 3]", "--queue", "theirs", "--wait", "-b", fleet.broker,
                         "--result-backend", fleet.backend)  # fmt: skip
    assert done.stdout.splitlines()[1] == "5"
    unknown = project.multi("call", "fleet.ad", "-a", "[2, 3]", "-b", fleet.broker, code=2).stderr
    assert "did you mean 'fleet.add'?" in unknown
    (theirs,) = [name for name in _nodes(project, fleet) if name.startswith("theirs@")]
    rows = json.loads(project.multi("tasks", theirs, "-b", fleet.broker, "--json").stdout)
    assert {"name": "fleet.add", "signature": "", "options": {}} in rows


def _nodes(project: Project, fleet: Fleet) -> list[str]:
    found: dict[str, Any] = json.loads(project.multi("inspect", "ping", "-b", fleet.broker, "--json").stdout)
    return list(found)


def test_what_celerys_client_has_sent_is_seen_and_moves_to_where_celerys_worker_runs_it(
    fleet: Fleet, celerys: Any, project: Project
) -> None:
    sent = [celerys.send_task("fleet.add", [number, 1], queue="set-aside") for number in range(3)]
    (row, *_) = json.loads(project.multi("peek", "set-aside", "-b", fleet.broker, "--json").stdout)
    assert (row["id"], row["task"], row["args"], row["since"]) == (sent[0].id, "fleet.add", "(0, 1)", None)
    bound = json.loads(project.multi("list", "bindings", "-b", fleet.broker, "--json").stdout)
    assert {"exchange": "set-aside", "queue": "set-aside", "key": "set-aside"} in bound
    moved = project.multi("move", "set-aside", "theirs", "-b", fleet.broker).stdout
    assert moved == "3 moved from set-aside to theirs\n"
    assert [result.get(timeout=30) for result in sent] == [1, 2, 3]


def test_a_moved_message_names_the_queue_to_which_celerys_worker_would_give_it_back(redis_url: str) -> None:
    """Both halves of what kombu goes by: the list, and the routing key within the message."""
    with kombu.Connection(redis_url) as connection:
        connection.SimpleQueue("first").put({"x": 1}, priority=3)
        broker = RedisBroker(redis_url)
        assert broker.move("first", "second") == 1
        message = connection.SimpleQueue("second").get(timeout=10)
        assert message.payload == {"x": 1}
        assert message.delivery_info["routing_key"] == "second"
        message.requeue()
        assert broker.depth("second") == 1
        broker.close()


def test_messages_of_celerys_migrate_to_rabbitmq_and_back(
    redis_url: str, rabbitmq_url: str, project: Project, fleet: Fleet
) -> None:
    import celery

    app = celery.Celery("sender", broker=redis_url, set_as_current=False)
    sent = [app.send_task("fleet.add", [number, 1], {"text": "é"}, countdown=number) for number in range(5)]
    first = json.loads(project.multi("migrate", "-a", redis_url, rabbitmq_url, "--json").stdout)
    assert (first["migrated"], first["queues"]) == (5, {"celery": 5})
    with kombu.Connection(rabbitmq_url) as connection:
        queue = kombu.Queue("celery", kombu.Exchange("celery", "direct"), "celery")(connection.channel())
        message = queue.get(no_ack=False)
        assert message is not None
        assert message.headers["id"] == sent[0].id
        assert message.headers["task"] == "fleet.add"
        assert message.payload[:2] == [[0, 1], {"text": "é"}]
        message.requeue()
    back = project.multi("migrate", "-a", rabbitmq_url, redis_url, "--json")
    assert json.loads(back.stdout)["migrated"] == 5
    assert "doesn't tell which queues it has: only celery was looked into; name them with -Q" in back.stderr
    with kombu.Connection(redis_url) as connection:
        found = connection.SimpleQueue("celery")
        taken = [found.get(timeout=10) for _ in range(5)]
        assert sorted(each.headers["id"] for each in taken) == sorted(each.id for each in sent)
        assert {each.headers["eta"] is None for each in taken} == {True, False}
        for each in taken:
            each.ack()
    app.close()


def test_the_words_of_celerys_command_line_are_understood(redis_url: str, project: Project) -> None:
    """The same words after `celery` and after `multi`, on one broker."""
    project.write(
        "theirs.py", f"from celery import Celery\napp = Celery('p', broker={redis_url!r}, backend={redis_url!r})\n"
    )
    project.write(
        "ours.py", f"from multi import Celery\napp = Celery('p', broker={redis_url!r}, backend={redis_url!r})\n"
    )
    words = (
        "call",
        "p.add",
        "-a",
        "[1, 2]",
        "-k",
        '{"z": 3}',
        "--countdown",
        "3600",
        "--queue",
        "jobs",
        "--serializer",
        "json",
    )
    for command in ([sys.executable, "-m", "celery", "-A", "theirs"], [sys.executable, "-m", "multi", "-A", "ours"]):
        done = project._run([*command, *words], 60, 0)
        assert len(done.stdout.strip()) == 36, done.stdout
    broker = RedisBroker(redis_url)
    first, second = [each.message for each in broker.peek("jobs", 10)]
    broker.close()
    assert first is not None
    assert second is not None
    assert json.loads(first.body) == json.loads(second.body)
    same = ("task", "argsrepr", "kwargsrepr", "retries", "timelimit", "lang")
    assert [first.headers[name] for name in same] == [second.headers[name] for name in same]
    purged = project.multi("-A", "ours", "purge", "-f", "-Q", "jobs").stdout
    assert purged == "jobs: 2 dropped\n"


def test_a_quorum_queue_is_not_looked_into_since_it_drops_what_was_given_back_too_often(
    rabbitmq_url: str, project: Project
) -> None:
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": 2, "x-max-length": 100, "x-overflow": "reject-publish"}
    with kombu.Connection(rabbitmq_url) as connection:
        queue = kombu.Queue("safe", kombu.Exchange(""), "safe", queue_arguments=arguments)(connection.channel())
        queue.declare()
        for number in range(3):
            connection.Producer().publish([number], routing_key="safe", headers={"task": "t", "id": str(number)})
        broker = AMQPBroker(rabbitmq_url)
        until(lambda: broker.depth("safe") == 3, 30, what="all of them wait")
        for words in (("peek", "safe"), ("move", "safe", "other", "--task", "x")):
            assert "safe is a quorum queue" in project.multi(*words, "-b", rabbitmq_url, code=2).stderr
        message = queue.get()
        assert message is not None
        assert message.headers.get("x-delivery-count", 0) == 0
        message.ack()
        assert broker.move("safe", "other") == 2
        assert [each.message.headers["id"] for each in broker.peek("other", 10) if each.message] == ["1", "2"]
        broker.close()
