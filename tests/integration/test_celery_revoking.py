"""Revoking in a mixed fleet: what Celery's programs revoke, workers of multi don't run, and the other way round."""

from __future__ import annotations

import uuid

import pytest
from support.mixed import ENGINES, Fleet, ask
from support.wait import until

QUEUES = {"celery": "theirs", "multi": "ours"}


def test_tasks_that_run_are_terminated_by_any_client_in_any_worker(own_fleet: Fleet) -> None:
    fleet = own_fleet
    workers = [fleet.worker(engine, engine, queue, "-c", "2") for engine, queue in QUEUES.items()]
    for worker in workers:
        worker.wait_ready()
    for client in fleet.clients.values():
        name = uuid.uuid4().hex
        results = [ask(client, "slow", (), {"name": name, "seconds": 60}, queue=queue) for queue in QUEUES.values()]
        for queue in QUEUES.values():
            call = client.signature("fleet.slow", kwargs={"name": name, "seconds": 60}, queue=queue)
            call.stamp(visit=name)
            results.append(call.apply_async())
        fleet.wait_notes(name, 4)
        for result in results[:2]:
            result.revoke(terminate=True)
        client.control.revoke_by_stamped_headers({"visit": [name]}, terminate=True)
        for result in results:
            found = result.get(timeout=15, propagate=False)
            # a worker of Celery's that hears of it records "revoked" for tasks of others, too
            assert (result.state, type(found).__name__) == ("REVOKED", "TaskRevokedError")
            assert str(found) in ("revoked", "terminated")
        for queue in QUEUES.values():
            assert ask(client, "add", (1, 2), {}, queue=queue).get(timeout=15) == 3
    assert workers[1].said().count("(terminated)") == 4
    assert len(fleet.notes(name)) == 4


@pytest.mark.parametrize("worker", ENGINES)
@pytest.mark.parametrize("client", ENGINES)
def test_a_task_that_waits_for_its_time_is_revoked_by_any_client(fleet: Fleet, client: str, worker: str) -> None:
    name = uuid.uuid4().hex
    result = ask(fleet.clients[client], "note", (), {"name": name}, queue=QUEUES[worker], countdown=1.5)
    result.revoke()
    found = result.get(timeout=15, propagate=False)
    assert (result.state, type(found).__name__, str(found)) == ("REVOKED", "TaskRevokedError", "revoked")
    # the worker has dealt with it by then, whoever has recorded that it is revoked
    last = ask(fleet.clients[client], "add", (1, 2), {}, queue=QUEUES[worker], countdown=1.5)
    assert last.get(timeout=15) == 3
    assert fleet.notes(name) == []


def test_what_a_client_of_celerys_revokes_outlives_the_worker_that_heard_it(own_fleet: Fleet) -> None:
    name = uuid.uuid4().hex
    client = own_fleet.clients["celery"]
    ears = own_fleet.worker("multi", "ears", "other").wait_ready()
    result = ask(client, "note", (), {"name": name}, queue="ours")
    result.revoke()
    until(lambda: "Tasks flagged as revoked" in ears.said(), 10, what="the worker to hear of it")
    ears.stop()
    own_fleet.worker("multi", "later", "ours").wait_ready()
    found = result.get(timeout=15, propagate=False)
    assert (result.state, str(found)) == ("REVOKED", "revoked")
    assert own_fleet.notes(name) == []
