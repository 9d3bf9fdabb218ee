"""From a message to its outcome, and to what is recorded and sent because of it."""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
import time
import traceback
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.inline import claim, make_app, work

from multi import App, Ignore, MaxRetriesExceededError, Reject, SoftTimeLimitExceeded, Task, TimeLimitExceeded, clock
from multi.app.coroutines import close_loops
from multi.app.exceptions import from_wire
from multi.app.execute import failure, prepare, stores
from multi.app.job import Job
from multi.app.publishing import Publisher
from multi.compression import compress, content_type
from multi.errors import (
    BackendUnavailable,
    ContentDisallowed,
    DecodeError,
    EncodeError,
    InvalidTaskError,
    NotRegistered,
    RemoteError,
    TaskRevokedError,
    WorkerLostError,
)
from multi.message import Message
from multi.outcome import Outcome


@pytest.fixture
def app() -> App:
    return make_app()


@pytest.fixture
def add(app: App) -> Any:
    @app.task(name="add")
    def add(x: Any, y: Any) -> Any:
        return x + y

    return add


def prepared(app: App, message: Message, **more: Any) -> Job | Outcome:
    given = {"queue": "celery", "redelivered": False, "starts": 0, "hostname": "w1@h", **more}
    return prepare(app, message, **given)


def job_of(app: App, message: Message, **more: Any) -> Job:
    job = prepared(app, message, **more)
    assert isinstance(job, Job)
    return job


def refused(app: App, message: Message, **more: Any) -> Outcome:
    outcome = prepared(app, message, **more)
    assert isinstance(outcome, Outcome)
    return outcome


def message(name: str = "add", args: Any = (1, 2), kwargs: Any = None, embed: Any = None, **headers: Any) -> Message:
    """As small as a real worker accepts it."""
    body = json.dumps([args, kwargs or {}, embed]).encode()
    return Message({"task": name, "id": "the-id", **headers}, body)


def record(app: App, task_id: str = "the-id") -> Any:
    backend = app.backend
    assert backend is not None
    found = backend.fetch([task_id])[0]
    return None if found is None else json.loads(found)


# success ---------------------------------------------------------------------------------------------------------


def test_a_task_runs_and_its_record_is_celerys(app: App, add: Any) -> None:
    result = add.delay(1, 2)
    (outcome,) = work(app)
    assert (outcome.task_id, outcome.name, outcome.state, outcome.result) == (result.id, "add", "SUCCESS", 3)
    meta = record(app, result.id)
    done = datetime.fromisoformat(meta.pop("date_done"))
    assert abs((datetime.now(UTC) - done).total_seconds()) < 5
    assert list(meta.items()) == [
        ("status", "SUCCESS"), ("result", 3), ("traceback", None), ("children", []), ("task_id", result.id),
    ]  # fmt: skip


def test_the_smallest_message_is_enough(app: App, add: Any) -> None:
    job = job_of(app, message())
    assert (job.id, job.name, job.root_id, job.is_async, job.acks_early, job.ignore_result) == (
        "the-id", "add", "the-id", False, False, False,
    )  # fmt: skip
    assert job.run().result == 3


def test_group_and_parent_stand_in_the_record(app: App, add: Any) -> None:
    outcome = job_of(app, message(group="g", parent_id="p")).run()
    backend = app.backend
    assert backend is not None
    backend.store(stores(app, outcome))
    meta = record(app)
    assert (meta["group_id"], meta["parent_id"]) == ("g", "p")


def test_an_id_may_be_any_text(app: App, add: Any) -> None:
    outcome = job_of(app, message(id='a"\\\né')).run()
    app.backend.store(stores(app, outcome))  # type: ignore[union-attr]
    assert record(app, 'a"\\\né')["task_id"] == 'a"\\\né'


def test_an_extended_record_says_more(app: App, add: Any) -> None:
    app.conf.result_extended = True
    result = add.delay(1, y=2)
    work(app)
    meta = record(app, result.id)
    wanted = {"name": "add", "args": [1], "kwargs": {"y": 2}, "worker": "w1@test", "retries": 0, "queue": "celery"}
    assert wanted.items() <= meta.items()


def test_an_ignored_result_is_not_recorded(app: App, add: Any) -> None:
    result = add.apply_async((1, 2), ignore_result=True)
    (outcome,) = work(app)
    assert outcome.record is False
    assert record(app, result.id) is None


def test_the_call_decides_over_the_task_whether_its_result_is_ignored(app: App) -> None:
    @app.task(ignore_result=True)
    def quiet() -> int:
        return 1

    result = quiet.apply_async(ignore_result=False)
    work(app)
    assert result.get(timeout=1) == 1
    named = app.send_task("far", ())
    assert claim(app).headers["ignore_result"] is None
    assert named.ignored is False


def test_without_a_backend_nothing_is_recorded() -> None:
    app = make_app(backend="disabled://")
    task = app.task(lambda: 1)
    task.delay()
    (outcome,) = work(app)
    assert stores(app, outcome) == []


def test_the_request_tells_all_that_the_message_says(app: App) -> None:
    seen: list[Any] = []

    @app.task(bind=True, name="look")
    def look(self: Any, *args: Any, **kwargs: Any) -> None:
        seen.append(self.request)

    look.apply_async((1,), {"k": 2}, task_id="i", headers={"tenant": "blue"}, priority=4, expires=100, group_id="g",
                     group_index=2, shadow="s", time_limit=9, link=look.s())  # fmt: skip
    work(app)
    request = seen[0]
    assert (request.id, request.root_id, request.parent_id, request.task) == ("i", "i", None, "look")
    assert (request.args, request.kwargs, request.retries, request.is_eager) == ([1], {"k": 2}, 0, False)
    assert (request.group, request.group_index, request.shadow, request.timelimit) == ("g", 2, "s", [9, None])
    assert (request.time_limit, request.soft_time_limit, request.hostname) == (9, None, "w1@test")
    assert request.headers == {"tenant": "blue"}
    assert request.called_directly is False
    assert request.correlation_id == "i"
    assert request.delivery_info == {"exchange": "", "routing_key": "celery", "priority": 4, "redelivered": False}
    assert request.callbacks[0]["task"] == "look"
    assert request.expires is not None
    assert (request.chord, request.chain, request.errbacks, request.eta, request.headers["tenant"]) == (
        None, None, None, None, "blue",
    )  # fmt: skip
    assert (seen[1].parent_id, seen[1].root_id) == ("i", "i")


