"""Calls between Celery and multi over one Redis: arguments, results, exceptions, serializers, compression.

Each test runs in four ways: a client of Celery's and one of multi's, to a worker of Celery's and one of multi's. The
way from Celery to Celery is the measure: what it does, the others have to do.
"""

from __future__ import annotations

import json
import uuid
import zipfile
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import celery.exceptions
import kombu.exceptions
import pytest
import redis
from support.mixed import ENGINES, Fleet, ask

import multi

TIMEOUT = 15


@pytest.fixture(params=ENGINES)
def client(request: pytest.FixtureRequest, fleet: Fleet) -> Any:
    return fleet.clients[request.param]


@pytest.fixture(params=["theirs", "ours"])
def queue(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=ENGINES)
def reader(request: pytest.FixtureRequest, fleet: Fleet) -> Any:
    """The side that reads the result, which need not be the one that sent the task."""
    return fleet.clients[request.param]


def test_a_task_runs_and_either_side_reads_its_result(client: Any, queue: str, reader: Any) -> None:
    sent = ask(client, "add", (2, 3), queue=queue)
    result = reader.AsyncResult(sent.id)
    assert result.get(timeout=TIMEOUT) == 5
    assert (result.state, result.successful(), result.ready(), result.failed()) == ("SUCCESS", True, True, False)
    assert result.traceback is None
    assert abs(result.date_done - datetime.now(UTC)) < timedelta(minutes=1)
    assert not result.children


def test_a_result_that_is_forgotten_by_one_side_is_gone_for_the_other(client: Any, queue: str, reader: Any) -> None:
    sent = ask(client, "add", (1, 1), queue=queue)
    assert sent.get(timeout=TIMEOUT) == 2
    reader.AsyncResult(sent.id).forget()
    assert client.AsyncResult(sent.id).state == "PENDING"


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            True,
            0,
            -(2**62),
            2**70,
            1.5,
            1e300,
            "",
            'naïve ☃ \x00 \x06\x16 "quoted"',
            [],
            {},
            [[], {}, [{"a": []}]],
        ),
        {"a": {"b": [1, None, False]}},
        datetime(2024, 2, 29, 13, 14, 15, 161718),  # noqa: DTZ001 - a naive one is what is tested
        datetime(2024, 2, 29, 13, 14, 15, 161718, timezone(timedelta(hours=5, minutes=30))),
        date(2024, 2, 29),
        time(23, 59, 58, 7),
        Decimal("-1.2300"),
        uuid.UUID("12345678-1234-5678-1234-567812345678"),
        b"plain bytes",
        bytes(range(256)),
        [{"when": datetime(2024, 1, 1, tzinfo=UTC), "how much": [Decimal(1), b"\xff"]}],
    ],
    ids=lambda value: repr(value)[:30].encode("ascii", "replace").decode(),
)
def test_every_type_of_json_arrives_and_comes_back(client: Any, queue: str, value: Any) -> None:
    kind = ask(client, "kind", (value,), queue=queue)
    same = ask(client, "same", (), {"value": value}, queue=queue)
    back = same.get(timeout=TIMEOUT)
    assert kind.get(timeout=TIMEOUT) == f"{type(value).__name__} {value!r}"
    assert (type(back), back) == (type(value), value)


def test_a_tuple_arrives_as_a_list(client: Any, queue: str) -> None:
    assert ask(client, "kind", ((1, (2,)),), queue=queue).get(timeout=TIMEOUT) == "list [1, [2]]"


def test_what_json_does_not_know_is_refused_before_anything_is_sent(client: Any, queue: str) -> None:
    with pytest.raises((kombu.exceptions.EncodeError, multi.exceptions.EncodeError), match="not JSON serializable"):
        ask(client, "kind", ({1, 2},), queue=queue)


def test_not_a_number_travels(client: Any, queue: str) -> None:
    assert ask(client, "kind", (float("nan"),), queue=queue).get(timeout=TIMEOUT) == "float nan"
    assert ask(client, "same", (float("-inf"),), queue=queue).get(timeout=TIMEOUT) == float("-inf")


