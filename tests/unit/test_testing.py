"""What projects test themselves with: a worker in the test's process, an outbox, and fixtures in a pytest of their own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.inline import make_app

from multi import App, group
from multi.testing import LocalWorker, Outbox

pytest_plugins = ["pytester"]


@pytest.fixture
def app() -> Iterator[App]:
    app = make_app()

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="again", bind=True, default_retry_delay=60)
    def again(self: Any) -> str:
        if self.request.retries < 2:
            raise self.retry()
        return "third time"

    @app.task(name="where")
    def where() -> str:
        return threading.current_thread().name

    yield app
    app.close()


def test_what_waits_is_run_with_what_follows_from_it(app: App) -> None:
    add = app.tasks["add"]
    (add.s(1, 2) | add.s(3)).apply_async()
    total = group(add.s(n, n) for n in range(3)).apply_async()
    assert [outcome.result for outcome in LocalWorker(app).drain()] == [3, 0, 2, 4, 6]
    assert total.get(timeout=1) == [0, 2, 4]
    assert LocalWorker(app).drain() == []


def test_what_is_delayed_is_left_unless_time_is_to_make_no_difference(app: App) -> None:
    late = app.tasks["add"].apply_async((1, 1), countdown=3600)
    retried = app.tasks["again"].delay()
    states = [outcome.state for outcome in LocalWorker(app).drain()]
    assert states == ["PENDING", "RETRY", "PENDING"]
    assert not late.ready()
    app.tasks["add"].apply_async((2, 2), countdown=3600)
    app.tasks["again"].delay()
    states = [outcome.state for outcome in LocalWorker(app, ignore_eta=True).drain()]
    assert states == ["SUCCESS", "RETRY", "RETRY", "SUCCESS"]
    assert not retried.ready()


def test_threads_serve_until_they_are_stopped(app: App) -> None:
    worker = LocalWorker(app, concurrency=2)
    with worker:
        assert app.tasks["add"].delay(2, 3).get(timeout=10) == 5
        results = [app.tasks["where"].delay() for _ in range(20)]
        assert len(worker.drain()) == 21
        assert {result.get(timeout=1) for result in results} <= {"worker-1", "worker-2"}
        with pytest.raises(RuntimeError, match="serves already"):
            worker.start()
    app.tasks["add"].delay(1, 1)
    assert app.broker.depth("celery") == 1, "nobody serves any more"


def test_waiting_for_tasks_that_do_not_end_has_an_end(app: App) -> None:
    release = threading.Event()

    @app.task(name="stuck")
    def stuck() -> None:
        release.wait(30)

    with LocalWorker(app) as worker:
        stuck.delay()
        with pytest.raises(TimeoutError, match=r"after 0\.2 s tasks still run"):
            worker.drain(timeout=0.2)
        release.set()
        assert [outcome.name for outcome in worker.drain()] == ["stuck"]
        assert worker.drain() == []


def test_all_queues_are_served_or_those_that_are_meant(app: App) -> None:
    add = app.tasks["add"]
    add.apply_async((1, 2), queue="other")
    assert LocalWorker(app, ["celery"]).drain() == []
    assert [outcome.result for outcome in LocalWorker(app, ["other"]).drain()] == [3]
    # made before the worker is, while it runs, and by what it runs
    add.apply_async((1, 2), queue="before", link=add.s(1).set(queue="behind"))
    worker = LocalWorker(app)
    assert [outcome.result for outcome in worker.drain()] == [3, 4]
    with worker:
        assert add.apply_async((5, 5), queue="later").get(timeout=10) == 10
        add.apply_async((1, 1), queue="again")
        assert [outcome.result for outcome in worker.drain()] == [10, 2]


def test_what_was_sent_can_be_asked_for(app: App) -> None:
    add = app.tasks["add"]
    outbox = Outbox().open()
    try:
        add.delay(1, y=2)
        add.apply_async((3, 4), queue="other", countdown=60)
    finally:
        outbox.close()
    add.delay(5, 6)
    assert len(outbox) == 2
    assert outbox.assert_enqueued(add, 1, y=2).queue == "celery"
    assert outbox.assert_enqueued(add, 1, 2).queue == "celery", "by name or not makes no difference"
    assert outbox.assert_enqueued("add", _queue="other").headers["eta"]
    outbox.assert_enqueued(add, _times=2)
    outbox.assert_not_enqueued("again")
    said = "add(1, y=2) to celery; add(3, 4) to other"
    with pytest.raises(AssertionError) as caught:
        outbox.assert_enqueued(add, 7)
    assert str(caught.value) == f"add(7) to any queue was not sent; sent was: {said}"
    with pytest.raises(AssertionError, match="sent 2 times instead of 1"):
        outbox.assert_enqueued(add, _times=1)
    with pytest.raises(AssertionError, match="add was sent; sent was"):
        outbox.assert_not_enqueued(add)
    outbox.clear()
    assert str(outbox) == "nothing"
    with pytest.raises(ValueError, match="no task is called 'ad'; did you mean 'add'"):
        Outbox(app).assert_not_enqueued("ad")


def test_the_plugin_gives_a_project_its_own_app_in_memory(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("MULTI_RESULT_BACKEND", "redis://127.0.0.1:1/0")
    pytester.makepyfile(
        shop="""
        from multi import App, shared_task
        app = App("shop", broker="redis://127.0.0.1:1/0", task_default_queue="jobs")

        @app.task
        def welcome(name):
            cheer.delay(name)
            return f"hello {name}"

        @shared_task
        def cheer(name):
            return f"hurrah {name}"
        """,
        conftest="""
        import pytest
        pytest_plugins = ["multi.testing.pytest"]

        @pytest.fixture(scope="session")
        def multi_project():
            import shop
            return shop.app
        """,
        test_shop="""
        import pytest, shop

        def test_it_is_sent_and_run(multi_worker, multi_sent):
            result = shop.welcome.delay("ada")
            multi_sent.assert_enqueued("shop.welcome", "ada", _queue="jobs")
            assert [one.result for one in multi_worker.drain()] == ["hello ada", "hurrah ada"]
            multi_sent.assert_enqueued(shop.cheer, "ada")
            assert result.get(timeout=1) == "hello ada"

        def test_each_begins_with_nothing(multi_worker, multi_sent):
            assert multi_worker.drain() == [] and len(multi_sent) == 0

        def test_a_thread_beside_it(multi_thread_worker):
            assert shop.welcome.delay("bob").get(timeout=10) == "hello bob"

        @pytest.mark.multi(task_always_eager=True)
        def test_settings_of_one_test(multi_app):
            assert multi_app.conf.task_always_eager
            assert shop.welcome.delay("eve").get() == "hello eve"

        def test_they_do_not_last(multi_app):
            assert not multi_app.conf.task_always_eager

        def test_who_only_looks_at_what_is_sent_sends_nothing_anywhere_else(multi_sent):
            shop.welcome.delay(name="ada")
            multi_sent.assert_enqueued(shop.welcome, "ada")
            assert shop.app.broker.url.startswith("memory://")
        """,
    )
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "error")
    done.assert_outcomes(passed=6)


def test_without_a_project_each_test_has_an_app_of_its_own(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["multi.testing.pytest"]')
    pytester.makepyfile(
        """
        def test_one(multi_app, multi_worker):
            task = multi_app.task(name="one")(lambda: 1)
            task.delay()
            assert len(multi_worker.drain()) == 1

        def test_other(multi_app):
            assert "one" not in multi_app.tasks
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)
