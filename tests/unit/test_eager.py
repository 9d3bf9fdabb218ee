"""Tasks applied here and now: what they come to, and are called with, is what Celery's `apply` gives."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from types import ModuleType
from typing import Any

import celery
import celery.exceptions
import pytest

import multi
import multi.errors

#: Calls of the task below: arguments, options, and settings of the app.
CALLS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "success": ("ok", {}, {}),
    "failure": ("fail", {}, {}),
    "retries that end": ("retry", {}, {}),
    "one retry": ("once", {}, {}),
    "ignored": ("ignore", {}, {}),
    "rejected": ("reject", {}, {}),
    "a state of its own": ("state", {}, {}),
    "a failure that is thrown": ("fail", {"throw": True}, {}),
    "options": ("ok", {"headers": {"mine": 1}, "countdown": 9, "expires": 60}, {}),
    "a later try": ("ok", {"retries": 1, "logfile": "log", "loglevel": 10}, {}),
    "always eager": ("ok", {"countdown": 50, "queue": "x"}, {"task_always_eager": True}),
    "always eager, failing": ("fail", {}, {"task_always_eager": True}),
    "always eager, thrown": ("fail", {}, {"task_always_eager": True, "task_eager_propagates": True}),
}


def apply(engine: ModuleType, errors: Any, app: Any, how: str, options: dict[str, Any]) -> Any:
    """The result of one call, and what the task and its handlers were called with."""
    told: list[Any] = []

    class Told(engine.Task):  # type: ignore[name-defined,misc]  # of either engine
        def on_success(self, value: Any, task_id: str, args: Any, kwargs: Any) -> None:
            told.append(("success", value, task_id, list(args), kwargs))

        def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            told.append(("retry", repr(exc), task_id, list(args), kwargs))

        def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            if not (options.get("throw") or app.conf.task_eager_propagates):  # Celery leaves it out then
                told.append(("failure", repr(exc), task_id, list(args), kwargs, str(einfo).splitlines()[-1]))

    @app.task(bind=True, base=Told, name="proj.own", max_retries=2)  # type: ignore[untyped-decorator]  # as above
    def own(self: Any, how: str, n: int = 0) -> Any:
        request = self.request
        told.append((request.id, request.retries, list(request.args), dict(request.kwargs), request.root_id))
        told.append((request.is_eager, request.called_directly, request.parent_id, request.headers or {}))
        told.append((request.eta, request.timelimit and list(request.timelimit), request.logfile))
        told.append((request.delivery_info["is_eager"], request.loglevel or 0))
        if how == "fail":
            raise ValueError("x")
        if how == "retry" or (how == "once" and not request.retries):
            raise self.retry(exc=ValueError("again") if how == "retry" else None, countdown=99)
        if how == "ignore":
            raise errors.Ignore
        if how == "reject":
            raise errors.Reject("no")
        if how == "state":
            self.update_state(state="OWN", meta={"a": 1})
        return [how, n]

    call = own.apply_async if app.conf.task_always_eager else own.apply
    try:
        result = call((how,), {"n": 1}, task_id="mine", **options)
    except ValueError as error:
        return repr(error), told
    value = result.get(propagate=False)
    flags = (result.ready(), result.successful(), result.failed())
    return result.id, result.state, repr(value), bool(result.traceback) == result.failed(), flags, told


@pytest.mark.filterwarnings("ignore:Results are not stored:RuntimeWarning")
@pytest.mark.parametrize("call", CALLS)
def test_an_applied_task_comes_to_what_it_comes_to_with_celery(call: str) -> None:
    how, options, settings = CALLS[call]
    theirs = celery.Celery("proj", set_as_current=False, broker="memory://", backend="cache+memory://")
    place = f"memory://{uuid.uuid4().hex}"
    ours = multi.App("proj", set_as_current=False, broker=place, backend=place)
    for app in (theirs, ours):
        app.conf.update(settings)
    expected = apply(celery, celery.exceptions, theirs, how, options)
    found = apply(multi, multi.errors, ours, how, options)
    if call in ("ignored", "rejected"):  # Celery has a traceback of these; they are no failures
        expected, found = (*expected[:3], *expected[4:]), (*found[:3], *found[4:])
    assert found == expected


def _eager() -> multi.App:
    place = f"memory://{uuid.uuid4().hex}"
    return multi.App("proj", set_as_current=False, broker=place, backend=place, task_always_eager=True)


def test_errbacks_of_both_forms_are_called(caplog: pytest.LogCaptureFixture) -> None:
    app = _eager()
    called: list[Any] = []

    @app.task(name="three")
    def three(request: Any, error: BaseException, traceback: str) -> None:
        called.append((request.id, repr(error), traceback.splitlines()[-1]))

    @app.task(name="one")
    def one(task_id: str) -> None:
        called.append(task_id)

    @app.task(name="broken")
    def broken(request: Any, error: BaseException, traceback: str) -> None:
        raise RuntimeError("errback")

    @app.task(name="fail", bind=True)
    def fail(self: multi.Task) -> None:
        called.append([link["task"] for link in self.request.errbacks])
        raise ValueError("x")

    links = [broken.s(), three.s(), one.s()]
    assert fail.apply_async(task_id="mine", link_error=links).failed()
    assert called == [["broken", "three", "one"], ("mine", "ValueError('x')", "ValueError: x"), "mine"]
    assert "RuntimeError('errback') was raised" in caplog.text


def test_a_task_that_is_ignored_calls_neither_callbacks_nor_errbacks() -> None:
    app = _eager()
    called: list[Any] = []
    note: Callable[..., Any] = app.task(name="note")(lambda *given: called.append(given))

    @app.task(name="ignored", bind=True)
    def ignored(self: multi.Task) -> None:
        assert self.request.callbacks is not None
        raise multi.Ignore

    result = ignored.apply_async(link=note.s(), link_error=note.s())  # type: ignore[attr-defined]
    assert (result.state, result.ready()) == ("IGNORED", True)
    assert called == []


def test_options_of_the_call_are_in_the_request() -> None:
    app = _eager()

    @app.task(name="own", bind=True)
    def own(self: multi.Task) -> Any:
        request = self.request
        return [request.group, request.group_index, request.parent_id, request.shadow, request.delivery_info]

    found = own.apply_async(group_id="g", group_index=3, parent_id="p", shadow="dark", queue="slow").get()
    assert found[:4] == ["g", 3, "p", "dark"]
    assert (found[4]["routing_key"], found[4]["is_eager"]) == ("slow", True)