def test_limits_come_from_the_message_then_the_task_then_the_settings(app: App, add: Any) -> None:
    @app.task(time_limit=9)
    def limited() -> None: ...

    app.conf.task_soft_time_limit = 3
    assert (job_of(app, message()).time_limit, job_of(app, message()).soft_time_limit) == (None, 3)
    job = job_of(app, message(limited.name, ()))
    assert (job.time_limit, job.soft_time_limit) == (9, 3)
    job = job_of(app, message(limited.name, (), timelimit=[5, 2]))
    assert (job.time_limit, job.soft_time_limit) == (5, 2)


def test_started_is_recorded_when_asked_for(app: App) -> None:
    seen: list[Any] = []

    @app.task(track_started=True, bind=True)
    def tracked(self: Any) -> None:
        seen.append(record(app, self.request.id))

    tracked.delay()
    work(app)
    assert seen[0]["status"] == "STARTED"
    assert seen[0]["result"]["hostname"] == "w1@test"
    assert seen[0]["date_done"] is None


def test_a_task_runs_even_if_its_start_cannot_be_recorded(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(stores: Any) -> None:
        raise BackendUnavailable("the backend is away")

    app.task(track_started=True, name="tracked")(lambda: 5)
    monkeypatch.setattr(app.backend, "store", away)
    assert job_of(app, message("tracked", ())).run().result == 5
    assert "the backend is away" in caplog.text


def test_a_task_without_trail_remembers_no_children(app: App, add: Any) -> None:
    @app.task(trail=False)
    def parent() -> None:
        add.delay(1, 2)

    result = parent.apply_async(link=add.si(1, 2))
    work(app)
    assert result.children == []


def test_a_state_of_ones_own_is_recorded(app: App) -> None:
    seen: list[Any] = []

    @app.task(bind=True)
    def progress(self: Any) -> None:
        self.update_state(state="PROGRESS", meta={"done": 5})
        seen.append((app.AsyncResult(self.request.id).state, app.AsyncResult(self.request.id).info))

    result = progress.delay()
    work(app)
    assert seen == [("PROGRESS", {"done": 5})]
    assert result.state == "SUCCESS"


def test_tasks_sent_by_a_task_are_its_children(app: App, add: Any) -> None:
    @app.task
    def parent() -> list[str]:
        return [add.delay(1, 2).id, app.send_many([(add, (1, 1))])[0].id, app.send_task("add", (2, 2)).id]

    result = parent.delay()
    outcomes = work(app)
    ids = result.get(timeout=1)
    assert [child.id for child in result.children or []] == ids
    assert record(app, result.id)["children"] == [[[i, None], None] for i in ids]
    assert [outcome.parent_id for outcome in outcomes[1:]] == [result.id] * 3


def test_the_root_of_a_family_is_its_first_task(app: App) -> None:
    seen: list[Any] = []

    @app.task(bind=True)
    def nest(self: Any, depth: int) -> None:
        seen.append((self.request.id, self.request.root_id, self.request.parent_id))
        if depth:
            nest.delay(depth - 1)

    nest.apply_async((2,), task_id="first")
    work(app)
    assert [root for _, root, _ in seen] == ["first"] * 3
    assert [parent for _, _, parent in seen] == [None, "first", seen[1][0]]


def test_a_custom_call_is_called(app: App) -> None:
    from multi import Task

    class Loud(Task):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return "loud " + str(super().__call__(*args, **kwargs))

    @app.task(base=Loud, bind=True)
    def task(self: Any) -> str:
        return str(self.request.id)

    result = task.delay()
    work(app)
    assert result.get(timeout=1) == f"loud {result.id}"


# async -----------------------------------------------------------------------------------------------------------


def test_async_tasks_of_one_process_share_a_loop(app: App) -> None:
    loops: list[Any] = []

    @app.task
    async def co(x: int) -> int:
        await asyncio.sleep(0)
        loops.append(asyncio.get_running_loop())
        return x

    assert job_of(app, message(co.name, (0,))).is_async
    results = [co.delay(1), co.delay(2)]
    work(app)
    assert [result.get(timeout=1) for result in results] == [1, 2]
    assert loops[0] is loops[1]
    close_loops()


def test_a_job_can_be_awaited(app: App, add: Any) -> None:
    @app.task(bind=True)
    async def co(self: Any, x: int) -> Any:
        await asyncio.sleep(0)
        return x, self.request.id

    async def main() -> list[Outcome]:
        jobs = [job_of(app, message(co.name, (n,), id=f"i{n}")) for n in range(3)]
        return await asyncio.gather(*(job.arun() for job in jobs), job_of(app, message()).arun())

    assert [outcome.result for outcome in asyncio.run(main())] == [(0, "i0"), (1, "i1"), (2, "i2"), 3]


def test_a_time_limit_is_raised_inside_a_waiting_coroutine(app: App) -> None:
    seen: list[str] = []

    @app.task(soft_time_limit=1)
    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        except SoftTimeLimitExceeded:
            seen.append("told")
            raise

    async def main() -> Outcome:
        job = job_of(app, message(slow.name, ()))
        run = asyncio.ensure_future(job.arun())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert job.interrupt(SoftTimeLimitExceeded(1))
        return await run

    outcome = asyncio.run(main())
    assert seen == ["told"]
    assert (outcome.state, outcome.result.args) == ("FAILURE", (1,))


def test_a_time_limit_raised_by_a_signal_reaches_a_waiting_coroutine(app: App) -> None:
    import signal

    seen: list[str] = []

    def strike(*_: object) -> None:
        raise SoftTimeLimitExceeded(1)

    @app.task
    async def slow() -> str:
        asyncio.get_running_loop().call_soon(signal.setitimer, signal.ITIMER_REAL, 0.01)
        try:
            await asyncio.sleep(60)
        except SoftTimeLimitExceeded:
            seen.append("told")
        await asyncio.sleep(0)
        return "tidied up"

    before = signal.signal(signal.SIGALRM, strike)
    try:
        outcome = job_of(app, message(slow.name, ())).run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        close_loops()
    assert seen == ["told"]
    assert (outcome.state, outcome.result) == ("SUCCESS", "tidied up")


def test_an_interruption_leaves_no_coroutine_behind(app: App) -> None:
    import signal

    seen: list[str] = []

    class Interrupted(BaseException):
        pass

    def strike(*_: object) -> None:
        raise Interrupted

    @app.task
    async def slow() -> None:
        asyncio.get_running_loop().call_soon(signal.setitimer, signal.ITIMER_REAL, 0.01)
        try:
            await asyncio.sleep(60)
        finally:
            seen.append("closed")

    before = signal.signal(signal.SIGALRM, strike)
    try:
        outcome = job_of(app, message(slow.name, ())).run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        close_loops()
    assert outcome.state == "FAILURE"
    assert isinstance(outcome.result, Interrupted)
    assert seen == ["closed"]


# failure ---------------------------------------------------------------------------------------------------------


class Custom(Exception):
    """Of the project's own."""

    def __init__(self, code: int, *, detail: str = "") -> None:
        super().__init__(code, detail)


def test_a_failure_comes_back_as_its_own_class_with_its_traceback(app: App) -> None:
    @app.task
    def fail() -> None:
        raise ValueError("bad", 1)

    result = fail.delay()
    (outcome,) = work(app)
    assert outcome.expected is False
    meta = record(app, result.id)
    assert meta["result"] == {"exc_type": "ValueError", "exc_message": ["bad", 1], "exc_module": "builtins"}
    assert meta["status"] == "FAILURE"
    with pytest.raises(ValueError, match="bad") as caught:
        result.get(timeout=1)
    assert caught.value.args == ("bad", 1)
    shown = "".join(traceback.format_exception(caught.value))
    assert 'raise ValueError("bad", 1)' in shown
    text = result.traceback
    assert text is not None
    assert text.startswith("Traceback (most recent call last):")
    assert "multi/app" not in text
    assert result.failed()
    assert not result.successful()


def test_an_exception_whose_constructor_wants_other_arguments_comes_back_too(app: App) -> None:
    @app.task
    def fail() -> None:
        raise Custom(5, detail="x")

    result = fail.delay()
    work(app)
    error = result.get(timeout=1, propagate=False)
    assert type(error) is Custom
    assert error.args[0] == 5


def test_an_exception_of_an_unknown_class_keeps_its_name(app: App) -> None:
    backend = app.backend
    assert backend is not None
    meta = {"status": "FAILURE", "result": {"exc_type": "Far", "exc_message": ["x"], "exc_module": "far.away"}}
    backend.store([backend.encode("i", json.dumps(meta).encode())])
    error = app.AsyncResult("i").result
    assert (type(error).__name__, type(error).__module__, error.args) == ("Far", "far.away", ("x",))
    assert "far" not in sys.modules


def test_an_argument_of_an_exception_that_cannot_be_expressed_is_stored_by_its_repr(app: App) -> None:
    @app.task
    def fail() -> None:
        raise ValueError({1, 2}, "kept")

    result = fail.delay()
    work(app)
    assert result.get(timeout=1, propagate=False).args == ("{1, 2}", "kept")


def test_an_expected_failure_is_marked(app: App) -> None:
    @app.task(throws=(KeyError,))
    def fail() -> None:
        raise KeyError("x")

    fail.delay()
    (outcome,) = work(app)
    assert (outcome.state, outcome.expected) == ("FAILURE", True)


def test_a_result_that_cannot_be_stored_is_a_failure_that_says_so(app: App) -> None:
    @app.task(name="odd")
    def odd() -> Any:
        return object()

    result = odd.delay()
    (outcome,) = work(app)
    assert outcome.state == "FAILURE"
    with pytest.raises(EncodeError, match="the result of odd, a object, can't be stored"):
        result.get(timeout=1)


def test_errbacks_hear_of_a_result_that_cannot_be_stored(app: App, add: Any) -> None:
    @app.task(name="odd")
    def odd() -> Any:
        return object()

    outcome = job_of(app, message("odd", (), embed={"errbacks": [STEP], "chain": None})).run()
    assert outcome.state == "FAILURE"
    assert "can't be stored" in str(outcome.result)
    assert len(outcome.publications) == 1


def test_a_result_that_cannot_be_stored_is_no_failure_if_nobody_wants_it(app: App) -> None:
    @app.task(ignore_result=True)
    def odd() -> Any:
        return object()

    odd.delay()
    (outcome,) = work(app)
    assert outcome.state == "SUCCESS"


def test_errors_are_stored_even_if_results_are_ignored_when_asked_for(app: App) -> None:
    @app.task(ignore_result=True, store_errors_even_if_ignored=True)
    def fail() -> None:
        raise ValueError

    result = fail.delay()
    work(app)
    assert record(app, result.id)["status"] == "FAILURE"


class Odd(BaseException):
    """No `Exception`, and nobody's but the project's."""


_LEAVING = [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(), Odd()]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["def", "async def"])
@pytest.mark.parametrize("error", _LEAVING, ids=lambda error: type(error).__name__)
def test_what_is_no_exception_is_a_failure_of_the_task_alone(
    app: App, error: BaseException, asynchronous: bool
) -> None:
    @app.task(name="leave")
    def leave() -> None:
        raise error

    @app.task(name="leave_async")
    async def leave_async() -> None:
        await asyncio.sleep(0)
        raise error

    outcome = job_of(app, message(leave_async.name if asynchronous else leave.name, ())).run()
    assert outcome.state == "FAILURE"
    assert isinstance(outcome.result, type(error))
    assert outcome.traceback is not None
    assert "raise error" in outcome.traceback or isinstance(error, asyncio.CancelledError)
    assert app.current_task is None
    close_loops()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), Odd()], ids=lambda error: type(error).__name__)
