"""One run of a task: from its arguments to its outcome."""

from __future__ import annotations

import os
import time
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ClassVar

from multi.app import aftermath, coroutines, ending, life, unique
from multi.app.canvas.dispatch import Dispatch
from multi.app.records import refusal
from multi.app.request import Context, custom_headers, running
from multi.app.routes import DESTINATION
from multi.errors import BackendError, EncodeError
from multi.outcome import Outcome, Publication
from multi.signals import RUNS
from multi.store import Store

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.app.plan import Executor, Plan
    from multi.app.task import Task
    from multi.message import Message


class Job:
    """A message that is ready to be run. `run` never raises for what the task does."""

    __slots__ = (
        "_children",
        "_inner",
        "_request",
        "app",
        "args",
        "embed",
        "entered",
        "executor",
        "headers",
        "hostname",
        "id",
        "ignore_result",
        "kwargs",
        "message",
        "pending",
        "plan",
        "queue",
        "redelivered",
        "root_id",
        "soft_time_limit",
        "stores",
        "task",
        "time_limit",
    )

    #: What `run` lets pass. Nothing: a worker's signals raise none of these, so `sys.exit()`, a KeyboardInterrupt or a
    #: cancellation are the task's own doing, and its end.
    not_the_tasks: ClassVar[tuple[type[BaseException], ...]] = ()

    def __init__(
        self,
        app: App,
        executor: Executor,
        plan: Plan,
        message: Message,
        headers: dict[str, Any],
        task_id: str,
        args: list[Any],
        kwargs: dict[str, Any],
        embed: dict[str, Any],
        queue: str,
        redelivered: bool,
        hostname: str,
    ) -> None:
        self.app = app
        self.executor = executor
        self.plan = plan
        self.task: Task = plan.task
        self.message = message
        self.headers = headers
        self.id = task_id
        self.root_id: str = headers.get("root_id") or task_id
        self.args = args
        self.kwargs = kwargs
        self.embed = embed
        self.queue = queue
        self.redelivered = redelivered
        self.hostname = hostname
        ignore = headers.get("ignore_result")
        self.ignore_result: bool = plan.ignore_result if ignore is None else bool(ignore)
        limits = headers.get("timelimit")
        hard, soft = limits or _UNLIMITED
        self.time_limit: float | None = float(hard) if hard else plan.time_limit
        self.soft_time_limit: float | None = float(soft) if soft else plan.soft_time_limit
        #: messages that go out whatever becomes of this run, with what is to be recorded before them: retries, replacements
        self.pending: list[Publication] = []
        self.stores: list[Store] = []
        self.entered = not plan.custom_call
        self._children: list[Any] | None = None
        self._request: Context | None = None
        self._inner: coroutines.Interruptible | None = None

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def is_async(self) -> bool:
        return self.plan.is_async

    @property
    def acks_early(self) -> bool:
        """Whether the message is to be acknowledged before the run (at most once)."""
        return self.plan.acks_early

    @property
    def priority(self) -> int | None:
        found: int | None = self.message.properties.get("priority")
        return found

    @property
    def request(self) -> Context:
        """What the task sees as `self.request`; made when first looked at."""
        found = self._request
        if found is None:
            found = self._request = self._make_request()
        return found

    def _make_request(self) -> Context:
        headers, embed, properties = self.headers, self.embed, self.message.properties
        fields = {key: headers.get(key) for key in _REQUEST_HEADERS if headers.get(key) is not None}
        request = Context(
            fields,
            id=self.id,
            root_id=self.root_id,
            args=self.args,
            kwargs=self.kwargs,
            callbacks=embed.get("callbacks"),
            errbacks=embed.get("errbacks"),
            chain=embed.get("chain"),
            chord=embed.get("chord"),
            called_directly=False,
            hostname=self.hostname,
            ignore_result=self.ignore_result,
            headers=custom_headers(headers),
            properties=properties,
            correlation_id=properties.get("correlation_id") or self.id,
            reply_to=properties.get("reply_to"),
            delivery_info={
                "exchange": (properties.get("delivery_info") or {}).get("exchange", ""),
                "routing_key": self.queue,
                "priority": properties.get("priority"),
                "redelivered": self.redelivered,
            },
        )
        request.children = self.children
        return request

    @property
    def children(self) -> list[Any]:
        """The results of the tasks that this run has sent."""
        if self._children is None:
            self._children = []
        return self._children

    def add_child(self, child: Any) -> None:
        self.children.append(child)

    # running ---------------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Run the task in this thread; an `async def` one on a loop that this thread keeps."""
        plan = self.plan
        token = running.set(self)
        start = time.perf_counter()
        try:
            if plan.track_started or plan.hooked or RUNS.any:
                self._begin()
            result = plan.call(*self.args, **self.kwargs)
            if result.__class__ is CoroutineType:
                result = coroutines.run(result)
            return self._succeeded(result, time.perf_counter() - start)
        except Exception as error:
            return self._ended(error, time.perf_counter() - start)
        except BaseException as error:
            if isinstance(error, self.not_the_tasks):
                raise
            return self._ended(error, time.perf_counter() - start)
        finally:
            running.reset(token)

    async def arun(self) -> Outcome:
        """Run the task on the loop that this is awaited on; a plain function blocks it. A cancellation goes through."""
        plan = self.plan
        token = running.set(self)
        start = time.perf_counter()
        try:
            if plan.track_started or plan.hooked or RUNS.any:
                self._begin()
            result = plan.call(*self.args, **self.kwargs)
            if result.__class__ is CoroutineType:
                result = await (result if not self.soft_time_limit else self._interruptible(result))
            return self._succeeded(result, time.perf_counter() - start)
        except Exception as error:
            return self._ended(error, time.perf_counter() - start)
        except BaseException as error:
            if type(error).__name__ == "CancelledError" or isinstance(error, GeneratorExit):
                raise
            return self._ended(error, time.perf_counter() - start)
        finally:
            running.reset(token)

    def _interruptible(self, body: Any) -> Any:
        import asyncio

        inner = self._inner = coroutines.Interruptible(body)
        inner.task = asyncio.get_running_loop().create_task(inner)
        return inner.task

    def interrupt(self, error: BaseException) -> bool:
        """Raise `error` inside the task that `arun` runs, so that it can tidy up; on the thread of its loop.

        False if it has no soft time limit, or has not begun to wait yet: then it can only be cancelled.
        """
        if self._inner is None:
            return False
        self._inner.interrupt(error)
        return True

    def _begin(self) -> None:
        plan = self.plan
        if "unique_start" in plan.hooked and unique.HEADER in self.headers:
            unique.over(self.app, self.headers, self.id)
        if RUNS.any:
            life.begins(self)
        backend = plan.backend or self.app.backend
        if plan.track_started and not self.ignore_result and backend is not None:
            from multi.app.records import state_store

            meta = {"pid": os.getpid(), "hostname": self.hostname}
            try:
                if not plan.task._asked_to_stop(self.id):
                    backend.store([state_store(self.app, backend, self.id, "STARTED", meta, self.request)])
            except BackendError as trouble:
                ending.complain(self, trouble)  # no reason not to run the task
        if "before_start" in plan.hooked:
            plan.task.before_start(self.id, self.args, self.kwargs)

    def _succeeded(self, result: Any, runtime: float) -> Outcome:
        headers = self.headers
        outcome = Outcome(self.id, self.plan.name, "SUCCESS", result)
        outcome.runtime = runtime
        outcome.record = not self.ignore_result
        outcome.group_id = headers.get("group")
        outcome.parent_id = headers.get("parent_id")
        outcome.reply_to = self.message.properties.get("reply_to")
        embed = self.embed
        chord = bool(embed and embed.get("chord") and outcome.group_id)
        if embed and (chord or (embed.get("errbacks") and outcome.record)) and self.app.backend is not None:
            # those who wait for its failure must hear of a result that can't be stored, too
            try:
                self.app.recorder.dump(result)
            except EncodeError as error:
                return self._ended(refusal(self.name, result, error), runtime)
        if chord:
            outcome.parts = [ending.place(self, "SUCCESS", result)]
        if embed and (embed.get("callbacks") or embed.get("chain")):
            family: dict[str, Any] = {"parent_id": self.id, "root_id": self.root_id}
            if self.executor.inherit_priority and self.priority is not None:
                family["priority"] = self.priority
            dispatch = Dispatch(self.app, family)
            try:
                children = aftermath.after_success(dispatch, embed, result)
            except EncodeError as error:
                return self._ended(
                    EncodeError(f"the result of {self.name} can't be passed on to the task after it: {error}"), runtime
                )
            outcome.publications, outcome.stores = dispatch.publications, dispatch.stores
            if self.task.trail:
                self.children.extend(children)
        if self._children:
            outcome.children = ending.tuples(self._children)
        if self.pending:
            outcome.publications = [*outcome.publications, *self.pending]
            outcome.stores = [*outcome.stores, *self.stores]
        if self.executor.extended:
            outcome.extended = ending.extended(self)
        if self.plan.hooked or RUNS.any:
            ending.tell(self, outcome, "on_success")
        return outcome

    def _ended(self, error: BaseException, runtime: float) -> Outcome:
        outcome = ending.ended(self, error)
        outcome.runtime = runtime
        return outcome

    def retry_with(self, args: Any, kwargs: Any, options: dict[str, Any]) -> None:
        """Have this message go out again with other `options`, when this run is recorded."""
        headers, embed, properties = self.headers, self.embed, self.message.properties
        limits = headers.get("timelimit") or (None, None)
        standing = {
            "group_id": headers.get("group"),
            "group_index": headers.get("group_index"),
            "root_id": self.root_id,
            "parent_id": headers.get("parent_id"),
            "shadow": headers.get("shadow"),
            "origin": headers.get("origin"),
            "replaced_task_nesting": headers.get("replaced_task_nesting"),
            "expires": headers.get("expires"),
            "ignore_result": self.ignore_result,
            "time_limit": limits[0],
            "soft_time_limit": limits[1],
            "chord": embed.get("chord"),
            "chain": embed.get("chain"),
            "link": embed.get("callbacks"),
            "link_error": embed.get("errbacks"),
            "reply_to": properties.get("reply_to"),
            "priority": properties.get("priority"),
            "headers": custom_headers(headers),
            "stamped_headers": headers.get("stamped_headers"),
            **(headers.get("stamps") or {}),
        }
        if self.queue and not any(options.get(option) is not None for option in DESTINATION):
            # straight there, whatever it is bound to: others may have had a copy of the message
            standing |= {"queue": self.queue, "exchange": ""}
        merged = {**standing, **{key: value for key, value in options.items() if value is not None}}
        publication = self.app.publisher.build(self.name, self.task, self.id, args, kwargs, merged)
        if merged["parent_id"] is None:
            publication.message.headers["parent_id"] = None  # a retry is no child of its former run
        self.pending.append(publication)


_UNLIMITED = (None, None)
_REQUEST_HEADERS = (
    *("task", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "parent_id", "origin"),
    *("replaced_task_nesting", "stamped_headers", "stamps", "utc", "lang", "argsrepr", "kwargsrepr"),
)
