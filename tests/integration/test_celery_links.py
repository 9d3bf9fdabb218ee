"""Callbacks, errbacks and chains between Celery and multi: who runs, with which arguments, and whose child it is."""

from __future__ import annotations

import uuid
from typing import Any

import celery
import celery.result
import pytest
from support.mixed import ENGINES, Fleet, ask, sign

import multi

TIMEOUT = 15


@pytest.fixture(params=ENGINES)
def client(request: pytest.FixtureRequest, fleet: Fleet) -> Any:
    return fleet.clients[request.param]


@pytest.fixture(params=["theirs", "ours"])
def queue(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=["theirs", "ours"])
def next_queue(request: pytest.FixtureRequest) -> str:
    """Where what is linked runs: at the same worker, or at the other engine's."""
    name: str = request.param
    return name


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex


def chain(client: Any, *steps: Any) -> Any:
    """A chain by the client's own means."""
    return celery.chain(*steps, app=client) if isinstance(client, celery.Celery) else multi.chain(*steps)


ENGINE = {"theirs": "celery", "ours": "multi"}


def test_a_callback_gets_the_result_in_front_of_its_own_arguments(
    fleet: Fleet, client: Any, queue: str, next_queue: str, name: str
) -> None:
    sent = ask(
        client, "add", (2, 3), queue=queue, link=sign(client, "note", "mine", queue=next_queue, name=name, more=[1])
    )
    (note,) = fleet.wait_notes(name)
    assert (note["args"], note["kwargs"]) == ([5, "mine"], {"more": [1]})
    assert (note["parent"], note["root"], note["engine"]) == (sent.id, sent.id, ENGINE[next_queue])
    assert sent.get(timeout=TIMEOUT) == 5
    (child,) = sent.children
    assert child.id == note["id"]
    assert child.get(timeout=TIMEOUT) == 5


def test_an_immutable_callback_gets_only_its_own_arguments(
    fleet: Fleet, client: Any, queue: str, next_queue: str, name: str
) -> None:
    ask(
        client,
        "add",
        (2, 3),
        queue=queue,
        link=sign(client, "note", "mine", immutable=True, queue=next_queue, name=name),
    )
    (note,) = fleet.wait_notes(name)
    assert note["args"] == ["mine"]


def test_several_callbacks_run_all_of_them_and_are_all_children(
    fleet: Fleet, client: Any, queue: str, next_queue: str, name: str
) -> None:
    links = [sign(client, "note", number, queue=next_queue, name=name) for number in range(3)]
    sent = ask(client, "add", (2, 3), queue=queue, link=links)
    notes = fleet.wait_notes(name, 3)
    assert sorted(note["args"] for note in notes) == [[5, 0], [5, 1], [5, 2]]
    sent.get(timeout=TIMEOUT)
    for reader in fleet.clients.values():
        assert reader.AsyncResult(sent.id).get(timeout=TIMEOUT) == 5
        children = reader.AsyncResult(sent.id).children
        # Celery's worker sends several callbacks as a group
        members = (
            children[0].results if isinstance(children[0], celery.result.GroupResult | multi.GroupResult) else children
        )
        assert {child.id for child in members} == {note["id"] for note in notes}


def test_a_callback_has_callbacks_of_its_own(fleet: Fleet, client: Any, queue: str, next_queue: str, name: str) -> None:
    second = sign(client, "note", queue=queue, name=name)
    first = sign(client, "add", 10, queue=next_queue)
    first.link(second)
    sent = ask(client, "add", (1, 1), queue=queue, link=first)
    (note,) = fleet.wait_notes(name)
    assert note["args"] == [12]
    assert note["root"] == sent.id


def test_a_callback_that_is_a_chain_runs_whole(
    fleet: Fleet, client: Any, queue: str, next_queue: str, name: str
) -> None:
    linked = chain(client, sign(client, "add", 10, queue=next_queue), sign(client, "note", queue=queue, name=name))
    ask(client, "add", (1, 1), queue=queue, link=linked)
    (note,) = fleet.wait_notes(name)
    assert note["args"] == [12]


