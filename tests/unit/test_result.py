from __future__ import annotations

import asyncio
import builtins
import json
import pickle
import threading
from datetime import datetime
from typing import Any

import pytest
from support.inline import make_app, work

import multi
from multi import App, AsyncResult
from multi.app import current, states
from multi.errors import BackendDisabled


@pytest.fixture
def app() -> App:
    return make_app()


@pytest.fixture
def add(app: App) -> Any:
    @app.task(name="add")
    def add(x: Any, y: Any) -> Any:
        return x + y

    return add


@pytest.mark.parametrize("task_id", [None, 3, b"id"], ids=str)
def test_the_id_of_a_task_is_a_text(app: App, task_id: Any) -> None:
    with pytest.raises(TypeError, match="the id of a task is a text"):
        app.AsyncResult(task_id)


def test_an_unknown_task_is_pending(app: App) -> None:
    result = app.AsyncResult("unknown")
    assert (result.state, result.status, result.result, result.traceback) == ("PENDING", "PENDING", None, None)
    assert not result.ready()
    assert not result.exists()
    assert result.children is None


def test_a_result_tells_the_state_and_the_value(app: App, add: Any) -> None:
    result = add.delay(2, 3)
    assert not result.ready()
    work(app)
    assert result.ready()
    assert result.successful()
    assert not result.failed()
    assert (result.get(), result.result, result.info, result.state) == (5, 5, 5, "SUCCESS")
    assert isinstance(result.date_done, datetime)
    assert result.children == []
    assert result.exists()


def test_get_waits_and_gives_up(app: App) -> None:
    with pytest.raises(multi.TimeoutError, match=r"within 0\.01 s"):
        app.AsyncResult("x").get(timeout=0.01)
    assert issubclass(multi.TimeoutError, builtins.TimeoutError)


def test_get_hears_of_a_result_that_comes_later(app: App, add: Any) -> None:
    result = add.delay(2, 3)
    got: list[Any] = []
    waiter = threading.Thread(target=lambda: got.append(result.get(timeout=10)))
    waiter.start()
    work(app)
    waiter.join(10)
    assert got == [5]


def test_get_passes_over_states_on_the_way(app: App) -> None:
    backend = app.backend
    assert backend is not None
    seen: list[str] = []

    def record(state: str, result: Any) -> None:
        assert backend is not None
        backend.store([backend.encode("x", json.dumps({"status": state, "result": result}).encode())])

    def go_on(meta: dict[str, Any]) -> None:
        seen.append(meta["status"])
        if meta["status"] == "STARTED":
            record("PROGRESS", 50)
        elif meta["status"] == "PROGRESS":
            record("SUCCESS", "end")

    record("STARTED", None)
    assert app.AsyncResult("x").get(timeout=5, on_message=go_on) == "end"
    assert seen == ["STARTED", "PROGRESS", "SUCCESS"]


def test_get_calls_back_meanwhile(app: App, add: Any) -> None:
    result = add.delay(1, 2)
    turns: list[int] = []

    def work_at_last() -> None:
        turns.append(1)
        if len(turns) == 3:
            work(app)

    ends: list[Any] = []
    value = result.get(timeout=10, interval=0.01, on_interval=work_at_last, callback=lambda *end: ends.append(end))
    assert value == 3
    assert len(turns) == 3
    assert ends == [(result.id, 3)]


def test_a_failure_is_raised_or_returned(app: App) -> None:
    @app.task
    def fail() -> None:
        raise KeyError("x")

    result = fail.delay()
    work(app)
    with pytest.raises(KeyError):
        result.get(timeout=1)
    with pytest.raises(KeyError):
        result.maybe_throw()
    assert isinstance(result.get(timeout=1, propagate=False), KeyError)
    assert isinstance(result.maybe_throw(propagate=False), KeyError)


def test_a_result_can_be_awaited(app: App, add: Any) -> None:
    @app.task
    def fail() -> None:
        raise KeyError("x")

    async def main() -> Any:
        good, bad = add.delay(1, 2), fail.delay()
        waiting = asyncio.ensure_future(_await(good))
        await asyncio.get_running_loop().run_in_executor(None, work, app)
        with pytest.raises(KeyError):
            await bad
        return await waiting

    async def _await(result: AsyncResult) -> Any:
        return await result

    assert asyncio.run(main()) == 3


