"""Tasks that take their process with them, and messages that nobody can run: counted, set aside, answered, replayed."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from support.project import Project
from support.wait import until
from support.workers import Bench, bench

from multi import App
from multi.connections.redis import Address, Redis
from multi.errors import NotRegistered, WorkerLostError


def push(made: Bench, *texts: str | bytes) -> None:
    """Put raw entries into the default queue's list."""
    connection = Redis(Address.from_url(made.broker))
    connection.call("LPUSH", "celery", *texts)
    connection.close()


def client(made: Bench, **settings: Any) -> App:
    """Another program's app, with other settings and no tasks."""
    app = App("other", broker=made.broker, backend=made.broker, set_as_current=False)
    app.conf.update(settings)
    return app


@pytest.mark.parametrize(("task", "words"), [("die", ()), ("die", (signal.SIGSEGV,)), ("leave", (0,))])
def test_a_task_that_takes_its_process_along_is_run_three_times(
    project: Project, broker: str, task: str, words: tuple[int, ...]
) -> None:
    with bench(project, broker, broker) as made:
        worker = made.start()
        call = (0, "poison") if task == "leave" else ("poison", *words)
        result = getattr(made.tasks, task).delay(*call)
        with pytest.raises(WorkerLostError, match="3 times"):
            result.get(timeout=30)
        assert made.begun("poison") == 3
        letter = until(made.dead)[0]
        assert (letter.task_id, letter.starts, letter.queue) == (result.id, 3, "celery")
        assert letter.task.endswith(f".{task}")
        assert "begun 3 times without an end" in letter.reason
        assert made.depth() == 0
        assert made.tasks.add.delay(2, 3).get(timeout=10) == 5
        assert worker.stop() == 0


def test_a_dead_letter_is_replayed_with_its_count_at_zero(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        made.start()
        result = made.tasks.die.delay("poison")
        with pytest.raises(WorkerLostError):
            result.get(timeout=30)
        letter = until(made.dead)[0]
        assert made.app.broker.replay("celery", [letter.id]) == 1
        made.wait_begun("poison", 6)
        again = until(made.dead)[0]
        assert (again.task_id, again.starts) == (result.id, 3)
        assert made.begun("poison") == 6
        assert made.app.broker.replay("celery", ["no such"]) == 0


def test_neighbours_in_the_batch_of_a_deadly_task_are_all_run_once(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        made.start("-c", "1")
        for result in made.app.send_many([(made.tasks.add, (1, 1), {}) for _ in range(300)]):
            result.get(timeout=20)
        calls: list[Any] = [(made.tasks.sleep, (0, f"n{i}"), {}) for i in range(40)]
        calls.insert(20, (made.tasks.die, ("poison",), {}))
        results = made.app.send_many(calls)
        poison = results.pop(20)
        assert [result.get(timeout=30) for result in results] == [f"n{i}" for i in range(40)]
        with pytest.raises(WorkerLostError):
            poison.get(timeout=30)
        assert made.begun("poison") == 3
        assert [made.begun(f"n{i}") for i in range(40)] == [1] * 40
        assert len(until(made.dead)) == 1


def test_hand_backs_of_what_was_not_started_count_nothing(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        made.start("-c", "1")
        for result in made.app.send_many([(made.tasks.add, (1, 1), {}) for _ in range(300)]):
            result.get(timeout=20)
        # in each round they are claimed behind another long task, and handed back
        results = made.app.send_many(
            [(made.tasks.sleep, (0.1, f"long{i}"), {}) for i in range(6)]
            + [(made.tasks.redelivered, (), {}) for _ in range(10)]
        )
        assert [result.get(timeout=20) for result in results[6:]] == [False] * 10
        assert made.dead() == []


def test_the_caller_of_an_unknown_task_learns_it_and_the_message_is_kept(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        worker = made.start()
        result = made.app.send_task("proj.unknown", (1,))
        with pytest.raises(NotRegistered):
            result.get(timeout=10)
        letter = until(made.dead)[0]
        assert (letter.task, letter.task_id) == ("proj.unknown", result.id)
        assert "no task is registered as 'proj.unknown'" in letter.reason
        assert letter.message is not None
        assert made.tasks.add.delay(2, 3).get(timeout=10) == 5
        assert "goes to the dead-letter queue of 'celery'" in worker.said()


def test_a_content_type_that_is_not_accepted_is_set_aside(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        made.start()
        other = client(made, task_serializer="pickle", accept_content=["pickle", "json"])
        try:
            result = other.send_task(made.tasks.add.name, (1, 2))
            letter = until(made.dead)[0]
            assert letter.task_id == result.id
            assert "pickle" in letter.reason
            assert result.state == "FAILURE"
            assert made.tasks.add.delay(2, 3).get(timeout=10) == 5
        finally:
            other.broker.close()
            assert other.backend is not None
            other.backend.close()


def test_rubbish_in_the_list_is_set_aside_and_work_goes_on(project: Project, redis_url: str) -> None:
    rubbish: list[str | bytes] = [
        "hello",
        b"\xff\xfe\x00\x01",
        "[1, 2]",
        '{"body": 1}',
        "{}",
        '{"body": "x"}',
        '{"body": "e30=", "headers": {"task": "t", "id": "1"}, "properties": {"body_encoding": "base64"}}',
        '{"body": "!", "headers": {"task": "t", "id": "1"}, "properties": {"body_encoding": "base64"}}',
        '{"body": "[", "headers": {"task": 5, "id": "1"}, "properties": {"delivery_tag": "x"}}',
        '{"body": "{not json", "content-type": "application/json", "headers": {"task": "t", "id": "2"}, "properties": {}}',
        '{"body": "x\\",\\"\\",\\"celery\\"]", "headers": null, "properties": null}',
    ]
    with bench(project, redis_url, redis_url) as made:
        worker = made.start("-c", "1")
        push(made, *rubbish)
        until(lambda: len(made.dead()) == len(rubbish), 10, what=f"{len(rubbish)} dead letters")
        assert all(letter.reason for letter in made.dead())
        assert made.tasks.add.delay(2, 3).get(timeout=10) == 5
        assert made.depth() == 0
        # they come back as they were, to be looked at again
        assert made.app.broker.replay("celery") == len(rubbish)
        until(lambda: len(made.dead()) == len(rubbish), 10, what="all of them dead again")
        assert worker.stop() == 0
        assert "Traceback" not in worker.said()


def test_a_body_that_is_not_json_tells_its_caller(project: Project, redis_url: str) -> None:
    with bench(project, redis_url, redis_url) as made:
        made.start("-c", "1")
        name = made.tasks.add.name
        push(
            made,
            f'{{"body": "[[1", "content-type": "application/json", "content-encoding": "utf-8", '
            f'"headers": {{"task": "{name}", "id": "broken-1"}}, "properties": {{"delivery_tag": "t"}}}}',
        )
        letter = until(made.dead)[0]
        assert letter.task_id == "broken-1"
        result = made.app.AsyncResult("broken-1")
        assert result.state == "FAILURE"