def test_the_options_of_a_callback_are_kept(fleet: Fleet, client: Any, queue: str, next_queue: str) -> None:
    task_id = str(uuid.uuid4())
    callback = sign(client, "who", queue=next_queue).set(
        task_id=task_id, time_limit=70, shadow="nick", headers={"tenant": "red"}
    )
    ask(client, "add", (1, 1), queue=queue, link=callback)
    seen = client.AsyncResult(task_id).get(timeout=TIMEOUT)
    assert (seen["timelimit"][0], seen["shadow"], seen["headers"]["tenant"]) == (70, "nick", "red")


def test_a_failed_task_calls_no_callback_but_its_errback_with_its_id(
    fleet: Fleet, client: Any, queue: str, next_queue: str, name: str
) -> None:
    sent = ask(
        client, "value_error", ("bad",), queue=queue,
        link=sign(client, "note", "callback", queue=next_queue, name=name),
        link_error=sign(client, "note", queue=next_queue, name=name, form="errback"),
    )  # fmt: skip
    (note,) = fleet.wait_notes(name)
    # `note` is bound and takes any arguments: by Celery's rule it is called in the failed task's worker if that knows it
    sent.get(timeout=TIMEOUT, propagate=False)
    assert note["kwargs"] == {"form": "errback"}
    assert ask(client, "add", (1, 1), queue=next_queue).get(timeout=TIMEOUT) == 2
    assert len(fleet.notes(name)) == 1


def test_an_errback_of_one_argument_is_sent_with_the_id_of_the_failed_task(
    fleet: Fleet, client: Any, queue: str, next_queue: str
) -> None:
    errback_id = str(uuid.uuid4())
    sent = ask(
        client,
        "value_error",
        ("bad",),
        queue=queue,
        link_error=sign(client, "same", queue=next_queue).set(task_id=errback_id),
    )
    assert client.AsyncResult(errback_id).get(timeout=TIMEOUT) == sent.id


def test_an_errback_of_three_arguments_is_called_at_once_in_the_worker_of_the_failed_task(
    fleet: Fleet, client: Any, queue: str, name: str
) -> None:
    sent = ask(client, "value_error", ("bad", 1), queue=queue, link_error=sign(client, "errback", name=name))
    (note,) = fleet.wait_notes(name)
    assert (note["failed"], note["engine"]) == (sent.id, ENGINE[queue])
    assert note["error"] == "ValueError('bad', 1)"
    assert "in value_error" in note["traceback"]


def test_both_forms_of_errbacks_together(fleet: Fleet, client: Any, queue: str, next_queue: str, name: str) -> None:
    errback_id = str(uuid.uuid4())
    sent = ask(
        client, "trouble", queue=queue,
        link_error=[sign(client, "errback", name=name), sign(client, "same", queue=next_queue).set(task_id=errback_id)],
    )  # fmt: skip
    assert client.AsyncResult(errback_id).get(timeout=TIMEOUT) == sent.id
    assert [note["failed"] for note in fleet.wait_notes(name)] == [sent.id]


CHAINS = [
    ("ours", "ours", "ours"),
    ("theirs", "theirs", "theirs"),
    ("ours", "theirs", "ours"),
    ("theirs", "ours", "theirs"),
    ("theirs", "ours", "ours"),
    ("both", "both", "both"),
]


@pytest.mark.parametrize("queues", CHAINS, ids="-".join)
def test_a_chain_of_three_runs_in_order_and_keeps_its_family(
    fleet: Fleet, client: Any, queues: tuple[str, str, str], name: str
) -> None:
    first, second, third = queues
    steps = (
        sign(client, "add", 1, 2, queue=first),
        sign(client, "note", queue=second, name=name),
        sign(client, "note", "end", queue=third, name=name),
    )
    last = chain(client, *steps).apply_async()
    assert last.get(timeout=TIMEOUT) == 3
    notes = fleet.wait_notes(name, 2)
    middle, start = last.parent, last.parent.parent
    assert start.parent is None
    assert [note["args"] for note in notes] == [[3], [3, "end"]]
    assert [note["id"] for note in notes] == [middle.id, last.id]
    assert [note["parent"] for note in notes] == [start.id, middle.id]
    assert [note["root"] for note in notes] == [start.id, start.id]
    assert [note["engine"] for note in notes if ENGINE.get(second)] in (
        [],
        [ENGINE[second], ENGINE[third]] if second != "both" else [],
    )
    # each task of a chain is the child of the one before it, for readers of either side
    for reader in fleet.clients.values():
        first_result = reader.AsyncResult(start.id)
        assert first_result.get(timeout=TIMEOUT) == 3
        (child,) = first_result.children
        # Celery's worker sends the next task before it stores its own result
        assert (child.id, child.get(timeout=TIMEOUT)) == (middle.id, 3)
        (grandchild,) = child.children
        assert (grandchild.id, grandchild.get(timeout=TIMEOUT)) == (last.id, 3)