def test_on_a_loop_of_others_it_is_one_too(app: App, error: BaseException) -> None:
    @app.task
    async def leave() -> None:
        raise error

    assert asyncio.run(job_of(app, message(leave.name, ())).arun()).state == "FAILURE"


def test_a_program_that_runs_a_task_itself_can_be_interrupted(app: App) -> None:
    @app.task
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted.apply()
    assert app.current_task is None


def test_a_traceback_begins_in_the_task_also_in_a_coroutine(app: App) -> None:
    @app.task
    async def fail() -> None:
        await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.sleep(60), 0.001)

    outcome = job_of(app, message(fail.name, ())).run()
    close_loops()
    assert outcome.traceback is not None
    first = outcome.traceback.split("During handling")[-1].split("direct cause")[-1].split("File ")[1]
    assert "in fail" in first
    assert "coroutines.py" not in outcome.traceback
    assert "base_events.py" not in outcome.traceback


def test_a_group_of_exceptions_comes_back_as_one(app: App) -> None:
    @app.task
    def fail() -> None:
        inner = ExceptionGroup("inner", [KeyError("k"), Custom(7)])
        raise ExceptionGroup("several", [ValueError("bad", 1), inner])

    result = fail.delay()
    work(app)
    stored = record(app, result.id)["result"]
    assert stored["exc_type"] == "ExceptionGroup"
    with pytest.raises(ExceptionGroup) as caught:
        result.get()
    assert caught.value.message == "several"
    first, second = caught.value.exceptions
    assert isinstance(first, ValueError)
    assert first.args == ("bad", 1)
    assert isinstance(second, ExceptionGroup)
    assert [type(error) for error in second.exceptions] == [KeyError, Custom]


