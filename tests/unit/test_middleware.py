"""Middleware: what passes through it, in which order, and what it can change, replace and refuse."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.inline import claim, make_app, work

from multi import App, Ignore, Middleware
from multi.app.middleware import Run, Sending, Sent
from multi.app.plan import executor
from multi.errors import ConfigurationError


class Noting(Middleware):
    """Writes down what passes through."""

    def __init__(self, name: str, seen: list[str]) -> None:
        self.name, self.seen = name, seen

    def before_publish(self, sending: Sending) -> None:
        self.seen.append(f"{self.name} sends {sending.name.rpartition('.')[2]}")

    def after_publish(self, message: Sent) -> None:
        self.seen.append(f"{self.name} sent {message.name.rpartition('.')[2]}")

    def run(self, run: Run, proceed: Callable[[], Any]) -> Any:
        self.seen.append(f"{self.name} in")
        try:
            return proceed()
        finally:
            self.seen.append(f"{self.name} out")

    async def arun(self, run: Run, proceed: Callable[[], Awaitable[Any]]) -> Any:
        self.seen.append(f"{self.name} in, async")
        try:
            return await proceed()
        finally:
            self.seen.append(f"{self.name} out, async")


class Tenants(Middleware):
    """Puts who is meant into the headers, and finds it there."""

    def before_publish(self, sending: Sending) -> None:
        sending.headers["tenant"] = sending.kwargs.pop("tenant", "nobody")
        sending.args = [*sending.args, "added"]

    def run(self, run: Run, proceed: Callable[[], Any]) -> Any:
        run.args = [*run.args, run.headers["tenant"]]
        return [run.name, proceed()]


@pytest.fixture
def seen() -> list[str]:
    return []


@pytest.fixture
def app(seen: list[str]) -> App:
    return make_app(middleware=[Noting("outer", seen), Noting("inner", seen)])


def test_layers_are_passed_inwards_in_order_and_outwards_in_the_opposite_one(app: App, seen: list[str]) -> None:
    @app.task
    def body() -> str:
        seen.append("body")
        return "done"

    result = body.delay()
    assert seen == ["outer sends body", "inner sends body", "inner sent body", "outer sent body"]
    seen.clear()
    work(app)
    assert result.get() == "done"
    assert seen == ["outer in", "inner in", "body", "inner out", "outer out"]


def test_async_tasks_have_layers_that_await(app: App, seen: list[str]) -> None:
    @app.task
    async def body() -> str:
        seen.append("body")
        return "done"

    assert body.apply().get() == "done"
    assert seen[2:] == ["outer in, async", "inner in, async", "body", "inner out, async", "outer out, async"]


@pytest.mark.parametrize("eager", [False, True], ids=["worker", "eager"])
def test_arguments_headers_and_results_can_be_changed(eager: bool) -> None:
    app = make_app(middleware=[Tenants], strict_typing=False)

    @app.task(name="show", bind=True)
    def show(self: Any, *args: Any) -> Any:
        return [*args, self.request.args]

    if eager:
        assert show.apply((1,), {"tenant": "t1"}).get() == ["show", [1, "added", "t1", [1, "added", "t1"]]]
        return
    result = show.delay(1, tenant="t1")
    work(app)
    assert result.get() == ["show", [1, "added", "t1", [1, "added", "t1"]]]


def test_what_is_raised_before_sending_sends_nothing() -> None:
    class Closed(Middleware):
        def before_publish(self, sending: Sending) -> None:
            raise PermissionError("closed")

    app = make_app(middleware=[Closed()])

    @app.task
    def body() -> None: ...

    with pytest.raises(PermissionError, match="closed"):
        body.delay()
    with pytest.raises(PermissionError, match="closed"):
        app.send_task("elsewhere")
    assert work(app) == []


def test_a_run_can_be_refused_and_its_failure_be_replaced() -> None:
    class Door(Middleware):
        def run(self, run: Run, proceed: Callable[[], Any]) -> Any:
            if run.args == ["stay out"]:
                raise Ignore
            try:
                return proceed()
            except ZeroDivisionError:
                return "replaced"

    app = make_app(middleware=[Door])

    @app.task
    def body(word: str) -> float:
        return 1 / 0

    body.delay("stay out")
    assert [outcome.state for outcome in work(app)] == ["IGNORED"]
    body.delay("come in")
    assert [(outcome.state, outcome.result) for outcome in work(app)] == [("SUCCESS", "replaced")]


def test_messages_that_a_run_causes_pass_through_too(app: App, seen: list[str]) -> None:
    @app.task(bind=True, default_retry_delay=0)
    def first(self: Any) -> int:
        if not self.request.retries:
            raise self.retry(countdown=0)
        return 1

    @app.task
    def second(value: int) -> int:
        return value + 1

    result = (first.s() | second.s()).delay()
    seen.clear()
    work(app)
    assert result.get() == 2
    assert seen.count("outer sends first") == 1
    assert seen.count("outer sends second") == 1
    assert seen.count("outer sent first") == 1
    assert seen.count("outer sent second") == 1


def test_it_is_asked_once_for_each_task_type_whether_it_applies(seen: list[str]) -> None:
    asked: list[str] = []

    class Some(Noting):
        def applies_to(self, name: str) -> bool:
            asked.append(name)
            return name == "wanted"

    app = make_app(middleware=[Some("some", seen)])

    @app.task(name="wanted")
    def wanted() -> None: ...

    @app.task(name="unwanted")
    def unwanted() -> None: ...

    for task in (wanted, unwanted, wanted, unwanted):
        task.delay()
    work(app)
    assert seen.count("some in") == 2
    assert seen.count("some sends wanted") == 2
    assert not any("unwanted" in line for line in seen)
    assert asked.count("unwanted") <= 4  # its template, its plan, and the two messages that were sent


def test_a_task_that_meets_none_is_called_as_it_is() -> None:
    class Elsewhere(Middleware):
        def applies_to(self, name: str) -> bool:
            return False

        def run(self, run: Run, proceed: Callable[[], Any]) -> Any:
            raise AssertionError

    app = make_app(middleware=[Elsewhere])

    @app.task
    def body() -> None: ...

    plan = executor(app).plan(body.name)
    assert plan is not None
    assert plan.call is body.run
    assert not app.publisher.template(body.name, body).special


def test_one_added_later_counts_from_then_on(seen: list[str]) -> None:
    app = make_app()

    @app.task
    def body() -> None: ...

    body.delay()
    work(app)
    app.add_middleware(Noting("late", seen))
    body.delay()
    work(app)
    assert seen == ["late sends body", "late sent body", "late in", "late out"]


def test_it_is_found_by_module_and_class() -> None:
    app = make_app(middleware=["support.layered:Layer"])
    assert type(app.middleware[0]).__name__ == "Layer"


def test_what_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is none; it should be of a class made of multi.Middleware"):
        make_app(middleware=[object()])
    with pytest.raises(ConfigurationError, match="'support.nowhere:Layer' can't be imported"):
        make_app(middleware=["support.nowhere:Layer"])
    with pytest.raises(ConfigurationError, match="no middleware has the name 'nonesuch'"):
        make_app(middleware=["nonesuch"])


def test_methods_of_the_wrong_kind_are_refused() -> None:
    class Awaited(Middleware):
        async def run(self, run: Run, proceed: Callable[[], Any]) -> Any:
            return proceed()

    class Called(Middleware):
        def arun(self, run: Run, proceed: Callable[[], Any]) -> Any:
            return proceed()

    with pytest.raises(ConfigurationError, match="run of .*Awaited is async"):
        make_app(middleware=[Awaited])
    with pytest.raises(ConfigurationError, match="arun of .*Called should be `async def`"):
        make_app(middleware=[Called])


def test_a_task_that_would_pass_it_by_is_refused_before_work_begins() -> None:
    app = make_app(middleware=[Tenants])

    @app.task
    async def body() -> None: ...

    with pytest.raises(ConfigurationError, match=r"Tenants has run but not arun, and .*body is an `async def` task"):
        app.import_modules()


def test_a_message_is_sent_whatever_after_publish_raises(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Middleware):
        def after_publish(self, message: Sent) -> None:
            raise OSError("no")

    app = make_app(middleware=[Broken])

    @app.task(name="body")
    def body() -> None: ...

    body.delay()
    assert "after_publish of" in caplog.text
    assert claim(app).headers["task"] == "body"
