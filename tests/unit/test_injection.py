"""Parameters that the worker provides: neither sent nor asked for, made for a run and ended after it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest
from support.inline import claim, make_app, work

from multi import App, Depends, Retry, Task
from multi.app.plan import executor
from multi.errors import ConfigurationError

done: list[str] = []


class Session:
    def __init__(self) -> None:
        self.name = "session"


def get_session() -> Iterator[Session]:
    done.append("open")
    try:
        yield Session()
    except BaseException as error:
        done.append(f"rollback {type(error).__name__}")
        raise
    else:
        done.append("commit")
    finally:
        done.append("close")


async def aget_session() -> AsyncIterator[Session]:
    done.append("aopen")
    yield Session()
    done.append("aclose")


def get_repository(session: Session = Depends(get_session)) -> dict[str, Any]:
    return {"session": session}


async def get_number() -> int:
    return 42


Db = Annotated[Session, Depends(get_session)]


@pytest.fixture
def app() -> App:
    done.clear()
    return make_app()


def test_neither_the_call_nor_the_message_has_what_is_provided(app: App) -> None:
    @app.task(name="export")
    def export(order: int, session: Session = Depends(get_session), *, fast: bool = False) -> list[Any]:
        done.append("body")
        return [order, session.name, fast]

    with pytest.raises(TypeError, match="session"):
        export.delay(1, session=Session())
    with pytest.raises(TypeError, match="too many positional"):
        export.delay(1, Session())  # type: ignore[arg-type,unused-ignore]
    with pytest.raises(TypeError, match="order"):
        export.apply_async()
    result = export.delay(1, fast=True)
    work(app)
    assert result.get() == [1, "session", True]
    assert done == ["open", "body", "commit", "close"]
    export.delay(2)
    assert claim(app).headers["argsrepr"] == "(2,)"


@pytest.mark.parametrize("how", ["worker", "eager"])
def test_annotations_say_it_too_wherever_the_parameter_stands(app: App, how: str) -> None:
    @app.task(name="export", bind=True)
    def export(self: Task, /, db: Db, order: int, *rest: int, **more: int) -> Any:
        return [self.name, db.name, order, rest, more]

    if how == "eager":
        assert export.apply((1, 2, 3), {"x": 4}).get() == ["export", "session", 1, (2, 3), {"x": 4}]
        return
    result = export.apply_async((1, 2, 3), {"x": 4})
    work(app)
    assert result.get() == ["export", "session", 1, [2, 3], {"x": 4}]


def test_a_message_cannot_give_what_is_provided(app: App) -> None:
    @app.task(name="export")
    def export(db: Db, **more: Any) -> None:
        raise AssertionError

    app.send_task("export", kwargs={"db": "mine"})
    (outcome,) = work(app)
    assert outcome.state == "FAILURE"
    assert "is given db by the worker" in str(outcome.result)
    assert done == []


def test_the_end_of_a_provider_learns_how_the_run_ended(app: App) -> None:
    @app.task
    def fail(db: Db) -> None:
        raise ValueError("bad")

    @app.task(bind=True, max_retries=1)
    def again(self: Task, db: Db) -> None:
        if not self.request.retries:
            raise self.retry(countdown=0)

    fail.apply()
    assert done == ["open", "rollback ValueError", "close"]
    done.clear()
    again.apply_async()
    work(app)
    assert done == ["open", f"rollback {Retry.__name__}", "close", "open", "commit", "close"]


def test_a_commit_that_fails_fails_the_task_and_a_provider_cannot_make_it_a_success(app: App) -> None:
    def fails_at_the_end() -> Iterator[int]:
        yield 1
        raise OSError("disk full")

    def hushes() -> Iterator[int]:
        try:
            yield 1
        except ValueError:
            pass

    @app.task
    def first(one: int = Depends(fails_at_the_end)) -> None: ...

    @app.task
    def second(one: int = Depends(hushes)) -> None:
        raise ValueError("bad")

    assert isinstance(first.apply().result, OSError)
    assert isinstance(second.apply().result, ValueError)


def test_a_provider_is_called_once_for_a_run_and_anew_for_the_next(app: App) -> None:
    @app.task
    def export(
        db: Db,
        repository: dict[str, Any] = Depends(get_repository),
        other: Session = Depends(get_session, use_cache=False),
    ) -> list[bool]:
        return [repository["session"] is db, other is db]

    assert export.apply().get() == [True, False]
    assert export.apply().get() == [True, False]
    assert done.count("open") == 4


def test_async_tasks_have_async_providers_and_plain_ones(app: App) -> None:
    @app.task
    async def export(
        order: int,
        session: Session = Depends(aget_session),
        number: int = Depends(get_number),
        plain: Session = Depends(get_session),
    ) -> list[Any]:
        done.append("body")
        return [order, session.name, number, plain.name]

    assert export.apply((1,)).get() == [1, "session", 42, "session"]
    assert done == ["aopen", "open", "body", "commit", "close", "aclose"]


def test_tests_put_something_else_in_its_place(app: App) -> None:
    @app.task
    def export(repository: dict[str, Any] = Depends(get_repository)) -> str:
        return str(repository["session"])

    app.dependency_overrides[get_session] = lambda: "fake"
    assert export.apply().get() == "fake"
    assert done == []
    del app.dependency_overrides[get_session]
    assert export.apply().get() != "fake"


def test_called_directly_a_task_is_a_plain_function(app: App) -> None:
    @app.task
    def export(order: int, session: Any = Depends(get_session)) -> Any:
        return [order, session]

    assert export(1, session="mine") == [1, "mine"]


def test_models_and_injection_go_together(app: App) -> None:
    import pydantic

    class Order(pydantic.BaseModel):
        number: int

    def export(order: Order, session: Session = Depends(get_session)) -> list[Any]:
        return [order.number, session.name]

    export.__annotations__["order"] = Order
    task = app.task(name="export", pydantic=True)(export)
    result = task.delay(Order(number=7))
    work(app)
    assert result.get() == [7, "session"]


def _wants_something(thing: int) -> int:
    return thing


def _circle(one: int = 0) -> int:
    return one


_circle.__defaults__ = (Depends(_circle),)


@pytest.mark.parametrize(
    ("provider", "said"),
    [
        (get_number, "get_number is async, and the task is a plain function"),
        (_wants_something, "_wants_something wants thing, which nobody gives"),
        (_circle, "what it depends on depends on itself: _circle -> _circle"),
    ],
)
def test_what_cannot_be_provided_is_told_before_work_begins(app: App, provider: Callable[..., Any], said: str) -> None:
    @app.task(name="export")
    def export(thing: Any = Depends(provider)) -> None: ...

    with pytest.raises(ConfigurationError, match=f"task export: {said}"):
        app.import_modules()


def test_an_annotation_that_cannot_be_read_is_told(app: App) -> None:
    def local() -> int:
        return 1

    @app.task(name="export")
    def export(thing: Annotated[int, Depends(local)]) -> None: ...

    with pytest.raises(ConfigurationError, match=r"the annotation of thing can't be read: .*or write thing=Depends"):
        app.import_modules()
    with pytest.raises(TypeError, match="Depends takes a function, not 1"):
        Depends(1)  # type: ignore[arg-type]


def test_a_task_that_wants_nothing_is_called_as_it_is(app: App) -> None:
    @app.task
    def plain(x: int) -> int:
        return x

    plan = executor(app).plan(plain.name)
    assert plan is not None
    assert plan.call is plain.run