@pytest.mark.parametrize("exc_message", [["several", "[ValueError()]"], ["several"], [], ["several", []]], ids=str)
def test_a_group_that_a_peer_has_written_otherwise_is_told_by_its_name(exc_message: list[Any]) -> None:
    found = from_wire({"exc_type": "ExceptionGroup", "exc_module": "builtins", "exc_message": exc_message})
    assert isinstance(found, RemoteError)
    assert type(found).__name__ == "ExceptionGroup"
    assert list(found.args)[:1] == exc_message[:1]


def test_a_soft_time_limit_is_a_failure_of_that_class(app: App) -> None:
    @app.task
    def slow() -> None:
        raise SoftTimeLimitExceeded(5)

    result = slow.delay()
    work(app)
    stored = record(app, result.id)["result"]
    assert (stored["exc_type"], stored["exc_module"]) == ("SoftTimeLimitExceeded", "billiard.exceptions")
    with pytest.raises(SoftTimeLimitExceeded):
        result.get(timeout=1)


def test_a_wrong_call_that_slips_through_is_a_failure(app: App, add: Any) -> None:
    outcome = job_of(app, message(args=(1,))).run()
    assert outcome.state == "FAILURE"
    assert isinstance(outcome.result, TypeError)


def test_the_failure_of_a_message_whose_process_is_gone(app: App, add: Any) -> None:
    step = add.s(1).set(task_id="next", group_id="g")
    embed = {"errbacks": [add.s(1)], "chain": [step]}
    outcome = failure(app, message(embed=embed), TimeLimitExceeded(5))
    assert (outcome.state, outcome.verb) == ("FAILURE", "ack")
    assert outcome.fallen == [("next", "g", None)]
    assert [publication.message.headers["task"] for publication in outcome.publications] == ["add"]
    assert len(stores(app, outcome)) == 2
    outcome = failure(app, message("unknown"), WorkerLostError("x"), verb="bury", reason="why")
    assert (outcome.state, outcome.verb, outcome.reason, outcome.record) == ("FAILURE", "bury", "why", True)


# what is not run -------------------------------------------------------------------------------------------------


def test_an_unknown_task_is_buried_and_its_caller_told(app: App) -> None:
    result = app.send_task("nope")
    (outcome,) = work(app)
    assert outcome.verb == "bury"
    assert "'nope'" in outcome.reason
    with pytest.raises(NotRegistered, match="nope"):
        result.get(timeout=1)
    assert record(app, result.id)["result"]["exc_module"] == "celery.exceptions"
    (letter,) = app.broker.dead("celery")
    assert (letter.task, letter.task_id) == ("nope", result.id)


def test_the_builtin_tasks_of_celery_are_there(app: App) -> None:
    names = ["accumulate", "backend_cleanup", "chain", "chord", "chord_unlock", "chunks", "group", "map", "starmap"]
    assert [name for name in names if f"celery.{name}" not in app.tasks] == []
    assert job_of(app, message("celery.accumulate", [[1, 2]], {"index": 0})).run().result == [1, 2]


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (Message({"task": "add", "id": "i"}, b"not json"), DecodeError),
        (Message({"task": "add", "id": "i"}, b"{}"), DecodeError),
        (Message({"task": "add", "id": "i"}, b"[1, 2]"), DecodeError),
        (Message({"task": "add", "id": "i"}, b"[[], {}, 5]"), DecodeError),
        (Message({"task": "add", "id": "i"}, pickle.dumps([[], {}, None]), "application/x-python-serialize"),
         ContentDisallowed),
        (Message({"task": "add", "id": "i", "compression": "application/x-gzip"}, b"plain"), DecodeError),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_read_is_buried_and_its_caller_told(app: App, add: Any, broken: Message, error: type) -> None:
    outcome = refused(app, broken)
    assert (outcome.verb, outcome.record, outcome.task_id) == ("bury", True, "i")
    assert isinstance(outcome.result, error)
    assert outcome.reason