def test_many_results_can_be_awaited_at_once_in_any_order(app: App, add: Any) -> None:
    results = [add.delay(n, 0) for n in range(40)]

    async def main() -> list[Any]:
        waiting = asyncio.gather(*results)
        await asyncio.sleep(0)
        threading.Thread(target=work, args=(app,)).start()
        return list(await asyncio.wait_for(waiting, 20))

    assert asyncio.run(main()) == list(range(40))


def test_an_await_that_is_given_up_leaves_nothing_waiting(app: App) -> None:
    async def main() -> None:
        with pytest.raises(builtins.TimeoutError):
            await asyncio.wait_for(app.AsyncResult("never"), 0.05)

    asyncio.run(main())  # would not return while a thread waits
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("asyncio_")]


def test_a_task_must_not_wait_for_another(app: App, add: Any) -> None:
    @app.task
    def waits() -> None:
        add.delay(1, 2).get()

    @app.task
    def allowed(task_id: str) -> Any:
        return app.AsyncResult(task_id).get(timeout=1, disable_sync_subtasks=False)

    @app.task
    def looks(task_id: str) -> Any:
        return app.AsyncResult(task_id).get()

    result = waits.delay()
    work(app)
    with pytest.raises(RuntimeError, match="within a task"):
        result.get(timeout=1)
    first = add.delay(1, 2)
    work(app)
    # to look at what is there is not to wait
    for reader in (allowed, looks):
        second = reader.delay(first.id)
        work(app)
        assert second.get(timeout=1) == 3


def test_a_forgotten_result_is_gone(app: App, add: Any) -> None:
    result = add.delay(1, 2)
    work(app)
    assert result.get(timeout=1) == 3
    result.forget()
    assert result.state == "PENDING"


def test_without_a_backend_it_is_said_so() -> None:
    app = make_app(backend="disabled://")
    result = app.AsyncResult("x")
    for ask in (lambda: result.state, result.get, result.ready, result.forget):
        with pytest.raises(BackendDisabled, match="No result backend is configured"):
            ask()
    with pytest.raises(NotImplementedError):
        result.get()


def test_a_final_state_is_asked_for_once(app: App, add: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    result = add.delay(1, 2)
    work(app)
    assert result.get(timeout=1) == 3
    monkeypatch.setattr(app, "_backend", None)
    assert (result.state, result.result, result.get()) == ("SUCCESS", 3, 3)


def test_results_are_values(app: App) -> None:
    one, same, other = app.AsyncResult("a"), app.AsyncResult("a"), app.AsyncResult("b")
    assert one == same != other
    assert one == "a"
    assert len({one, same, other}) == 2
    assert str(one) == "a"
    assert repr(one) == "<AsyncResult: a>"
    assert one.task_id == "a"


def test_a_result_travels() -> None:
    app = make_app()
    app.set_current()
    try:
        result = pickle.loads(pickle.dumps(AsyncResult("a", app, AsyncResult("p", app))))
        assert (result.id, result.app, result.parent.id) == ("a", app, "p")
        assert AsyncResult("x").app is app
    finally:
        current.set_current(None)


def test_the_tuple_form_is_celerys(app: App) -> None:
    parent = AsyncResult("p", app)
    result = AsyncResult("a", app, parent)
    assert result.as_tuple() == (("a", (("p", None), None)), None)
    assert result.as_list() == ["a", "p"]


def test_all_results_below_can_be_collected(app: App, add: Any) -> None:
    @app.task
    def parent() -> str:
        add.delay(1, 2)
        return "parent"

    result = parent.delay()
    work(app)
    assert [value for _, value in result.collect(timeout=1)] == ["parent", 3]


def test_results_may_be_kept_as_pickles(app: App) -> None:
    app.conf.result_serializer = "pickle"

    @app.task
    def odd(fail: bool) -> Any:
        if fail:
            raise ValueError({1, 2})
        return {1, 2}

    good, bad = odd.delay(False), odd.delay(True)
    work(app)
    assert good.get(timeout=1) == {1, 2}
    with pytest.raises(ValueError) as caught:
        bad.get(timeout=1)
    assert caught.value.args == ({1, 2},)


def test_the_order_of_states_is_celerys() -> None:
    order = ["SUCCESS", "FAILURE", "PROGRESS", "REVOKED", "STARTED", "RECEIVED", "REJECTED", "RETRY", "PENDING"]
    assert sorted(sorted(order), key=states.precedence) == order
    assert {"SUCCESS", "FAILURE", "REVOKED"} == states.READY_STATES
