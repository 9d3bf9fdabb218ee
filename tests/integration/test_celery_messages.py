"""Messages that aren't what our own client writes: older, minimal, odd, or of what our workers can't do yet.

What can't be honoured whole is parked in the dead-letter queue with its reason, told in the log, and nothing of it runs.
"""

from __future__ import annotations

import base64
import json
import pickle
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import celery
import celery.canvas
import celery.exceptions
import msgspec
import pytest
import redis
from support.mixed import Fleet, ask, sign
from support.wait import until

import multi
from multi.brokers.base import DeadLetter

TIMEOUT = 15


@pytest.fixture
def client(fleet: Fleet) -> Any:
    return fleet.clients["celery"]


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def server(fleet: Fleet) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(fleet.broker) as connection:
        yield connection


def push(
    server: redis.Redis, queue: str, headers: Any, body: Any, *, raw: bool = False, kind: str = "application/json"
) -> str:
    """Put a hand-written envelope into a queue; returns its tag."""
    tag = str(uuid.uuid4())
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    data = text.encode() if isinstance(text, str) else text
    properties = {
        "delivery_info": {"exchange": "", "routing_key": queue},
        "delivery_tag": tag,
        "body_encoding": None if raw else "base64",
    }
    envelope = {
        "body": data.decode() if raw else base64.b64encode(data).decode(),
        "content-type": kind,
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": properties,
    }
    server.lpush(queue, json.dumps(envelope))
    return tag


def dead(fleet: Fleet, task_id: str, queue: str = "ours") -> DeadLetter:
    """The dead letter of a task, once it is there."""

    def there() -> list[DeadLetter]:
        return [letter for letter in fleet.clients["multi"].broker.dead(queue) if letter.task_id == task_id]

    return until(there, TIMEOUT, what=f"a dead letter of {task_id} in {queue}")[0]


BOTH = pytest.mark.parametrize("queue", ["theirs", "ours"])


# small and old messages ----------------------------------------------------------------------------------------------


@BOTH
def test_two_headers_and_a_body_without_embed_are_enough(
    client: Any, server: redis.Redis, queue: str, name: str
) -> None:
    push(server, queue, {"task": "fleet.add", "id": name}, [[1, 2], {}, None])
    assert client.AsyncResult(name).get(timeout=TIMEOUT) == 3


@BOTH
def test_a_body_needs_no_base64(client: Any, server: redis.Redis, queue: str, name: str) -> None:
    push(server, queue, {"task": "fleet.add", "id": name}, [[5, 6], {}, None], raw=True)
    assert client.AsyncResult(name).get(timeout=TIMEOUT) == 11


@BOTH
def test_unknown_headers_and_an_unknown_embed_are_no_trouble(
    client: Any, server: redis.Redis, queue: str, name: str
) -> None:
    headers = {"task": "fleet.add", "id": name, "lang": "go", "x-trace": {"a": 1}, "stamps": {}, "meth": None}
    push(server, queue, headers, [[1, 2], {}, {"callbacks": [], "something": "new"}])
    assert client.AsyncResult(name).get(timeout=TIMEOUT) == 3


@BOTH
def test_protocol_1_is_understood(client: Any, server: redis.Redis, queue: str, name: str) -> None:
    push(server, queue, {}, {"task": "fleet.add", "id": name, "args": [3, 4]})
    assert client.AsyncResult(name).get(timeout=TIMEOUT) == 7


@BOTH
def test_protocol_1_with_all_its_fields(fleet: Fleet, client: Any, server: redis.Redis, queue: str, name: str) -> None:
    later = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=1)
    body = {
        "task": "fleet.note", "id": name, "args": ["a"], "kwargs": {"name": name, "k": [1]}, "group": None, "retries": 2,
        "eta": later.isoformat(), "expires": (later + timedelta(hours=1)).isoformat(), "utc": True,
        "callbacks": [sign(client, "note", "linked", queue=queue, name=name + "-link")], "errbacks": None,
        "timelimit": [60, 50], "taskset": "the-group", "chord": None,
    }  # fmt: skip
    push(server, queue, {}, body)
    (note,) = fleet.wait_notes(name)
    assert (note["args"], note["kwargs"], note["retries"]) == (["a"], {"k": [1]}, 2)
    if queue == "ours":  # Celery has forgotten what `taskset` once was
        assert note["group"] == "the-group"
    assert note["time"] >= later.replace(tzinfo=UTC).timestamp()
    (linked,) = fleet.wait_notes(name + "-link")
    assert linked["args"] == ["a", "linked"]