@pytest.mark.parametrize(
    "broken",
    [
        Message({}, b"[[], {}, null]"),
        Message({}, b'{"id": "i"}'),
        Message({"task": "add"}, b"[[], {}, null]"),
        Message({"task": "add", "id": 5}, b"[[], {}, null]"),
        Message({}, b"\xff"),
    ],
    ids=str,
)
def test_what_has_no_id_or_task_is_buried(app: App, add: Any, broken: Message) -> None:
    outcome = refused(app, broken)
    assert (outcome.verb, outcome.record) == ("bury", False)
    assert stores(app, outcome) == []


@pytest.mark.parametrize("args", ["text", 5, {"a": 1}], ids=repr)
def test_arguments_that_are_no_list_are_buried(app: App, add: Any, args: Any) -> None:
    assert refused(app, message(args=args)).verb == "bury"


@pytest.mark.parametrize("wrong", [{"eta": "soon"}, {"expires": "late"}, {"timelimit": 5}], ids=str)
def test_what_waits_for_one_that_cannot_be_run_ends_with_it(app: App, add: Any, wrong: dict[str, Any]) -> None:
    step = add.s(1).set(task_id="next", group_id="g")
    embed = {"chain": [step], "chord": add.s(1).set(task_id="body")}
    outcome = refused(app, message(embed=embed, group="header", group_index=3, **wrong))
    assert (outcome.verb, outcome.state, outcome.record) == ("bury", "FAILURE", True)
    assert isinstance(outcome.result, InvalidTaskError)
    assert outcome.fallen == [("next", "g", None)]
    assert [(part.group_id, part.index, part.state) for part in outcome.parts] == [("header", 3, "FAILURE")]


def test_a_pickle_is_read_where_it_is_accepted(app: App, add: Any) -> None:
    app.conf.accept_content = ["json", "pickle"]
    body = pickle.dumps([(1, 2), {}, None])
    sent = Message({"task": "add", "id": "i"}, body, "application/x-python-serialize", "binary")
    assert job_of(app, sent).run().result == 3


@pytest.mark.parametrize("name", ["zlib", "bzip2", "lzma"])
def test_a_compressed_body_is_read(app: App, add: Any, name: str) -> None:
    kind = content_type(name)
    sent = message(compression=kind)
    squeezed = Message(sent.headers, compress(sent.body, kind))
    assert job_of(app, squeezed).run().result == 3


def test_a_task_that_is_not_due_is_parked(app: App, add: Any) -> None:
    eta = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    outcome = refused(app, message(eta=eta))
    assert (outcome.verb, outcome.record) == ("park", False)
    assert outcome.due == pytest.approx(clock.to_epoch(eta))
    job_of(app, message(eta="2020-01-01T00:00:00"))


def test_a_time_without_offset_is_utc(app: App, add: Any) -> None:
    naive = (datetime.now(UTC) + timedelta(minutes=1)).replace(tzinfo=None).isoformat()
    assert refused(app, message(eta=naive)).due == pytest.approx(time.time() + 60, abs=2)


def test_a_task_that_has_expired_is_revoked(app: App, add: Any) -> None:
    outcome = refused(app, message(expires="2020-01-01T00:00:00+00:00", eta="2999-01-01T00:00:00+00:00"))
    assert (outcome.state, outcome.verb, outcome.record) == ("REVOKED", "ack", True)
    app.backend.store(stores(app, outcome))  # type: ignore[union-attr]
    with pytest.raises(TaskRevokedError, match="expired"):
        app.AsyncResult("the-id").get(timeout=1)
    job_of(app, message(expires=time.time() + 60))


@pytest.mark.parametrize("headers", [{"eta": "soon"}, {"expires": "never"}, {"eta": {}}], ids=str)
def test_a_time_that_is_none_is_buried(app: App, add: Any, headers: dict[str, Any]) -> None:
    assert refused(app, message(**headers)).verb == "bury"


@pytest.mark.parametrize(
    "headers",
    [{"timelimit": 5}, {"timelimit": ["a", "b"]}, {"task": 5}, {"task": None}, {"group": 5, "root_id": 7}],
    ids=str,
)
def test_odd_headers_never_raise(app: App, add: Any, headers: dict[str, Any]) -> None:
    found = prepared(app, message(**headers))
    outcome = found.run() if isinstance(found, Job) else found
    assert outcome.verb in ("ack", "bury")
    stores(app, outcome)


@pytest.mark.parametrize(
    "embed", [{"chain": 5}, {"callbacks": {"a": 1}}, {"callbacks": [5]}, {"chord": 1}, []], ids=str
)
def test_odd_embeds_never_raise(app: App, add: Any, embed: Any) -> None:
    found = prepared(app, message(embed=embed))
    assert isinstance(found, Outcome)
    assert found.verb == "bury"


def test_what_has_taken_too_many_processes_with_it_is_buried(app: App, add: Any) -> None:
    job_of(app, message(), starts=2)
    outcome = refused(app, message(), starts=3)
    assert (outcome.state, outcome.verb, outcome.record) == ("FAILURE", "bury", True)
    assert isinstance(outcome.result, WorkerLostError)
    app.conf.max_deliveries = 5
    job_of(app, message(), starts=3)


# protocol 1 ------------------------------------------------------------------------------------------------------


def test_a_message_of_protocol_1_is_run(app: App) -> None:
    seen: list[Any] = []

    @app.task(name="old", bind=True)
    def old(self: Any, x: int, y: int = 0) -> int:
        seen.append(self.request)
        return x + y

    fields = {
        "task": "old",
        "id": "i",
        "args": [1],
        "kwargs": {"y": 2},
        "retries": 2,
        "taskset": "g",
        "timelimit": [9, 5],
    }
    job = job_of(app, Message({}, json.dumps(fields).encode()))
    assert (job.time_limit, job.soft_time_limit) == (9, 5)
    outcome = job.run()
    assert (outcome.result, outcome.group_id, outcome.task_id) == (3, "g", "i")
    assert (seen[0].retries, seen[0].group) == (2, "g")
    bare = Message({}, json.dumps({"task": "old", "id": "i", "args": [1]}).encode())
    assert job_of(app, bare).run().result == 1


