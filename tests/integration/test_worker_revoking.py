"""Revoking: what waits is not run, what runs is ended by force if that is asked for, and a restart forgets nothing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from support.project import Project
from support.wait import until
from support.workers import Bench, bench

from multi.errors import TaskRevokedError, TimeLimitExceeded


@pytest.fixture
def made(project: Project, broker: str) -> Iterator[Bench]:
    place = f"{broker}?create=file" if broker.startswith("sqlite") else broker
    with bench(project, place, place) as found:
        yield found


def test_a_revoked_task_that_waits_is_not_run_even_by_a_worker_that_starts_later(made: Bench) -> None:
    result = made.tasks.sleep.delay(0, "never")
    stamped = made.tasks.sleep.s(0, "stamped").stamp(customer="c1").apply_async()
    chained = (made.tasks.add.s(1, 1) | made.tasks.add.s(1)).apply_async(countdown=0)
    result.revoke()
    made.app.control.revoke_by_stamped_headers({"customer": ["c1", "c2"]})
    chained.parent.revoke()
    last = made.tasks.add.delay(1, 2)
    worker = made.start("-c", "1")
    assert last.get(timeout=15) == 3
    for revoked in (result, stamped, chained.parent, chained):
        with pytest.raises(TaskRevokedError, match="revoked"):
            revoked.get(timeout=10)
        assert revoked.state == "REVOKED"
    assert made.notes() == []
    assert worker.said().count("Discarding revoked task") == 3
    assert made.depth() == 0


def test_a_worker_hears_what_is_revoked_while_it_runs_and_others_keep_it(made: Bench) -> None:
    worker = made.start("-c", "1")
    held = made.tasks.hold.delay("first")
    made.wait_begun("first")
    results = [made.tasks.sleep.delay(0, "never"), made.tasks.sleep.apply_async((0, "later"), countdown=0.5)]
    made.app.control.revoke([result.id for result in results])
    held.revoke()  # it runs, and goes on
    until(lambda: "Tasks flagged as revoked" in worker.said(), 10, what="the worker to hear of it")
    made.let_go("first")
    assert held.get(timeout=15) == "first"
    for result in results:
        with pytest.raises(TaskRevokedError, match="revoked"):
            result.get(timeout=15)
    assert made.notes() == ["begin first", "end first"]


@pytest.mark.parametrize("task", ["sleep", "sleep_once", "spin"])
@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_a_task_that_runs_is_terminated_and_no_other_one(made: Bench, task: str) -> None:
    worker = made.start("-c", "2")
    children = worker.children()
    other = made.tasks.hold.delay("other")
    result = getattr(made.tasks, task).delay(60, "t")
    made.wait_begun("other")
    made.wait_begun("t")
    result.revoke(terminate=True)
    with pytest.raises(TaskRevokedError, match="terminated"):
        result.get(timeout=20)
    made.let_go("other")
    assert other.get(timeout=15) == "other"
    assert len(set(children) & set(worker.children())) == 1
    assert made.begun("t") == 1
    assert made.depth() == 0
    assert "end t" not in made.notes()
    assert worker.said().count("(terminated)") == 1


@pytest.mark.parametrize("broker", ["sqlite"], indirect=True)
def test_stamps_terminate_too_and_the_signal_can_be_chosen(made: Bench) -> None:
    worker = made.start("-c", "2")
    results = [
        made.tasks.sleep.s(60, f"t{number}").stamp(customer="c1").apply_async(soft_time_limit=50) for number in range(2)
    ]
    for number in range(2):
        made.wait_begun(f"t{number}")
    results[0].revoke(terminate=True, signal="USR1")
    assert "SoftTimeLimitExceeded" in repr(results[0].get(timeout=15, propagate=False))
    made.app.control.revoke_by_stamped_headers({"customer": "c1"}, terminate=True, signal="KILL")
    with pytest.raises(TaskRevokedError, match="terminated"):
        results[1].get(timeout=15)
    assert made.tasks.add.delay(1, 1).get(timeout=15) == 2
    assert "SIGKILL" in worker.said()


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_a_chord_hears_of_a_part_that_is_revoked(made: Bench) -> None:
    from multi import chord

    result = chord([made.tasks.add.s(1, 1), made.tasks.add.s(2, 2)])(made.tasks.steps.s("x"))
    result.parent.results[1].revoke()
    made.start("-c", "1")
    found = result.get(timeout=15, propagate=False)
    assert result.state == "FAILURE"
    assert "revoked" in str(found)


def test_what_makes_no_sense_is_refused_at_the_call(made: Bench) -> None:
    result = made.tasks.add.delay(1, 1)
    with pytest.raises(ValueError, match="no signal"):
        result.revoke(terminate=True, signal="NONSENSE")
    with pytest.raises(ValueError, match="doesn't end a task"):
        result.revoke(terminate=True, signal="CHLD")
    with pytest.raises(ValueError, match="no stamp"):
        made.app.control.revoke_by_stamped_headers(["customer"])
    with pytest.raises(ValueError, match="takes the id"):
        made.app.control.revoke([])
    with pytest.raises(ValueError, match="list of the names"):
        made.app.control.revoke(result.id, destination="w1@test")


@pytest.mark.parametrize("broker", ["redis", "sqlite"], indirect=True)
def test_a_limit_of_concurrency_holds_for_all_workers(project: Project, broker: str) -> None:
    place = f"{broker}?create=file" if broker.startswith("sqlite") else broker
    with bench(project, place, place, task_annotations={"*": {"concurrency_limit": 1}}) as made:
        for name in ("w1", "w2"):
            made.start(name=name, wait=False)
        for worker in made.workers:
            worker.wait_ready()
        names = [f"h{number}" for number in range(4)]
        results = [made.tasks.hold.delay(name) for name in names]
        seen: list[str] = []
        for _ in names:
            until(lambda: len(made.notes()) == 2 * len(seen) + 1, 15, what=f"one more to begin: {made.notes()}")
            seen.append(made.notes()[-1].removeprefix("begin "))
            # another type of task has a limit of its own, and isn't kept waiting by this one
            assert made.tasks.add.delay(1, 1).get(timeout=15) == 2
            assert len(made.notes()) == 2 * len(seen) - 1
            made.let_go(seen[-1])
        assert sorted(result.get(timeout=15) for result in results) == names
        assert sorted(seen) == names


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_a_unique_task_runs_again_when_the_one_before_has_ended_however_it_did(project: Project, broker: str) -> None:
    with bench(project, broker, broker, task_annotations={"*": {"unique_for": 60}}) as made:
        made.start("-c", "2")
        first = made.tasks.hold.delay("same")
        made.wait_begun("same")
        assert made.tasks.hold.delay("same").id == first.id
        assert made.tasks.hold.delay("other").id != first.id
        first.revoke(terminate=True)
        with pytest.raises(TaskRevokedError):
            first.get(timeout=15)
        made.let_go("same")
        second = made.tasks.hold.delay("same")
        assert second.id != first.id
        assert second.get(timeout=15) == "same"
        until(lambda: made.tasks.hold.delay("same").get(timeout=15) == "same", 15, what="a third run")
        made.let_go("other")


def test_over_rabbitmq_a_task_is_revoked_terminated_and_kept_in_the_result_backend(
    project: Project, rabbitmq_url: str, redis_url: str
) -> None:
    import celery

    with bench(project, rabbitmq_url, redis_url) as made:
        worker = made.start("-c", "1")

        def heard(task_id: str) -> bool:
            return task_id in worker.said()

        theirs = celery.Celery("client", broker=rabbitmq_url, backend=redis_url, set_as_current=False)
        for name, client in (("ours", made.app), ("theirs", theirs)):
            result = made.tasks.sleep.delay(60, name)
            made.wait_begun(name)
            waits = made.tasks.sleep.delay(0, "never")
            theirs.control.revoke(waits.id)
            until(partial(heard, waits.id), 10, what="the worker to hear of it")
            client.control.terminate(result.id)
            for each, why in ((result, "terminated"), (waits, "revoked")):
                with pytest.raises(TaskRevokedError, match=why):
                    each.get(timeout=15)
        worker.stop()
        later = made.tasks.sleep.delay(0, "never")
        later.revoke()
        made.start("-c", "1", name="w2")
        with pytest.raises(TaskRevokedError, match="revoked"):
            later.get(timeout=15)
        theirs.close()
        assert "begin never" not in made.notes()


@pytest.mark.parametrize("broker", ["redis", "sqlite"], indirect=True)
def test_a_run_that_is_ended_by_force_or_lost_gives_its_place_back_at_once(project: Project, broker: str) -> None:
    place = f"{broker}?create=file" if broker.startswith("sqlite") else broker
    annotations = {"*": {"concurrency_limit": 1, "max_deliveries": 1}}
    with bench(project, place, place, task_annotations=annotations) as made:
        worker = made.start("-c", "2", "-l", "DEBUG")

        def told(task_id: str) -> list[str]:
            return [line for line in worker.said().splitlines() if f"[{task_id}] waits for its turn" in line]

        def asked_often(task_id: str) -> bool:
            return len(told(task_id)) > 2

        # each waits for less than a lease lasts
        for task in (made.tasks.sleep, made.tasks.sleep_once):
            late = task.apply_async((60, f"late {task.name}"), time_limit=1)
            with pytest.raises(TimeLimitExceeded):
                late.get(timeout=20)
            assert task.delay(0, "next").get(timeout=15) == "next"
            ended = task.delay(60, f"ended {task.name}")
            made.wait_begun(f"ended {task.name}")
            waits = task.delay(0, "next")
            until(partial(asked_often, waits.id), 15, what="it to have asked for a place several times")
            assert all("(concurrency limit)" in line for line in told(waits.id))
            assert sum("INFO" in line for line in told(waits.id)) == 1
            ended.revoke(terminate=True)
            with pytest.raises(TaskRevokedError, match="terminated"):
                ended.get(timeout=20)
            assert waits.get(timeout=15) == "next"
        for name in ("one", "two"):
            made.tasks.die.delay(name)
            made.wait_begun(name)
