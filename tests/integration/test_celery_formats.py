"""Messages and records against the code of the real Celery: what one writes, the other reads. Needs no server."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from support.inline import claim, make_app

from multi import App
from multi.app.execute import prepare, stores
from multi.app.job import Job
from multi.message import Message

celery = pytest.importorskip("celery")
kombu_serialization = pytest.importorskip("kombu.serialization")

ACCEPT = {"application/json", "application/x-python-serialize"}
VALUES: list[Any] = [
    1, 2**70, 1.5, "é 😀", None, True, [1, [2]], {"a": {"b": 1}}, b"text", b"\xff", Decimal("1.10"),
    datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), date(2026, 1, 2), clock_time(1, 2, 3),
    UUID("12345678123456781234567812345678"),
]  # fmt: skip


@pytest.fixture
def app() -> App:
    return make_app()


@pytest.fixture(scope="module")
def theirs() -> Any:
    theirs = celery.Celery("theirs", broker="memory://", backend="cache+memory://", set_as_current=False)

    @theirs.task(name="add")  # type: ignore[untyped-decorator]
    def add(x: Any, y: Any) -> Any:
        return x + y

    return theirs


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_celery_reads_our_arguments(app: App, value: Any, serializer: str) -> None:
    app.task(name="t")(lambda *args, **kwargs: None).apply_async((value,), {"k": value}, serializer=serializer)
    message = claim(app)
    body = kombu_serialization.loads(message.body, message.content_type, message.content_encoding, accept=ACCEPT)
    args, kwargs, embed = body
    assert list(args) == [value]
    assert kwargs == {"k": value}
    assert embed == {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_we_read_celerys_arguments(app: App, value: Any) -> None:
    seen: list[Any] = []
    app.task(name="t")(seen.append)
    content_type, encoding, body = kombu_serialization.dumps([(value,), {}, {"chain": None}], serializer="json")
    found = prepare(
        app,
        Message({"task": "t", "id": "i"}, body.encode(), content_type, encoding),
        queue="celery",
        redelivered=False,
        starts=0,
        hostname="h",
    )
    assert isinstance(found, Job)
    found.run()
    assert seen == [value]


def test_our_headers_are_those_that_celery_sends(app: App, theirs: Any) -> None:
    app.task(name="add")(lambda x, y: x + y).apply_async((1, 2), task_id="i", countdown=5, expires=timedelta(minutes=1))
    ours = claim(app)
    made = theirs.amqp.as_task_v2("i", "add", (1, 2), {}, countdown=5, expires=60, reply_to="r")
    assert list(ours.headers) == list(made.headers)
    for name, value in made.headers.items():
        if name in ("eta", "expires"):
            assert ours.headers[name][-6:] == value[-6:] == "+00:00"
        else:
            assert ours.headers[name] == value, name
    assert set(made.properties) <= set(ours.properties)
    assert json.loads(ours.body) == json.loads(json.dumps(made.body))


@pytest.mark.parametrize("fails", [False, True])
def test_celery_reads_our_records(app: App, theirs: Any, fails: bool) -> None:
    @app.task(name="t")
    def t() -> Any:
        if fails:
            raise ValueError("bad", 1)
        return {"when": datetime(2026, 1, 2, tzinfo=UTC)}

    found = prepare(
        app,
        Message({"task": "t", "id": "i", "group": "g"}, b"[[], {}, null]"),
        queue="celery",
        redelivered=False,
        starts=0,
        hostname="h",
    )
    assert isinstance(found, Job)
    (store,) = stores(app, found.run())
    meta = theirs.backend.decode_result(store.value.decode())
    assert (meta["task_id"], meta["group_id"], meta["children"]) == ("i", "g", [])
    if fails:
        assert meta["status"] == "FAILURE"
        assert repr(meta["result"]) == "ValueError('bad', 1)"
        assert "raise ValueError" in meta["traceback"]
    else:
        assert meta["status"] == "SUCCESS"
        assert meta["result"] == {"when": datetime(2026, 1, 2, tzinfo=UTC)}


def test_we_read_celerys_records(app: App, theirs: Any) -> None:
    for task_id, result, state in (("a", {"x": 1}, "SUCCESS"), ("b", KeyError("k"), "FAILURE")):
        theirs.backend.store_result(task_id, result, state, traceback="tb" if state == "FAILURE" else None)
        record = theirs.backend.get(theirs.backend.get_key_for_task(task_id))
        backend = app.backend
        assert backend is not None
        backend.store([backend.encode(task_id, record.encode() if isinstance(record, str) else record)])
    assert app.AsyncResult("a").get(timeout=1) == {"x": 1}
    with pytest.raises(KeyError, match="k"):
        app.AsyncResult("b").get(timeout=1)
    assert app.AsyncResult("b").traceback == "tb"


def test_the_errors_that_both_have_are_told_apart_by_celerys_names(app: App, theirs: Any) -> None:
    from celery.exceptions import NotRegistered as Theirs

    from multi import NotRegistered

    theirs.backend.store_result("c", Theirs("nope"), "FAILURE")
    record = theirs.backend.get(theirs.backend.get_key_for_task("c"))
    backend = app.backend
    assert backend is not None
    backend.store([backend.encode("c", record.encode() if isinstance(record, str) else record)])
    with pytest.raises(NotRegistered, match="nope"):
        app.AsyncResult("c").get(timeout=1)
    app.send_task("nope")
    found = prepare(app, claim(app), queue="celery", redelivered=False, starts=0, hostname="h")
    assert not isinstance(found, Job)
    (store,) = stores(app, found)
    assert isinstance(theirs.backend.decode_result(store.value.decode())["result"], Theirs)


def test_a_chain_of_celerys_is_understood(app: App, theirs: Any) -> None:
    app.task(name="add")(lambda x, y: x + y)
    add = theirs.tasks["add"]
    steps = add.s(1, 2) | add.s(3) | add.s(4)
    tasks, _ = steps.prepare_steps((), {}, steps.tasks, root_id=None, parent_id=None)
    first = tasks.pop()
    body = [list(first.args), {}, {"callbacks": None, "errbacks": None, "chain": tasks, "chord": None}]
    message = Message({"task": "add", "id": first.options["task_id"]}, json.dumps(body).encode())
    results = []
    while True:
        found = prepare(app, message, queue="celery", redelivered=False, starts=0, hostname="h")
        assert isinstance(found, Job)
        outcome = found.run()
        results.append(outcome.result)
        if not outcome.publications:
            break
        message = outcome.publications[0].message
    assert results == [3, 6, 10]