def test_a_message_between_the_protocols_is_run(app: App, add: Any) -> None:
    sent = Message({"task": "add", "id": "i"}, json.dumps({"task": "x", "args": [1, 2]}).encode())
    assert job_of(app, sent).run().result == 3


def test_protocol_1_gives_times_in_the_apps_zone_if_it_says_so(app: App, add: Any) -> None:
    app.conf.timezone = "Asia/Shanghai"
    local = (datetime.now(UTC) + timedelta(hours=8, minutes=1)).replace(tzinfo=None).isoformat()
    fields = {"task": "add", "id": "i", "args": [1, 2], "eta": local}
    there = refused(app, Message({}, json.dumps({**fields, "utc": False}).encode()))
    assert there.due == pytest.approx(time.time() + 60, abs=2)
    utc = refused(app, Message({}, json.dumps(fields).encode()))
    assert utc.due == pytest.approx(time.time() + 8 * 3600 + 60, abs=2)


def test_the_callbacks_of_protocol_1_are_honoured(app: App, add: Any) -> None:
    fields = {"task": "add", "id": "i", "args": [1, 2], "callbacks": [add.s(10)]}
    outcome = job_of(app, Message({}, json.dumps(fields).encode())).run()
    assert json.loads(outcome.publications[0].message.body)[0] == [3, 10]


# callbacks, chains, errbacks -------------------------------------------------------------------------------------


def test_a_callback_gets_the_result_in_front(app: App, add: Any) -> None:
    result = add.apply_async((1, 2), link=[add.s(10), add.si(5, 5).set(queue="other", task_id="second")])
    (outcome,) = work(app)[:1]
    first, second = outcome.publications
    assert (first.queue, second.queue) == ("celery", "other")
    assert json.loads(first.message.body)[0] == [3, 10]
    assert json.loads(second.message.body)[0] == [5, 5]
    assert second.message.headers["id"] == "second"
    for publication in outcome.publications:
        assert publication.message.headers["parent_id"] == result.id
        assert publication.message.headers["root_id"] == result.id
    assert [child.id for child in result.children or []] == [first.message.headers["id"], "second"]


def test_a_callback_that_nobody_here_knows_is_sent_on(app: App, add: Any) -> None:
    outcome = job_of(app, message(embed={"callbacks": [{"task": "far.away", "args": [], "kwargs": {}, "options": {}}]}))
    publications = outcome.run().publications
    assert publications[0].message.headers["task"] == "far.away"


def test_the_links_of_a_callback_travel_with_it(app: App, add: Any) -> None:
    inner = add.s(100)
    callback = add.s(10)
    callback.link(inner)
    add.apply_async((1, 2), link=callback)
    outcomes = work(app)
    assert [outcome.result for outcome in outcomes] == [3, 13, 113]


def test_a_chain_goes_on_with_its_last_entry(app: App, add: Any) -> None:
    steps = [add.s(100).set(task_id="c"), add.s(10).set(task_id="b", reply_to="r")]
    outcome = job_of(app, message(embed={"chain": steps}, root_id="root")).run()
    (publication,) = outcome.publications
    headers = publication.message.headers
    assert (headers["id"], headers["parent_id"], headers["root_id"]) == ("b", "the-id", "root")
    assert publication.message.properties["reply_to"] == "r"
    args, _, embed = json.loads(publication.message.body)
    assert args == [3, 10]
    assert [step["options"]["task_id"] for step in embed["chain"]] == ["c"]


def test_a_chain_that_fails_fails_to_its_end(app: App, add: Any) -> None:
    @app.task(name="fail")
    def fail(x: int) -> None:
        raise ValueError("broken")

    result = (add.s(1, 2) | fail.s() | add.s(1) | add.s(2)).apply_async()
    outcomes = work(app)
    assert [outcome.state for outcome in outcomes] == ["SUCCESS", "FAILURE"]
    with pytest.raises(ValueError, match="broken"):
        result.get(timeout=1)
    for node in (result, result.parent, result.parent.parent):
        assert node.state == "FAILURE"
    assert result.parent.parent.parent.state == "SUCCESS"


def test_a_chain_inside_a_callback_is_run_whole(app: App, add: Any) -> None:
    callback = (add.s(10) | add.s(100)).set(link=add.s(1000))
    add.apply_async((1, 2), link=callback)
    assert [outcome.result for outcome in work(app)] == [3, 13, 113, 1113]


def test_a_group_inside_a_callback_is_run_whole(app: App, add: Any) -> None:
    group = {
        "task": "celery.group", "args": [], "kwargs": {"tasks": [add.s(10), add.s(20)]}, "options": {},
        "subtask_type": "group", "immutable": False,
    }  # fmt: skip
    outcome = job_of(app, message(embed={"callbacks": [group]})).run()
    headers = [publication.message.headers for publication in outcome.publications]
    assert [json.loads(publication.message.body)[0] for publication in outcome.publications] == [[3, 10], [3, 20]]
    assert headers[0]["group"] == headers[1]["group"] is not None
    assert [header["group_index"] for header in headers] == [0, 1]


CHORD = {"task": "celery.chord", "args": [], "kwargs": {}, "options": {}, "subtask_type": "chord"}
STEP = {"task": "add", "args": [1], "kwargs": {}, "options": {}}
GROUP = {"task": "celery.group", "kwargs": {"tasks": [STEP]}, "subtask_type": "group", "options": {}}


@pytest.mark.parametrize(
    "embed",
    [
        {"chord": {"task": 5}},
        {"chord": {**STEP, "subtask_type": "circle"}},
        {"chain": [{**STEP, "options": [1]}]},
        {"callbacks": [CHORD]},
        {"errbacks": [CHORD]},
        {"chain": [STEP, CHORD]},
        {"callbacks": [{**STEP, "options": {"link": [CHORD]}}]},
        {"callbacks": [{"task": "celery.chain", "kwargs": {"tasks": [STEP, CHORD]}, "subtask_type": "chain"}]},
        {"chain": [{**GROUP, "kwargs": {"tasks": [STEP, "no signature"]}}]},
        {"callbacks": ["not a signature"]},
    ],
    ids=str,
)
def test_what_cannot_be_honoured_whole_is_not_begun(app: App, add: Any, embed: dict[str, Any]) -> None:
    outcome = refused(app, message(embed=embed))
    assert (outcome.verb, outcome.record, outcome.publications) == ("bury", False, [])
    assert "can't be run whole here" in outcome.reason