@BOTH
def test_a_celery_client_that_speaks_protocol_1_is_served(fleet: Fleet, queue: str, name: str) -> None:
    old = celery.Celery("old", broker=fleet.broker, backend=fleet.backend, set_as_current=False)
    old.conf.task_protocol = 1
    with old:
        link = sign(old, "note", "linked", queue=queue, name=name)
        assert ask(old, "add", (3, 4), queue=queue, link=link, expires=100).get(timeout=TIMEOUT) == 7
        assert fleet.wait_notes(name)[0]["args"] == [7, "linked"]
        steps = (
            sign(old, "add", 1, 2, queue=queue),
            sign(old, "add", 10, queue=queue),
            sign(old, "add", 100, queue=queue),
        )
        assert celery.chain(*steps, app=old).apply_async().get(timeout=TIMEOUT) == 113
        failed = ask(old, "value_error", ("no",), queue=queue, link_error=sign(old, "errback", name=name + "-err"))
        with pytest.raises(ValueError, match="no"):
            failed.get(timeout=TIMEOUT)
        assert fleet.wait_notes(name + "-err")[0]["failed"] == failed.id


# what our workers can't honour yet -----------------------------------------------------------------------------------


def test_an_unknown_task_is_told_to_its_caller_and_parked(fleet: Fleet, client: Any) -> None:
    sent = client.send_task("fleet.nowhere", (1,), {"k": 2}, queue="ours")
    with pytest.raises(celery.exceptions.NotRegistered, match="fleet.nowhere"):
        sent.get(timeout=TIMEOUT)
    letter = dead(fleet, sent.id)
    assert letter.task == "fleet.nowhere"
    assert "no task is registered as 'fleet.nowhere'" in letter.reason
    assert letter.message is not None
    assert json.loads(letter.message.body)[:2] == [[1], {"k": 2}]
    assert "ERROR" in fleet.wait_line(sent.id, "dead-letter queue", "fleet.nowhere")


def test_our_client_is_told_too_when_celerys_worker_does_not_know_a_task(fleet: Fleet) -> None:
    sent = fleet.clients["multi"].send_task("fleet.nowhere", queue="theirs")
    with pytest.raises(multi.NotRegistered, match="fleet.nowhere"):
        sent.get(timeout=TIMEOUT)


def test_a_chord_runs_whole_where_its_tasks_go_to_celerys_workers(fleet: Fleet, client: Any, name: str) -> None:
    headers = [sign(client, "add", number, 1, queue="theirs") for number in range(3)]
    result = celery.chord(headers, sign(client, "note", queue="ours", name=name), app=client)()
    assert result.get(timeout=TIMEOUT) == [1, 2, 3]
    (note,) = fleet.wait_notes(name)
    assert note["engine"] == "multi"


@pytest.mark.parametrize("form", ["group", "chain | group", "link to a group"])
def test_groups_without_a_chord_run_everywhere(fleet: Fleet, client: Any, form: str, name: str) -> None:
    members = [
        sign(client, "note", number, queue=queue, name=name) for number, queue in enumerate(("ours", "theirs", "ours"))
    ]
    group = celery.group(*members, app=client)
    if form == "group":
        result = group.apply_async()
        assert result.get(timeout=TIMEOUT) == [0, 1, 2]
        assert {note["group"] for note in fleet.wait_notes(name, 3)} == {result.id}
    elif form == "chain | group":
        result = celery.chain(sign(client, "add", 1, 1, queue="ours"), group, app=client).apply_async()
        assert result.get(timeout=TIMEOUT) == [2, 2, 2]
        assert sorted(note["args"] for note in fleet.wait_notes(name, 3)) == [[2, 0], [2, 1], [2, 2]]
        assert {note["group"] for note in fleet.notes(name)} == {result.id}
    else:
        sent = ask(client, "add", (1, 1), queue="ours", link=group)
        notes = fleet.wait_notes(name, 3)
        assert sorted(note["args"] for note in notes) == [[2, 0], [2, 1], [2, 2]]
        assert {note["parent"] for note in notes} == {sent.id}
        assert len({note["group"] for note in notes}) == 1


