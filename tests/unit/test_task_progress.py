"""How far a task is, and the calls for programs of asyncio."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from support.inline import make_app, work

from multi import App, Task
from multi.app import progress
from multi.app.progress import Progress
from multi.errors import TimeoutError  # noqa: A004 - Celery's name


@pytest.fixture
def app() -> App:
    return make_app()


@pytest.fixture
def every_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PAUSE", 0.0)


def test_progress_is_told_and_read(app: App) -> None:
    seen: list[Any] = []

    @app.task(bind=True)
    def long(self: Task) -> str:
        result = self.AsyncResult(self.request.id)
        seen.append(result.progress)
        self.progress(3, 12, "reading", file="a.csv")
        seen.append((result.state, result.progress, result.info))
        return "done"

    result = long.delay()
    work(app)
    assert seen[0] is None
    state, found, info = seen[1]
    assert state == "PROGRESS"
    assert found == Progress(3, 12, "reading", {"file": "a.csv"})
    assert (found.percent, str(found)) == (25.0, "3/12 (25 %) reading")
    assert info == {"current": 3, "total": 12, "message": "reading", "file": "a.csv"}
    assert (result.get(timeout=0), result.progress) == ("done", None)


@pytest.mark.parametrize(
    ("step", "percent", "text"),
    [
        (Progress(5), None, "5"),
        (Progress(5, 0), 100.0, "5/0 (100 %)"),
        (Progress(15, 10), 100.0, "15/10 (100 %)"),
        (Progress(-1, 10), 0.0, "-1/10 (0 %)"),
        (Progress(1.5, 3), 50.0, "1.5/3 (50 %)"),
    ],
)
def test_progress_in_percent_and_words(step: Progress, percent: float | None, text: str) -> None:
    assert (step.percent, str(step)) == (percent, text)


def test_progress_is_recorded_ten_times_a_second_and_at_the_end(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [100.0]
    monkeypatch.setattr("multi.app.progress.time.monotonic", lambda: moment[0])
    told: list[Any] = []

    @app.task(bind=True)
    def long(self: Task) -> None:
        for count in range(11):
            self.progress(count, 10)
            told.append(self.AsyncResult(self.request.id).info["current"])
            moment[0] += 0.03

    long.delay()
    work(app)
    assert told == [0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 10]


def test_items_are_tracked(app: App, every_report: None) -> None:
    told: list[Any] = []

    @app.task(bind=True)
    def long(self: Task) -> list[str]:
        kept = []
        result = self.AsyncResult(self.request.id)
        for item in self.track(["a", "b"], message="letters"):
            told.append(str(result.progress))
            kept.append(item)
        told.append(str(result.progress))
        for _ in self.track(iter("x")):
            pass
        told.append(str(result.progress))
        return kept

    result = long.delay()
    work(app)
    assert result.get(timeout=0) == ["a", "b"]
    assert told == ["0/2 (0 %) letters", "1/2 (50 %) letters", "2/2 (100 %) letters", "1"]


@pytest.mark.parametrize("arguments", [("three",), (None,), (1, "ten"), (True,)])
def test_a_progress_that_is_no_number_is_told(app: App, arguments: tuple[Any, ...]) -> None:
    @app.task(bind=True)
    def long(self: Task) -> None:
        self.progress(*arguments)

    result = long.delay()
    work(app)
    with pytest.raises(TypeError, match="of a progress is a number, not"):
        result.get(timeout=0)


def test_a_task_called_as_a_function_tells_nobody(app: App) -> None:
    @app.task(bind=True)
    def long(self: Task) -> int:
        self.progress(1, 2)
        return 1

    assert long() == 1


def test_celerys_way_of_telling_is_read_too(app: App) -> None:
    @app.task(bind=True)
    def long(self: Task) -> Any:
        self.update_state(state="PROGRESS", meta={"current": 1, "total": 4})
        found = self.AsyncResult(self.request.id).progress
        self.update_state(state="PROGRESS", meta="half")
        return [str(found), self.AsyncResult(self.request.id).progress]

    result = long.delay()
    work(app)
    assert result.get(timeout=0) == ["1/4 (25 %)", None]


def _stepping(app: App, steps: int) -> tuple[Task[..., Any], threading.Semaphore]:
    """A task whose every step waits for a go."""
    go = threading.Semaphore(0)

    @app.task(bind=True, name="long")
    def long(self: Task) -> str:
        for count in range(1, steps + 1):
            assert go.acquire(timeout=20)
            self.progress(count, steps)
        assert go.acquire(timeout=20)
        return "done"

    return long, go


def test_progress_can_be_followed_to_the_end(app: App, every_report: None) -> None:
    long, go = _stepping(app, 3)
    result = long.delay()
    runner = threading.Thread(target=work, args=(app,))
    runner.start()
    seen = []
    go.release()
    for step in result.follow(timeout=20):
        seen.append(step.current)
        go.release()
    runner.join()
    assert seen == [1, 2, 3]
    assert result.get(timeout=0) == "done"
    assert list(result.follow()) == []


def test_progress_can_be_awaited_to_the_end(app: App, every_report: None) -> None:
    long, go = _stepping(app, 3)

    async def main() -> tuple[list[float], str]:
        result = await long.adelay()
        runner = asyncio.get_running_loop().run_in_executor(None, work, app)
        seen = []
        go.release()
        async for step in result.afollow(timeout=20):
            seen.append(step.current)
            go.release()
        await runner
        return seen, await result

    assert asyncio.run(main()) == ([1, 2, 3], "done")


def test_following_comes_to_an_end_when_nothing_comes(app: App) -> None:
    long, _ = _stepping(app, 1)
    result = long.delay()
    with pytest.raises(TimeoutError, match="has not ended within 0"):
        list(result.follow(timeout=0.01))

    async def main() -> None:
        async for _ in result.afollow(timeout=0.01):
            pass

    with pytest.raises(TimeoutError, match="has not ended within 0"):
        asyncio.run(main())


def test_a_program_of_asyncio_sends_and_waits_without_blocking_its_loop(app: App) -> None:
    @app.task(name="add")
    def add(x: int, y: int = 0) -> int:
        return x + y

    async def main() -> list[Any]:
        sent = [
            await add.adelay(1, 2),
            await add.aapply_async((3,), {"y": 4}, task_id="mine"),
            await app.asend_task("add", (5, 6)),
            *(await app.asend_many([(add, (7, 8)), add.s(9)])),
        ]
        with pytest.raises(TypeError, match="missing 1 required positional argument"):
            await add.adelay()  # type: ignore[call-arg]
        await asyncio.to_thread(work, app)
        with pytest.raises(TimeoutError, match="no result of nobody within 0.01 s"):
            await app.AsyncResult("nobody").aget(timeout=0.01)
        assert sent[1].id == "mine"
        return [await sent[0], await sent[1].aget(), *[await result.aget(timeout=5) for result in sent[2:]]]

    assert asyncio.run(main()) == [3, 7, 11, 15, 9]


def test_a_failure_is_raised_or_returned_to_who_awaits_it(app: App) -> None:
    @app.task(name="fail")
    def fail() -> None:
        raise ValueError("no")

    async def main() -> None:
        result = await fail.adelay()
        await asyncio.to_thread(work, app)
        with pytest.raises(ValueError, match="no"):
            await result.aget(timeout=5)
        found = await result.aget(propagate=False)
        assert isinstance(found, ValueError)

    asyncio.run(main())


def test_what_a_task_sends_by_an_awaitable_call_is_its_child(app: App) -> None:
    @app.task(name="add")
    def add(x: int) -> int:
        return x

    @app.task(name="outer")
    async def outer() -> str:
        return (await add.adelay(1)).id

    result = outer.delay()
    work(app)
    children = result.children
    assert children is not None
    assert [child.id for child in children] == [result.get(timeout=0)]
