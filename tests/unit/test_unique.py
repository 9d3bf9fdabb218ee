"""Unique tasks and concurrency limits, as programs and workers see them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from multi import App, Retry
from multi.app import limits
from multi.app.execute import dealt_with, prepare
from multi.app.job import Job
from multi.connections import memory
from multi.errors import ConfigurationError, DuplicateTask
from multi.outcome import Outcome
from multi.testing.worker import LocalWorker


@pytest.fixture
def app(tmp_path: Any) -> Iterator[App]:
    url = f"memory://{tmp_path.name}"
    yield App("proj", broker=url, backend=url, set_as_current=False)
    memory.forget(url)


def test_a_second_call_gets_the_result_of_the_one_that_waits(app: App) -> None:
    ran: list[Any] = []

    @app.task(unique_for=60)
    def build(page: str, deep: bool = False) -> str:
        ran.append((page, deep))
        return page

    first, second, third = build.delay("a"), build.apply_async(kwargs={"page": "a", "deep": False}), build.delay("b")
    assert first.id == second.id != third.id
    LocalWorker(app).drain()
    assert ran == [("a", False), ("b", False)]
    assert second.get(timeout=5) == "a"
    again = build.delay("a")
    assert again.id != first.id
    assert app.send_task(build.name, ["a"]).id == again.id


@pytest.mark.parametrize("key", ["page", ["page"], lambda page, **_: page.lower()])
def test_the_key_can_be_some_arguments_or_made_of_them(app: App, key: Any) -> None:
    @app.task(unique_for=60, unique_key=key, unique_on_conflict="raise")
    def build(page: str, deep: bool = False) -> None: ...

    first = build.delay("a")
    with pytest.raises(DuplicateTask, match=first.id) as raised:
        build.delay("a", deep=True)
    assert raised.value.task_id == first.id
    build.delay("b")
    assert app.broker.depth("celery") == 2


def test_replacing_revokes_the_one_that_waits(app: App) -> None:
    ran: list[Any] = []

    @app.task(unique_for=60, unique_key="page", unique_on_conflict="replace")
    def build(page: str, number: int) -> None:
        ran.append(number)

    results = [build.delay("a", number) for number in range(3)]
    LocalWorker(app).drain()
    assert [result.state for result in results] == ["REVOKED", "REVOKED", "SUCCESS"]
    assert ran == [2]
    build.delay("a", 3)
    LocalWorker(app).drain()
    assert ran == [2, 3]


@pytest.mark.parametrize(("until", "same"), [("start", False), ("success", True)])
def test_the_lock_ends_at_the_start_or_at_the_end(app: App, until: str, same: bool) -> None:
    sent: list[Any] = []

    @app.task(unique_for=60, unique_until=until)
    def build() -> None:
        if not sent:
            sent.append(build.delay())

    first = build.delay()
    LocalWorker(app).drain()
    assert (sent[0].id == first.id) is same


def test_a_failure_ends_the_lock_and_a_retry_does_not(app: App) -> None:
    ids: list[str] = []

    @app.task(bind=True, unique_for=60, default_retry_delay=0, max_retries=1)
    def build(self: Any) -> None:
        ids.append(app.tasks["build"].delay().id)
        if not self.request.retries:
            raise self.retry(countdown=0)
        raise KeyError("k")

    build.name  # noqa: B018 - the task knows its own
    app._tasks["build"] = build
    first = build.delay()
    LocalWorker(app).drain()
    assert first.state == "FAILURE"
    assert ids == [first.id, first.id]
    assert build.delay().id != first.id


def test_what_could_not_be_sent_holds_no_lock(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    @app.task(unique_for=60, unique_on_conflict="raise")
    def build() -> None: ...

    def fail(*_: Any) -> None:
        raise KeyError("down")

    with monkeypatch.context() as patch:
        patch.setattr(app.broker, "publish", fail)
        with pytest.raises(KeyError):
            build.delay()
    assert build.delay().id


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"unique_for": 0}, "unique_for should be"),
        ({"unique_for": True}, "unique_for should be"),
        ({"unique_for": 1, "unique_until": "end"}, "unique_until should be one of 'success', 'start'"),
        ({"unique_for": 1, "unique_on_conflict": "wait"}, "unique_on_conflict should be one of"),
        ({"concurrency_limit": 0}, "concurrency_limit should be"),
        ({"concurrency_limit": 1.5}, "concurrency_limit should be"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_is_written(app: App, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        app.task(**options)(lambda: None)


def test_keys_that_name_no_argument_are_refused(app: App) -> None:
    @app.task(unique_for=1, unique_key="pgae")
    def build(page: str) -> None: ...

    with pytest.raises(ConfigurationError, match="unique_key names 'pgae'"):
        build.delay("a")


def test_many_at_once_refuse_a_unique_task(app: App) -> None:
    @app.task(unique_for=1)
    def build() -> None: ...

    with pytest.raises(TypeError, match="unique"):
        app.send_many([(build, ())])


def test_a_place_to_keep_locks_in_is_needed() -> None:
    app = App("proj", broker="amqp://localhost:1", backend="rpc://", set_as_current=False)
    app.task(name="one", unique_for=1)(lambda: None)
    app.task(name="two", concurrency_limit=1)(lambda: None)
    with pytest.raises(ConfigurationError, match="task one: unique_for needs"):
        app.tasks["one"].delay()
    with pytest.raises(ConfigurationError, match="task two: concurrency_limit needs"):
        prepare(app, message(app, "two"), queue="celery", redelivered=False, starts=0, hostname="h")


def test_as_many_run_as_the_limit_allows_for_each_key(app: App) -> None:
    @app.task(concurrency_limit=2, concurrency_key="customer")
    def crunch(customer: str) -> None: ...

    def ask(customer: str) -> Job | Outcome:
        made = message(app, crunch.name, customer)
        return prepare(app, made, queue="celery", redelivered=False, starts=0, hostname="h")

    one, two, three, other = ask("a"), ask("a"), ask("a"), ask("b")
    assert [type(found) for found in (one, two, three, other)] == [Job, Job, Outcome, Job]
    assert isinstance(three, Outcome)
    assert (three.verb, three.reason) == ("park", "concurrency limit")
    dealt_with(app, None, three)
    assert isinstance(ask("a"), Outcome)
    assert isinstance(one, Job)
    dealt_with(app, one.message, one.run())
    assert isinstance(ask("a"), Job)
    assert isinstance(ask("a"), Outcome)


def test_a_run_that_ends_in_any_way_leaves_its_place(app: App) -> None:
    @app.task(bind=True, concurrency_limit=1, default_retry_delay=0)
    def crunch(self: Any, how: str) -> None:
        if how == "retry" and not self.request.retries:
            raise Retry("once more")
        if how == "fail":
            raise KeyError("k")

    results = [crunch.delay(how) for how in ("ok", "fail", "ok")]
    outcomes = LocalWorker(app).drain()
    assert [outcome.state for outcome in outcomes] == ["SUCCESS", "FAILURE", "SUCCESS"]
    assert results[-1].successful()


def test_a_place_is_kept_as_long_as_the_run_lasts(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEASE", 0.15)

    @app.task(concurrency_limit=1)
    def crunch() -> None: ...

    def ask() -> Job | Outcome:
        made = message(app, crunch.name)
        return prepare(app, made, queue="celery", redelivered=False, starts=0, hostname="h")

    first = ask()
    assert isinstance(first, Job)
    time.sleep(0.4)
    assert isinstance(ask(), Outcome)
    limits.over(app, first.id)
    assert isinstance(ask(), Job)


def message(app: App, name: str, *args: Any) -> Any:
    return app.publisher.build(name, app.tasks[name], f"id-{next(_ids)}", args, {}, {}).message


_ids = iter(range(1000))


@pytest.mark.parametrize(
    ("options", "said"), [({"unique_key": "x"}, "unique_for"), ({"concurrency_key": "x"}, "concurrency_limit")]
)
def test_a_key_without_what_it_is_for_is_refused_before_anything_runs(
    app: App, options: dict[str, Any], said: str
) -> None:
    @app.task(name="half", **options)  # type: ignore[untyped-decorator]
    def half(x: int) -> None: ...

    with pytest.raises(ConfigurationError, match=f"task half: .* says nothing without {said}"):
        app.import_modules()