def test_a_result_that_cannot_be_passed_on_is_a_failure(app: App, add: Any) -> None:
    @app.task(ignore_result=True)
    def odd() -> Any:
        return object()

    outcome = job_of(app, message(odd.name, (), embed={"callbacks": [add.s(1)]})).run()
    assert outcome.state == "FAILURE"
    assert "can't be passed on" in str(outcome.result)
    assert outcome.publications == []


def test_errbacks_are_called_or_sent_by_what_they_take(app: App, add: Any) -> None:
    called: list[Any] = []

    @app.task(name="new")
    def new(request: Any, exc: Any, text: Any) -> None:
        called.append((request.id, repr(exc), text))

    @app.task(name="carrying")
    def carrying(request: Any, exc: Any, text: Any, extra: str) -> None:
        called.append(extra)

    @app.task(name="old")
    def old(task_id: str) -> None: ...

    @app.task(name="bound", bind=True)
    def bound(self: Any, task_id: str) -> None: ...

    @app.task(name="fail")
    def fail() -> None:
        raise ValueError("x")

    result = fail.apply_async(link_error=[new.s(), carrying.s("extra"), old.s(), bound.s(), old.si("5")])
    outcome = work(app)[0]
    assert called[0][:2] == (result.id, "ValueError('x')")
    assert "ValueError: x" in called[0][2]
    assert called[1] == "extra"
    sent = [(p.message.headers["task"], json.loads(p.message.body)[0]) for p in outcome.publications]
    assert sent == [("old", [result.id]), ("bound", [result.id]), ("old", ["5"])]
    assert outcome.publications[0].message.headers["parent_id"] == result.id


def test_an_errback_that_raises_changes_nothing(app: App, caplog: pytest.LogCaptureFixture) -> None:
    @app.task(name="broken")
    def broken(request: Any, exc: Any, text: Any) -> None:
        raise RuntimeError("errback")

    @app.task(name="fail")
    def fail() -> None:
        raise ValueError("x")

    result = fail.apply_async(link_error=broken.s())
    work(app)
    assert isinstance(result.result, ValueError)
    assert "errback" in caplog.text


# retry, ignore, reject -------------------------------------------------------------------------------------------


def test_a_retry_is_the_same_message_again_later(app: App) -> None:
    @app.task(bind=True, name="again", max_retries=3)
    def again(self: Any, x: int) -> None:
        raise self.retry(exc=ValueError("why"), countdown=60, priority=2)

    sent = message("again", (1,), {}, {"callbacks": [STEP], "chain": [STEP], "errbacks": [STEP]}, group="g", group_index=1,
                   root_id="r", parent_id="p", retries=1, tenant="blue", shadow="s", timelimit=[9, 5],
                   expires="2999-01-01T00:00:00+00:00")  # fmt: skip
    outcome = job_of(app, sent, queue="slow").run()
    assert (outcome.state, outcome.verb) == ("RETRY", "ack")
    (publication,) = outcome.publications
    headers = publication.message.headers
    wanted = {
        "id": "the-id", "retries": 2, "group": "g", "group_index": 1, "root_id": "r", "parent_id": "p",
        "tenant": "blue", "shadow": "s", "timelimit": [9, 5], "expires": "2999-01-01T00:00:00+00:00",
    }  # fmt: skip
    assert wanted.items() <= headers.items()
    assert clock.to_epoch(headers["eta"]) == pytest.approx(time.time() + 60, abs=5)
    assert publication.queue == "slow"
    assert publication.message.properties["priority"] == 2
    args, _, embed = json.loads(publication.message.body)
    assert args == [1]
    assert embed == {"callbacks": [STEP], "chain": [STEP], "errbacks": [STEP], "chord": None}
    assert outcome.fallen == []
    app.backend.store(stores(app, outcome))  # type: ignore[union-attr]
    meta = record(app)
    assert (meta["status"], meta["result"]["exc_type"], meta["date_done"]) == ("RETRY", "ValueError", None)


def test_a_retry_of_a_first_task_has_no_parent(app: App) -> None:
    @app.task(bind=True)
    def again(self: Any) -> None:
        self.retry(countdown=0)

    again.delay()
    (outcome,) = work(app)[:1]
    headers = outcome.publications[0].message.headers
    assert (headers["parent_id"], headers["root_id"]) == (None, outcome.task_id)


def test_retries_come_to_an_end(app: App) -> None:
    @app.task(bind=True, max_retries=2)
    def hopeless(self: Any, reason: bool) -> None:
        raise self.retry(countdown=0, exc=ValueError("why") if reason else None)

    with_reason, without = hopeless.delay(True), hopeless.delay(False)
    outcomes = work(app)
    assert [outcome.state for outcome in outcomes].count("RETRY") == 4
    with pytest.raises(ValueError, match="why"):
        with_reason.get(timeout=1)
    with pytest.raises(MaxRetriesExceededError, match="Can't retry"):
        without.get(timeout=1)


def test_a_retry_that_is_not_thrown_lets_the_task_end_as_it_likes(app: App) -> None:
    @app.task(bind=True)
    def both(self: Any) -> str:
        self.retry(throw=False, countdown=60)
        return "done"

    both.delay()
    (outcome, _) = work(app)
    assert (outcome.state, outcome.result, len(outcome.publications)) == ("SUCCESS", "done", 1)


def test_a_retry_outside_of_a_worker_raises_what_went_wrong(app: App) -> None:
    @app.task(bind=True)
    def direct(self: Any) -> None:
        try:
            raise KeyError("inner")
        except KeyError as error:
            self.retry(exc=error)

    with pytest.raises(KeyError, match="inner"):
        direct()