def test_an_exception_comes_back_with_class_arguments_and_traceback(client: Any, queue: str, reader: Any) -> None:
    sent = ask(client, "value_error", ("bad", 1, None), queue=queue)
    result = reader.AsyncResult(sent.id)
    with pytest.raises(ValueError) as caught:
        result.get(timeout=TIMEOUT)
    assert type(caught.value) is ValueError
    assert caught.value.args == ("bad", 1, None)
    assert (result.state, result.failed()) == ("FAILURE", True)
    assert result.traceback.startswith("Traceback (most recent call last):\n")
    assert "in value_error\n    raise ValueError(*args)" in result.traceback
    assert result.traceback.rstrip().endswith("ValueError: ('bad', 1, None)")
    back = reader.AsyncResult(sent.id).get(timeout=TIMEOUT, propagate=False)
    assert (type(back), back.args) == (ValueError, ("bad", 1, None))


def test_an_exception_of_a_module_that_is_loaded_is_of_its_very_class(client: Any, queue: str, reader: Any) -> None:
    sent = ask(client, "bad_zip", queue=queue)
    with pytest.raises(zipfile.BadZipFile, match="^no archive$"):
        reader.AsyncResult(sent.id).get(timeout=TIMEOUT)


def test_an_exception_of_an_unknown_module_keeps_name_and_arguments(
    fleet: Fleet, client: Any, queue: str, reader: Any
) -> None:
    sent = ask(client, "trouble", ("deep", [1]), queue=queue)
    error = reader.AsyncResult(sent.id).get(timeout=TIMEOUT, propagate=False)
    assert type(error).__name__ == "Trouble"
    if reader is not fleet.clients["celery"]:  # Celery puts all of them into one module of its own
        assert type(error).__module__ == "fleet"
    assert list(error.args) == ["deep", [1]]


def test_wrong_arguments_are_a_type_error(client: Any, queue: str, reader: Any) -> None:
    sent = ask(client, "add", (1, 2, 3), queue=queue)
    with pytest.raises(TypeError, match="takes 2 positional arguments but 3 were given"):
        reader.AsyncResult(sent.id).get(timeout=TIMEOUT)


def test_a_result_that_json_does_not_know_is_a_failure_that_says_so(client: Any, queue: str, reader: Any) -> None:
    sent = ask(client, "unserializable", queue=queue)
    error = reader.AsyncResult(sent.id).get(timeout=TIMEOUT, propagate=False)
    assert type(error).__name__ == "EncodeError"
    assert "Object of type object is not JSON serializable" in str(error)


@pytest.mark.parametrize("compression", ["zlib", "gzip", "bzip2", "lzma", "brotli", "zstd"])
def test_compressed_messages_are_understood(client: Any, queue: str, compression: str) -> None:
    text = "compress me " * 1000
    assert ask(client, "same", (text,), queue=queue, compression=compression).get(timeout=TIMEOUT) == text


def test_headers_of_the_senders_own_reach_the_task(client: Any, queue: str) -> None:
    headers = {"tenant": "blue", "trace": {"id": [1, 2]}, "empty": None}
    seen = ask(client, "who", queue=queue, headers=headers).get(timeout=TIMEOUT)
    assert {key: (seen["headers"] or {}).get(key) for key in headers} == headers


def test_what_a_task_knows_of_itself_is_the_same_on_both_sides(client: Any, queue: str) -> None:
    task_id = str(uuid.uuid4())
    seen = ask(
        client, "who", queue=queue, task_id=task_id, shadow="who-is-it", time_limit=30, soft_time_limit=20,
        expires=datetime(2099, 1, 1, tzinfo=UTC),
    ).get(timeout=TIMEOUT)  # fmt: skip
    assert seen == {
        "id": task_id,
        "root": task_id,
        "parent": None,
        "group": None,
        "retries": 0,
        "engine": {"theirs": "celery", "ours": "multi"}[queue],
        "headers": seen["headers"],
        "correlation_id": task_id,
        "reply_to": True,
        "eta": None,
        "expires": "2099-01-01T00:00:00+00:00",
        "timelimit": [30, 20],
        "queue": queue,
        "redelivered": False,
        "ignore_result": seen["ignore_result"],
        "shadow": "who-is-it",
        "hostname": queue,
    }
    assert not seen["ignore_result"]


def test_a_task_id_may_be_any_text(client: Any, queue: str) -> None:
    task_id = f"order/4711 ☃ {uuid.uuid4()}"
    assert ask(client, "add", (1, 1), queue=queue, task_id=task_id).get(timeout=TIMEOUT) == 2


