"""Workers and clients of both engines on one RabbitMQ; results as messages, or on Redis."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import celery.exceptions
import pytest
from support.mixed import ENGINES, Fleet, ask, sign
from support.project import Project
from support.servers import RabbitMQ
from support.wait import until
from support.workers import Bench, Worker, bench

from multi.errors import BackendError, NotRegistered, WorkerLostError

TIMEOUT = 20
TASKS = 600
FAULTS = 8


@pytest.fixture(scope="module")
def mixed(rabbitmq_server: RabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A worker of Celery's for the queue `theirs`, one of multi's for `ours`, and both for `both`."""
    fleet = Fleet(tmp_path_factory.mktemp("rabbitmq"), rabbitmq_server.fresh(), "rpc://")
    try:
        theirs = fleet.worker("celery", "theirs", "theirs,both", "-c", "2")
        ours = fleet.worker("multi", "ours", "ours,both", "-c", "2")
        theirs.wait_ready()
        ours.wait_ready()
        yield fleet
        consumer = fleet.clients["celery"].backend.result_consumer
        if consumer._connection is not None:
            with suppress(OSError):  # another test may have had the server killed meanwhile
                consumer.stop()  # Celery leaves this connection open
    finally:
        fleet.close()


@pytest.fixture(params=ENGINES)
def client(request: pytest.FixtureRequest, mixed: Fleet) -> Any:
    return mixed.clients[request.param]