def test_named_exceptions_are_retried_by_themselves(app: App) -> None:
    @app.task(autoretry_for=(OSError,), dont_autoretry_for=(FileNotFoundError,), max_retries=5, retry_backoff=2,
              retry_jitter=False, name="auto")  # fmt: skip
    def auto(kind: str) -> None:
        raise {"os": OSError, "file": FileNotFoundError, "value": ValueError}[kind]("x")

    outcome = job_of(app, message("auto", ("os",), retries=3)).run()
    assert outcome.state == "RETRY"
    headers = outcome.publications[0].message.headers
    assert headers["retries"] == 4
    assert clock.to_epoch(headers["eta"]) == pytest.approx(time.time() + 16, abs=5)
    for kind in ("file", "value"):
        assert job_of(app, message("auto", (kind,))).run().state == "FAILURE"
    last = job_of(app, message("auto", ("os",), retries=5)).run()
    assert last.state == "FAILURE"
    assert isinstance(last.result, OSError)


def test_a_task_may_be_ignored(app: App) -> None:
    @app.task
    def ignored() -> None:
        raise Ignore

    result = ignored.delay()
    (outcome,) = work(app)
    assert (outcome.state, outcome.verb, outcome.record) == ("IGNORED", "ack", False)
    assert result.state == "PENDING"


def test_a_message_may_be_rejected(app: App) -> None:
    @app.task
    def rejected(requeue: bool) -> None:
        raise Reject("not mine", requeue=requeue)

    back = job_of(app, message(rejected.name, (True,))).run()
    assert (back.state, back.verb, back.record) == ("REJECTED", "requeue", False)
    gone = job_of(app, message(rejected.name, (False,))).run()
    assert (gone.verb, gone.reason) == ("bury", "rejected by the task: not mine")
    assert (gone.state, gone.record) == ("FAILURE", True)


def test_the_methods_of_a_task_are_called_at_its_ends(app: App, caplog: pytest.LogCaptureFixture) -> None:
    from multi import Task

    calls: list[Any] = []

    class Told(Task):
        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            calls.append(("before", task_id, args, kwargs))

        def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
            calls.append(("success", retval))

        def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            calls.append(("failure", repr(exc), "boom" in str(einfo)))

        def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            calls.append(("retry", repr(exc)))

        def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            calls.append(("after", status))
            raise RuntimeError("of a hook")

    @app.task(base=Told, bind=True, name="told")
    def told(self: Any, how: str) -> str:
        if how == "fail":
            raise ValueError("boom")
        if how == "retry":
            raise self.retry(exc=KeyError("k"), countdown=9)
        return how

    for how in ("well", "fail", "retry"):
        job_of(app, message("told", (how,))).run()
    assert calls == [
        ("before", "the-id", ["well"], {}), ("success", "well"), ("after", "SUCCESS"),
        ("before", "the-id", ["fail"], {}), ("failure", "ValueError('boom')", True), ("after", "FAILURE"),
        ("before", "the-id", ["retry"], {}), ("retry", "KeyError('k')"),
    ]  # fmt: skip
    assert "of a hook" in caplog.text


# upkeep ----------------------------------------------------------------------------------------------------------


def test_frames_of_a_failed_task_are_let_go(app: App) -> None:
    import gc
    import weakref

    class Big:
        pass

    kept: list[Any] = []

    @app.task
    def fail() -> None:
        big = Big()
        kept.append(weakref.ref(big))
        raise ValueError("x")

    outcome = job_of(app, message(fail.name, ())).run()
    gc.collect()
    assert outcome.state == "FAILURE"
    assert kept[0]() is None


def test_the_priority_of_a_parent_is_inherited_when_asked_for(app: App, add: Any) -> None:
    @app.task
    def parent() -> None:
        add.delay(1, 2)

    app.conf.task_inherit_parent_priority = True
    parent.apply_async(priority=6, link=add.si(3, 4))
    outcomes = work(app)
    assert outcomes[0].publications[0].message.properties["priority"] == 6
    assert isinstance(app.publisher, Publisher)


def test_after_a_fork_nothing_is_shared(app: App, add: Any) -> None:
    broker, backend = app.broker, app.backend
    app.after_fork()
    assert app.broker is not broker
    assert app.backend is not backend


def test_headers_of_the_senders_own_are_attributes_of_the_request(app: App) -> None:
    seen: list[Any] = []

    @app.task(bind=True)
    def looking(self: Any, one: int) -> None:
        request = self.request
        seen.extend((request.own, request.get("own"), request.get("other"), hasattr(request, "other")))
        seen.extend((request.argsrepr, request.kwargsrepr, request.lang))

    looking.apply_async((1,), headers={"own": "yes"})
    (outcome,) = work(app)
    assert outcome.state == "SUCCESS"
    assert seen == ["yes", "yes", None, False, "(1,)", "{}", "py"]


def test_a_handler_of_a_failure_is_given_the_traceback_itself(app: App) -> None:
    seen: list[Any] = []

    class Told(Task):
        def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            seen.extend((einfo.internal, einfo.exc_info == (type(exc), exc, einfo.tb), "failing" in str(einfo)))
            seen.append(traceback.extract_tb(einfo.tb)[-1].name)

    @app.task(base=Told)
    def failing() -> None:
        raise ValueError("boom")

    failing.delay()
    work(app)
    assert seen == [False, True, True, "failing"]


@pytest.mark.parametrize("options", [{"kwargs": {"k": object()}}, {"eta": "soon"}, {"foo": 3}, {"queue": 5}])
def test_a_retry_that_cannot_be_sent_is_a_failure_for_who_waits(app: App, options: dict[str, Any]) -> None:
    @app.task(bind=True)
    def again(self: Any, k: Any = None) -> None:
        raise self.retry(**options)

    result = again.delay()
    work(app)
    assert result.state == "FAILURE"
    assert next(iter(options)) in str(result.result) or "k" in str(result.result)
