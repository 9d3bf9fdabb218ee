"""Tasks run here and now: `task.apply()`, and everything where `task_always_eager` is set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from multi import identity
from multi.app import aftermath, ending
from multi.app.job import Job
from multi.app.plan import executor
from multi.app.result import AsyncResult, RemoteTraceback
from multi.app.states import PROPAGATE_STATES, READY_STATES
from multi.app.typed import R
from multi.message import Message
from multi.outcome import Outcome

if TYPE_CHECKING:
    from multi.app.task import Task


class EagerResult(AsyncResult[R]):
    """The result of a task that was run here: there from the start."""

    __slots__ = ("_outcome",)

    def __init__(self, task: Task, outcome: Outcome) -> None:
        super().__init__(outcome.task_id, task.app)
        self._outcome = outcome
        self._meta = {
            "status": outcome.state,
            "result": outcome.result,
            "traceback": outcome.traceback,
            "children": [],
            "name": outcome.name,
        }

    def get(self, timeout: float | None = None, propagate: bool = True, *args: Any, **kwargs: Any) -> Any:
        state, value = self._outcome.state, self._outcome.result
        if propagate and state in PROPAGATE_STATES and isinstance(value, BaseException):
            if self._outcome.traceback:
                value.__cause__ = RemoteTraceback(self._outcome.traceback)
            raise value
        return value if state in READY_STATES else None

    wait = get

    def ready(self) -> bool:
        """True: it has run."""
        return True

    def forget(self) -> None:
        """There is no record to delete."""

    def __repr__(self) -> str:
        return f"<EagerResult: {self.id}>"


class EagerJob(Job):
    """A run without a message behind it: its callbacks are applied, its retries made at once."""

    __slots__ = ("options", "replaced", "retrying")

    not_the_tasks = (KeyboardInterrupt, GeneratorExit)  # they are meant for the program that runs it
    options: Mapping[str, Any]
    retrying: tuple[Any, Any] | None
    replaced: Any

    def _make_request(self) -> Any:
        request = super()._make_request()
        request.is_eager = True
        request.delivery_info = {**(request.delivery_info or {}), "is_eager": True}
        options = self.options
        request.loglevel, request.logfile = options.get("loglevel"), options.get("logfile")
        links, errbacks = options.get("link"), options.get("link_error")
        request.callbacks = [links] if isinstance(links, Mapping) else links
        request.errbacks = [errbacks] if isinstance(errbacks, Mapping) else errbacks
        return request


def apply(task: Task, args: tuple[Any, ...], kwargs: dict[str, Any], options: Mapping[str, Any]) -> EagerResult:
    """Run `task` in this thread; with `throw`, or `task_eager_propagates`, its exception is raised here."""
    app = task.app
    task_id = options.get("task_id") or identity.new_id()
    outcome = _run(task, task_id, args, kwargs, options, int(options.get("retries") or 0))
    throw = options.get("throw")
    if throw is None:
        throw = app.conf.task_eager_propagates
    result = EagerResult(task, outcome)
    if throw:
        result.get()
    if task.effective("store_eager_result") and outcome.record and app.backend is not None:
        from multi.app.records import stores

        app.backend.store(stores(app, outcome))
    return result


def _run(task: Task, task_id: str, args: Any, kwargs: Any, options: Mapping[str, Any], retries: int) -> Outcome:
    while True:
        job = _job(task, task_id, args, kwargs, options, retries)
        job.retrying = job.replaced = None
        outcome = job.run()
        if job.replaced is not None:  # by another task, which has run already
            outcome.state, outcome.result, outcome.record = job.replaced.state, job.replaced.result, True
        if job.retrying is None:
            break
        args, kwargs = job.retrying
        retries += 1
    links = options.get("link") if outcome.state == "SUCCESS" else options.get("link_error")
    for link in links if isinstance(links, list | tuple) else [links] if links else []:
        from multi.app.canvas.signatures import signature

        call = signature(link, app=task.app)
        if outcome.state == "SUCCESS":
            call.apply((outcome.result,))
        elif outcome.state == "FAILURE" and aftermath.takes_the_error(task.app, call):
            try:
                aftermath.call_here(task.app, call, job.request, outcome.result, outcome.traceback)
            except Exception as trouble:  # an errback of anybody's; the task's own failure is what counts
                ending.complain(job, trouble)
        elif outcome.state == "FAILURE":
            call.apply((task_id,))
    return outcome


def _job(task: Task, task_id: str, args: Any, kwargs: Any, options: Mapping[str, Any], retries: int) -> EagerJob:
    app = task.app
    ex = executor(app)
    plan = ex.plan(task.name)
    if plan is None or plan.task is not task:
        from multi.app.plan import make

        plan = make(task)
    headers = {
        "task": task.name,
        "id": task_id,
        "root_id": options.get("root_id") or task_id,
        "parent_id": options.get("parent_id"),
        "group": options.get("group_id"),
        "group_index": options.get("group_index"),
        "shadow": options.get("shadow"),
        "retries": retries,
        "ignore_result": options.get("ignore_result"),
        **(options.get("headers") or {}),
    }
    properties = {"correlation_id": task_id, "priority": options.get("priority")}
    message = Message(headers, b"", properties=properties)
    queue = getattr(options.get("queue"), "name", options.get("queue")) or options.get("routing_key") or ""
    if app.middleware:  # what it does to a message, its counterpart around the run will want to find
        from multi.app.middleware import Sending, publishing

        sending = Sending(task.name, task_id, args, kwargs, headers, properties, queue, "")
        for hook in publishing(app, task.name):
            hook(sending)
        args, kwargs = sending.args, sending.kwargs
    job = EagerJob(
        app, ex, plan, message, headers, task_id, list(args), dict(kwargs), {}, queue, False, identity.origin()
    )
    job.options = options
    return job


def failed(call: Any, error: BaseException, parent: Any = None) -> EagerResult[Any]:
    """The result of a task that is not run, because something before it has failed; its errbacks are called."""
    from multi.app.canvas.signatures import listed, signature

    task_id = call.options.get("task_id") or identity.new_id()
    outcome = Outcome(task_id, call["task"], "FAILURE", error)
    result: EagerResult[Any] = EagerResult(call, outcome)
    result.parent = parent
    for errback in listed(call.options.get("link_error")):
        signature(errback, app=call.app).apply((task_id,))
    return result