def test_a_callback_that_is_no_signature_keeps_the_task_from_running(fleet: Fleet, client: Any, name: str) -> None:
    circle = {
        "task": "fleet.add",
        "args": [],
        "kwargs": {},
        "options": {},
        "subtask_type": "circle",
        "immutable": False,
    }
    sent = ask(client, "note", (), {"name": name}, queue="ours", link=celery.Signature(circle, app=client))
    assert "no signature is of the kind 'circle'" in dead(fleet, sent.id).reason
    assert fleet.notes(name) == []


# what is no message --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("this is no JSON", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        ([1, 2], "the body is not [args, kwargs, embed]"),
        ([[1, 2], {}, []], "embed"),
        ([{"a": 1}, {}, None], "the arguments are no list"),
        ([[], [1], None], "the keyword arguments are no mapping"),
        ([[1], {}, {"callbacks": ["not a signature"]}], "no signatures"),
    ],
)
def test_a_body_that_can_not_be_read_is_parked_with_its_reason(
    fleet: Fleet, server: redis.Redis, name: str, body: Any, reason: str
) -> None:
    push(server, "ours", {"task": "fleet.add", "id": name}, body)
    assert reason in dead(fleet, name).reason
    fleet.wait_line(name, "dead-letter queue")


@pytest.mark.parametrize(
    "text",
    [b"no JSON at all", b"[]", b'{"headers": {}}', b'{"body": "abc", "properties": {"body_encoding": "base64"}}'],
)
def test_an_envelope_that_is_none_is_parked_as_it_is(own_fleet: Fleet, text: bytes) -> None:
    own_fleet.worker("multi", "w", "q", "-c", "1", "-P", "solo").wait_ready()
    with redis.Redis.from_url(own_fleet.broker) as server:
        server.lpush("q", text)
        (letter,) = until(lambda: own_fleet.clients["multi"].broker.dead("q"), TIMEOUT, what="the dead letter")
        assert "undecodable message" in letter.reason
        (value,) = server.hvals("multi:dead:q")
        assert value.endswith(b"\0" + text)
        assert server.zcard("multi:leases") == server.zcard("unacked_index") == server.hlen("unacked") == 0
    assert ask(own_fleet.clients["celery"], "add", (1, 1), queue="q").get(timeout=TIMEOUT) == 2


def test_a_message_without_a_delivery_tag_runs_here(client: Any, server: redis.Redis, name: str) -> None:
    body = base64.b64encode(json.dumps([[1, 2], {}, None]).encode()).decode()
    server.lpush(
        "ours",
        json.dumps(
            {"body": body, "headers": {"task": "fleet.add", "id": name}, "properties": {"body_encoding": "base64"}}
        ),
    )
    assert client.AsyncResult(name).get(timeout=TIMEOUT) == 3


# serializers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("serializer", "content_type", "dumps"),
    [
        ("pickle", "application/x-python-serialize", pickle.dumps),
        ("msgpack", "application/x-msgpack", msgspec.msgpack.encode),
        ("yaml", "application/x-yaml", json.dumps),  # which is YAML too
        ("application/data", "application/data", json.dumps),
    ],
)
def test_what_is_not_accepted_is_not_run(
    fleet: Fleet, client: Any, server: redis.Redis, name: str, serializer: str, content_type: str, dumps: Any
) -> None:
    body = dumps([[], {"name": name}, None])
    push(server, "ours", {"task": "fleet.note", "id": name}, body, kind=content_type)
    letter = dead(fleet, name)
    assert f"content of type '{content_type}' is not accepted here, only json" in letter.reason
    assert f"add '{serializer}' to the setting accept_content" in letter.reason
    fleet.wait_line(name, "dead-letter queue", content_type)
    error = client.AsyncResult(name).get(timeout=TIMEOUT, propagate=False)
    assert type(error).__name__ == "ContentDisallowed"
    assert fleet.notes(name) == []


def test_what_is_not_accepted_is_not_even_unpacked(fleet: Fleet, server: redis.Redis, name: str) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (open, (str(fleet.folder / name), "w"))

    body = pickle.dumps([[Bomb()], {}, None])
    push(server, "ours", {"task": "fleet.same", "id": name}, body, kind="application/x-python-serialize")
    dead(fleet, name)
    assert not (fleet.folder / name).exists()