@pytest.fixture(params=["theirs", "ours"])
def queue(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


# with Celery, both ways


def test_results_come_back_as_messages(client: Any, queue: str) -> None:
    value = {"text": "naïve ☃", "numbers": [1, 2.5, -(2**40)], "nothing": None}
    results = [ask(client, "same", ([value, number],), queue=queue) for number in range(20)]
    assert [result.get(timeout=TIMEOUT) for result in results] == [[value, number] for number in range(20)]
    assert {result.state for result in results} == {"SUCCESS"}


def test_exceptions_come_back_as_what_they_were(client: Any, queue: str) -> None:
    result = ask(client, "value_error", ("bad", 1), queue=queue)
    with pytest.raises(ValueError, match="bad") as raised:
        result.get(timeout=TIMEOUT)
    assert raised.value.args == ("bad", 1)
    assert "ValueError" in result.traceback


def test_a_task_knows_how_it_came(client: Any, queue: str) -> None:
    result = ask(client, "who", queue=queue, headers={"custom": "header"}, priority=3)
    told = result.get(timeout=TIMEOUT)
    assert told["id"] == told["correlation_id"] == told["root"] == result.id
    assert (told["queue"], told["redelivered"], told["reply_to"]) == (queue, False, True)
    assert told["headers"]["custom"] == "header"


def test_large_messages_and_results_travel(client: Any, queue: str) -> None:
    text = "x" * 500_000
    assert ask(client, "same", (text,), queue=queue).get(timeout=TIMEOUT) == text


def test_a_chain_goes_from_one_engine_to_the_other_and_back(client: Any, mixed: Fleet) -> None:
    name = f"chain {client.main} {random.random()}"
    first, second, third = (
        sign(client, "add", 1, 2, queue="ours"),
        sign(client, "add", 10, queue="theirs"),
        sign(client, "note", name=name, queue="ours"),
    )
    (first | second | third).apply_async()
    (note,) = mixed.wait_notes(name)
    assert (note["args"], note["engine"]) == ([13], "multi")


def test_the_results_of_a_chain_come_to_who_sent_it(client: Any) -> None:
    steps = [sign(client, "add", 1, 2, queue="ours"), sign(client, "add", 10, queue="theirs"),
             sign(client, "add", 100, queue="ours")]  # fmt: skip
    last = (steps[0] | steps[1] | steps[2]).apply_async()
    assert last.get(timeout=TIMEOUT) == 113
    assert last.parent.get(timeout=TIMEOUT) == 13
    assert last.parent.parent.get(timeout=TIMEOUT) == 3


@pytest.mark.parametrize("queue", ["theirs", "ours", "both"])
def test_a_countdown_is_kept(client: Any, queue: str) -> None:
    begun = time.time()
    results = [ask(client, "same", (number,), queue=queue, countdown=1.2) for number in range(4)]
    assert [result.get(timeout=TIMEOUT) for result in results] == [0, 1, 2, 3]
    assert 1.2 <= time.time() - begun < 8


def test_a_retry_goes_to_the_other_engine(client: Any, mixed: Fleet) -> None:
    name = f"retry {client.main} {random.random()}"
    result = ask(client, "again", (name,), {"queue": "theirs", "times": 2}, queue="ours")
    assert result.get(timeout=TIMEOUT) == {"retries": 2, "engine": "celery"}
    assert [note["engine"] for note in mixed.notes(name)] == ["multi", "celery", "celery"]


def test_a_task_sends_another_whose_result_is_its_own(client: Any, queue: str) -> None:
    child = ask(client, "spawn", ("ours",), queue=queue).get(timeout=TIMEOUT)
    assert isinstance(child, str)


def test_somebody_elses_result_is_refused_and_not_waited_for(mixed: Fleet) -> None:
    with pytest.raises(BackendError, match="goes only to the process that sent the task"):
        mixed.clients["multi"].AsyncResult("sent-by-nobody-here").get(timeout=5)


def test_a_result_that_doesnt_come_times_out(client: Any, mixed: Fleet) -> None:
    result = ask(client, "add", (1, 2), queue="nobody listens")
    with pytest.raises((TimeoutError, celery.exceptions.TimeoutError)):
        result.get(timeout=0.5)


def test_an_unknown_task_is_answered_and_set_aside(mixed: Fleet) -> None:
    client = mixed.clients["multi"]
    result = client.send_task("nobody.knows", (1,), queue="ours")
    with pytest.raises(NotRegistered):
        result.get(timeout=TIMEOUT)
    (letter,) = client.broker.dead("ours")
    assert (letter.task, letter.task_id) == ("nobody.knows", result.id)


# faults

Fault = Callable[[Bench, list[Worker], int], None]


def kill_a_child(made: Bench, workers: list[Worker], index: int) -> None:
    if children := workers[index].children():
        os.kill(random.choice(children), signal.SIGKILL)


def kill_the_worker(made: Bench, workers: list[Worker], index: int) -> None:
    workers[index].kill()
    workers[index] = made.start("-l", "WARNING", name=f"w{index}", wait=False)
    until(lambda: workers[index].children(), 20)


def stop_warm(made: Bench, workers: list[Worker], index: int) -> None:
    assert workers[index].stop(signal.SIGTERM) == 0
    workers[index] = made.start("-l", "WARNING", name=f"w{index}", wait=False)
    until(lambda: workers[index].children(), 20)


def stop_cold(made: Bench, workers: list[Worker], index: int) -> None:
    assert workers[index].stop(signal.SIGQUIT) == 1
    workers[index] = made.start("-l", "WARNING", name=f"w{index}", wait=False)
    until(lambda: workers[index].children(), 20)


@pytest.mark.parametrize("fault", [kill_a_child, kill_the_worker, stop_warm, stop_cold])
def test_nothing_is_lost_whatever_is_killed(project: Project, rabbitmq_url: str, redis_url: str, fault: Fault) -> None:
    with bench(project, rabbitmq_url, redis_url, max_deliveries=50) as made:
        workers = [made.start("-l", "WARNING", name=f"w{index}", wait=False) for index in range(2)]
        for worker in workers:
            until(worker.children, 20)
        calls: list[Any] = [
            (made.tasks.sleep, (random.choice((0, 0, 0.001, 0.003, 0.02)), str(number)), {}) for number in range(TASKS)
        ]
        results = made.app.send_many(calls)
        for number in range(FAULTS):
            fault(made, workers, number % 2)
            done = len(made.notes())
            until(lambda done=done: len(made.notes()) > done or len(made.notes()) >= 2 * TASKS, 40)  # type: ignore[misc]
        deadline = time.monotonic() + 60
        for result in results:
            result.get(timeout=max(0.1, deadline - time.monotonic()))
        assert [worker.stop() for worker in workers] == [0, 0]
        assert len({note for note in made.notes() if note.startswith("end")}) == TASKS
        assert made.app.broker.depth("celery") == 0
        assert made.app.broker.dead("celery") == []


def test_a_server_that_dies_and_returns_loses_nothing(project: Project, own: RabbitMQ, redis_url: str) -> None:
    with bench(project, own.fresh(), redis_url) as made:
        worker = made.start()
        results = [made.tasks.sleep.delay(0.02, str(number)) for number in range(100)]
        until(lambda: len(made.notes()) > 20)
        own.kill()
        until(lambda: "trying again" in worker.said())
        own.start()
        assert [result.get(timeout=40) for result in results] == [str(number) for number in range(100)]
        assert "Connected to" in worker.said().split("trying again")[-1]
        assert worker.stop() == 0


def test_a_task_that_kills_its_child_is_counted_and_set_aside(project: Project, rabbitmq_url: str) -> None:
    with bench(project, rabbitmq_url, "rpc://") as made:
        made.start("-c", "2")
        result = made.tasks.die.delay("poison")
        with pytest.raises(WorkerLostError):
            result.get(timeout=TIMEOUT)
        assert made.notes().count("begin poison") == 3
        (letter,) = until(lambda: made.app.broker.dead("celery"))
        assert (letter.task_id, letter.starts) == (result.id, 3)
        assert made.tasks.add.delay(1, 2).get(timeout=TIMEOUT) == 3


def test_short_tasks_dont_wait_behind_a_long_one(project: Project, rabbitmq_url: str) -> None:
    with bench(project, rabbitmq_url, "rpc://") as made:
        made.start("-c", "2")
        long = made.tasks.hold.delay("long")
        made.wait_begun("long")
        short = [made.tasks.sleep.delay(0.002, str(number)) for number in range(200)]
        for result in short:
            result.get(timeout=TIMEOUT)
        assert "end long" not in made.notes()
        made.let_go("long")
        assert long.get(timeout=TIMEOUT) == "long"


@pytest.mark.parametrize("pool", ["threads", "asyncio", "solo"])
def test_other_pools_run_on_it_too(project: Project, rabbitmq_url: str, pool: str) -> None:
    with bench(project, rabbitmq_url, "rpc://") as made:
        worker = made.start("-P", pool, "-c", "8")
        begun = time.monotonic()
        naps = [made.tasks.nap.delay(0.3, str(number)) for number in range(8)]
        assert [nap.get(timeout=TIMEOUT) for nap in naps] == [str(number) for number in range(8)]
        if pool != "solo":
            assert time.monotonic() - begun < 8 * 0.3
        results = made.app.send_many([(made.tasks.add, (number, 1), {}) for number in range(300)])
        assert [result.get(timeout=TIMEOUT) for result in results] == [number + 1 for number in range(300)]
        assert worker.stop() == 0


def test_a_worker_with_a_wrong_password_says_so_and_ends(project: Project, rabbitmq_url: str) -> None:
    with bench(project, rabbitmq_url.replace("guest:guest", "guest:s3cret"), "rpc://") as made:
        worker = made.start(wait=False)
        assert worker.process.wait(TIMEOUT) != 0
        assert "check the password of user 'guest'" in worker.said()
        assert "s3cret" not in worker.said()
        assert "Traceback" not in worker.said()


def test_a_worker_waits_for_a_server_that_isnt_there_yet(project: Project, own: RabbitMQ) -> None:
    own.kill()
    with bench(project, own.fresh(), "rpc://") as made:
        worker = made.start(wait=False)
        until(lambda: "trying again in" in worker.said(), TIMEOUT)
        own.start()
        until(lambda: " ready." in worker.said(), 40)
        assert made.tasks.add.delay(1, 2).get(timeout=TIMEOUT) == 3


@pytest.mark.timeout(300)
def test_the_result_backend_keeps_the_turns_of_a_rate_limit(
    project: Project, rabbitmq_url: str, redis_url: str
) -> None:
    """RabbitMQ has nothing to count in; what waits for its turn is parked there all the same."""
    with bench(project, rabbitmq_url, redis_url) as made:
        for name in ("w1", "w2"):
            made.start("-c", "2", name=name)
        began = time.time()
        # a quorum queue whose server is too busy to hear that a message has moved on tries it again after three minutes
        found = [result.get(timeout=200) for result in made.tasks.paced_everywhere.send_many([()] * 6)]
        for count, start in enumerate(sorted(start for _, start in found)):
            assert start - began >= count / 20 - 0.01, found
