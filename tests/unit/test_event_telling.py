"""The lines in which a child tells of runs: right for whatever comes, and what there is no word for is not told."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from multi import App, Reject
from multi.app.execute import Job, prepare
from multi.errors import NotRegistered, TaskRevokedError
from multi.message import Message
from multi.outcome import Outcome
from multi.worker.events.telling import Telling

app = App("told", broker="memory://", backend="memory://", set_as_current=False)


@app.task(name="same", resultrepr_maxsize=20)
def same(value: Any) -> Any:
    return value


@app.task(name="silent", send_events=False)
def silent() -> None:
    pass


def job(*args: Any, **headers: Any) -> Job:
    message = app.publisher.plain("same", same, "the-id", args, {}).message
    message = msgspec.structs.replace(message, headers={**message.headers, **headers})
    found = prepare(app, message, queue="celery", redelivered=False, starts=0, hostname="w1@h")
    assert isinstance(found, Job), found
    return found


def events(*lines: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in b"".join(lines).splitlines()]


@pytest.fixture
def telling() -> Telling:
    return Telling(app, "w1@h", 7)


def test_a_run_that_begins_has_been_received_and_has_started(telling: Telling) -> None:
    before = app.clock.value
    received, started = events(telling.begun(job(1, "é", parent_id="p", retries=2, eta="2020-01-01T00:00:00+00:00")))
    assert received == {
        "type": "task-received",
        "hostname": "w1@h",
        "pid": 7,
        "utcoffset": received["utcoffset"],
        "clock": before + 1,
        "timestamp": received["timestamp"],
        "uuid": "the-id",
        "name": "same",
        "args": "(1, 'é')",
        "kwargs": "{}",
        "root_id": "the-id",
        "parent_id": "p",
        "retries": 2,
        "expires": None,
        "eta": "2020-01-01T00:00:00+00:00",
    }
    assert (started["type"], started["uuid"], started["clock"]) == ("task-started", "the-id", before + 2)
    # nothing of the one before is left
    (again, _) = events(telling.begun(job(5)))
    assert (again["args"], again["parent_id"], again["retries"], again["eta"]) == ("(5,)", None, 0, None)


def test_headers_that_are_odd_are_told_all_the_same(telling: Telling) -> None:
    odd = job(1, argsrepr="a\ud800b\n", kwargsrepr=None, retries=1 << 80)
    received, started = events(telling.begun(odd))
    assert (received["args"], received["kwargs"], received["retries"]) == ("a\ud800b\n", "{}", 1 << 80)
    assert started["uuid"] == "the-id"


@pytest.mark.parametrize(
    ("value", "told"),
    [(None, "None"), (5, "5"), (True, "True"), ("x" * 50, "'" + "x" * 16 + "..."), ({"a": [1]}, "{'a': [1]}")],
)
def test_results_are_told_as_their_repr_cut_as_the_task_says(telling: Telling, value: Any, told: str) -> None:
    (event,) = events(*telling.ended(job(value).run()))
    assert (event["type"], event["uuid"], event["result"]) == ("task-succeeded", "the-id", told)
    assert event["runtime"] >= 0


def outcome(state: str, result: Any = None, verb: str = "ack", **more: Any) -> Outcome:
    return Outcome("the-id", more.pop("name", "same"), state, result, verb=verb, **more)


MESSAGE = Message({"id": "the-id", "task": "same", "argsrepr": "(1,)", "eta": "2999-01-01T00:00:00"}, b"")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            outcome("FAILURE", ValueError(1), traceback="T"),
            [("failed", {"exception": "ValueError(1)", "traceback": "T"})],
        ),
        (outcome("RETRY", KeyError("k")), [("retried", {"exception": "KeyError('k')", "traceback": None})]),
        (outcome("REVOKED", TaskRevokedError("expired")), [("revoked", {"expired": True, "terminated": False})]),
        (outcome("REVOKED", TaskRevokedError("revoked")), [("revoked", {"expired": False, "signum": None})]),
        (outcome("FAILURE", NotRegistered("x"), "bury", name="x"), [("failed", {"exception": "NotRegistered('x')"})]),
        (outcome("FAILURE", Reject("r"), "bury"), [("failed", {}), ("rejected", {"requeue": False})]),
        (outcome("FAILURE", ValueError(), "bury"), [("rejected", {"requeue": False}), ("failed", {})]),
        (outcome("REJECTED", None, "requeue"), [("rejected", {"requeue": True})]),
        (outcome("PENDING", None, "bury"), [("rejected", {"requeue": False})]),
        (outcome("PENDING", None, "park"), [("received", {"args": "(1,)", "eta": "2999-01-01T00:00:00"})]),
        (outcome("PENDING", None, "park", reason="rate limit"), []),
        (outcome("IGNORED"), []),
        (outcome("SUCCESS", name="silent"), []),
        (Outcome("", "", "FAILURE", verb="bury"), []),
    ],
    ids=lambda value: f"{value.state} {value.verb} {value.result!r}" if isinstance(value, Outcome) else "",
)
def test_every_other_end_has_its_events(
    telling: Telling, given: Outcome, told: list[tuple[str, dict[str, Any]]]
) -> None:
    found = events(*telling.ended(given, MESSAGE))
    assert [event["type"] for event in found] == [f"task-{kind}" for kind, _ in told]
    for event, (_, fields) in zip(found, told, strict=True):
        assert fields.items() <= event.items()
        assert event["uuid"] == "the-id"


def test_events_of_anybodys_are_written_as_celerys_json(telling: Telling) -> None:
    from datetime import date

    (event,) = events(telling.custom("shop-open", {"day": date(2020, 1, 2)}))
    assert event["day"] == {"__type__": "date", "__value__": "2020-01-02"}