def test_a_result_that_nobody_wants_is_not_stored(fleet: Fleet, client: Any, queue: str) -> None:
    name = str(uuid.uuid4())
    asked = ask(client, "note", (), {"name": name}, queue=queue, ignore_result=True)
    declared = ask(client, "quiet", (name,), queue=queue)
    fleet.wait_notes(name, 2)
    later = ask(client, "add", (1, 1), queue=queue)
    assert later.get(timeout=TIMEOUT) == 2
    with redis.Redis.from_url(fleet.backend) as server:
        assert server.exists(f"celery-task-meta-{asked.id}") == 0
        assert server.exists(f"celery-task-meta-{declared.id}") == 0


def test_a_task_that_is_ignored_stores_no_result(fleet: Fleet, client: Any, queue: str) -> None:
    sent = ask(client, "ignored", queue=queue)
    fleet.wait_line(sent.id, "ignored")
    assert client.AsyncResult(sent.id).state == "PENDING"


def test_a_task_that_rejects_its_message_for_good_has_failed(fleet: Fleet, client: Any, queue: str) -> None:
    sent = ask(client, "rejected", queue=queue)
    assert type(sent.get(timeout=TIMEOUT, propagate=False)).__name__ == "Reject"
    assert sent.state == "FAILURE"


def test_an_expired_task_is_not_run_but_revoked(fleet: Fleet, client: Any, queue: str, reader: Any) -> None:
    name = str(uuid.uuid4())
    sent = ask(client, "note", (), {"name": name}, queue=queue, expires=datetime.now(UTC) - timedelta(seconds=1))
    result = reader.AsyncResult(sent.id)
    error = result.get(timeout=TIMEOUT, propagate=False)
    assert result.state == "REVOKED"
    assert type(error) in (celery.exceptions.TaskRevokedError, multi.TaskRevokedError)
    assert str(error) == "expired"
    assert fleet.notes(name) == []


@pytest.mark.parametrize("expires", [60, 60.5, timedelta(minutes=1), datetime(2099, 12, 31)])  # noqa: DTZ001
def test_a_task_that_expires_later_runs(client: Any, queue: str, expires: Any) -> None:
    if isinstance(expires, timedelta) and isinstance(client, celery.Celery):
        pytest.skip("Celery takes no timedelta here")
    assert ask(client, "add", (1, 2), queue=queue, expires=expires).get(timeout=TIMEOUT) == 3


def test_every_field_of_the_record_is_where_the_other_side_looks(fleet: Fleet, client: Any, queue: str) -> None:
    good = ask(client, "add", (1, 2), queue=queue)
    bad = ask(client, "value_error", ("no",), queue=queue)
    good.get(timeout=TIMEOUT)
    bad.get(timeout=TIMEOUT, propagate=False)
    with redis.Redis.from_url(fleet.backend) as server:
        record = json.loads(server.get(f"celery-task-meta-{good.id}"))
        assert datetime.fromisoformat(record.pop("date_done")).tzinfo is not None
        assert record == {"status": "SUCCESS", "result": 3, "traceback": None, "children": [], "task_id": good.id}
        assert 86000 < server.ttl(f"celery-task-meta-{good.id}") <= 86400
        failed = json.loads(server.get(f"celery-task-meta-{bad.id}"))
        assert failed["result"] == {"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"}
        assert (failed["status"], failed["children"], failed["task_id"]) == ("FAILURE", [], bad.id)


def test_a_recorded_success_is_never_overwritten(fleet: Fleet, client: Any, queue: str) -> None:
    task_id = str(uuid.uuid4())
    assert ask(client, "add", (1, 2), queue=queue, task_id=task_id).get(timeout=TIMEOUT) == 3
    ask(client, "value_error", ("twice",), queue=queue, task_id=task_id)
    fleet.wait_line(task_id, "ValueError")
    assert client.AsyncResult(task_id).get(timeout=TIMEOUT) == 3


def test_a_task_sent_by_a_task_is_its_child(fleet: Fleet, client: Any, queue: str, reader: Any) -> None:
    other = {"ours": "theirs", "theirs": "ours"}[queue]
    for place in (queue, other):
        sent = ask(client, "spawn", (place,), queue=queue)
        parent = reader.AsyncResult(sent.id)
        child_id = parent.get(timeout=TIMEOUT)
        (child,) = parent.children
        assert child.id == child_id
        seen = child.get(timeout=TIMEOUT)
        assert (seen["parent"], seen["root"]) == (sent.id, sent.id)
        assert [value for _, value in parent.collect(timeout=TIMEOUT)] == [child_id, seen]