def test_the_result_of_a_chain_is_read_by_the_other_side_with_its_parents(
    fleet: Fleet, client: Any, queue: str, next_queue: str
) -> None:
    last = chain(
        client, sign(client, "add", 1, 2, queue=queue), sign(client, "add", 10, queue=next_queue)
    ).apply_async()
    assert last.get(timeout=TIMEOUT) == 13
    assert last.parent.get(timeout=TIMEOUT) == 3
    for reader in fleet.clients.values():
        assert reader.AsyncResult(last.id).get(timeout=TIMEOUT) == 13
    assert (
        celery.result.result_from_tuple(last.as_tuple(), app=fleet.clients["celery"]).parent.get(timeout=TIMEOUT) == 3
    )


def test_an_immutable_step_of_a_chain_drops_the_result_before_it(client: Any, queue: str, next_queue: str) -> None:
    last = chain(
        client,
        sign(client, "add", 1, 2, queue=queue),
        sign(client, "add", 10, 10, immutable=True, queue=next_queue),
        sign(client, "add", 1, queue=queue),
    ).apply_async()
    assert last.get(timeout=TIMEOUT) == 21


def test_a_chain_ends_where_a_task_fails_and_the_rest_has_failed_too(
    fleet: Fleet, client: Any, queue: str, next_queue: str, name: str
) -> None:
    steps = (
        sign(client, "add", 1, 2, queue=queue),
        sign(client, "value_error", "middle", queue=next_queue, immutable=True),
        sign(client, "note", queue=queue, name=name),
        sign(client, "note", queue=queue, name=name),
    )
    last = chain(client, *steps).apply_async()
    with pytest.raises(ValueError, match="^middle$"):
        last.get(timeout=TIMEOUT)
    middle = last.parent.parent
    assert middle.parent.get(timeout=TIMEOUT) == 3
    for result in (last, last.parent, middle):
        assert isinstance(result.get(timeout=TIMEOUT, propagate=False), ValueError)
        assert result.state == "FAILURE"
    for reader in fleet.clients.values():
        error = reader.AsyncResult(last.id).get(timeout=TIMEOUT, propagate=False)
        assert (type(error), error.args) == (ValueError, ("middle",))
    assert fleet.notes(name) == []


def test_callbacks_and_errbacks_of_a_step_in_a_chain_are_called(
    fleet: Fleet, client: Any, queue: str, next_queue: str, name: str
) -> None:
    errback_id = str(uuid.uuid4())
    middle = sign(client, "add", 10, queue=next_queue)
    middle.link(sign(client, "note", "linked", queue=queue, name=name))
    end = sign(client, "trouble", queue=next_queue)
    end.link_error(sign(client, "same", queue=queue).set(task_id=errback_id))
    last = chain(client, sign(client, "add", 1, 2, queue=queue), middle, end).apply_async()
    assert client.AsyncResult(errback_id).get(timeout=TIMEOUT) == last.id
    (note,) = fleet.wait_notes(name)
    assert note["args"] == [13, "linked"]


def test_callbacks_wait_for_the_last_retry(fleet: Fleet, client: Any, queue: str, next_queue: str, name: str) -> None:
    sent = ask(
        client, "again", (name + "-runs", next_queue, 2), queue=queue,
        link=sign(client, "note", queue=next_queue, name=name),
    )  # fmt: skip
    assert sent.get(timeout=TIMEOUT)["retries"] == 2
    (note,) = fleet.wait_notes(name)
    assert note["args"][0]["retries"] == 2
    assert note["parent"] == sent.id
    assert [run["retries"] for run in fleet.notes(name + "-runs")] == [0, 1, 2]
