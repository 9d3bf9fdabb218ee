"""Time limits and lost processes, as the other side's client hears of them."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

import celery.exceptions
import pytest
from support.mixed import Fleet, ask

import multi

TIMEOUT = 20


def test_limits_of_the_client_are_kept_by_both_workers_and_told_by_their_own_classes(own_fleet: Fleet) -> None:
    fleet = own_fleet  # one of its own, because processes are replaced
    for engine, queue in (("celery", "theirs"), ("multi", "ours")):
        fleet.worker(engine, queue, queue, "-c", "4")
    for worker in fleet.workers:
        worker.wait_ready()
    ways = {"soft_time_limit": "SoftTimeLimitExceeded", "time_limit": "TimeLimitExceeded"}
    names = {}
    sent = {}
    for engine, queue, limit in itertools.product(fleet.clients, ("ours", "theirs"), ways):
        name = names[engine, queue, limit] = uuid.uuid4().hex
        options: dict[str, Any] = {"queue": queue, limit: 1}
        sent[engine, queue, limit] = ask(fleet.clients[engine], "slow", (name, 30), **options)
    for (engine, queue, limit), result in sent.items():
        error = result.get(timeout=TIMEOUT, propagate=False)
        assert type(error).__name__ == ways[limit], (engine, queue, limit, error)
        theirs = (
            celery.exceptions.SoftTimeLimitExceeded
            if limit == "soft_time_limit"
            else celery.exceptions.TimeLimitExceeded
        )
        seen = fleet.clients["celery"].AsyncResult(result.id)
        assert isinstance(seen.result, theirs)
        ours = multi.SoftTimeLimitExceeded if limit == "soft_time_limit" else multi.TimeLimitExceeded
        assert isinstance(fleet.clients["multi"].AsyncResult(result.id).result, ours)
        assert (seen.state, [note["what"] for note in fleet.notes(names[engine, queue, limit])]) == (
            "FAILURE",
            ["begin"],
        )


@pytest.mark.parametrize("queue", ["ours", "theirs"])
def test_too_many_retries_are_told_by_their_own_class(fleet: Fleet, queue: str) -> None:
    for client in fleet.clients.values():
        sent = ask(client, "give_up", queue=queue)
        assert type(sent.get(timeout=TIMEOUT, propagate=False)).__name__ == "MaxRetriesExceededError"
        readers: dict[str, Any] = fleet.clients
        assert isinstance(readers["celery"].AsyncResult(sent.id).result, celery.exceptions.MaxRetriesExceededError)
        assert isinstance(readers["multi"].AsyncResult(sent.id).result, multi.MaxRetriesExceededError)


def test_a_task_that_takes_its_process_along_is_told_as_a_lost_worker(own_fleet: Fleet) -> None:
    own_fleet.worker("multi", "ours", "ours", "-c", "1", max_deliveries=2).wait_ready()
    sent = ask(own_fleet.clients["celery"], "die", ("die",), queue="ours")
    with pytest.raises(celery.exceptions.WorkerLostError):
        sent.get(timeout=TIMEOUT)
    assert len(own_fleet.notes("die")) == 2
    (letter,) = own_fleet.clients["multi"].broker.dead("ours")
    assert (letter.task_id, letter.starts) == (sent.id, 2)
    assert ask(own_fleet.clients["celery"], "add", (1, 1), queue="ours").get(timeout=TIMEOUT) == 2
