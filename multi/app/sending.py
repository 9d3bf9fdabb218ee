"""The sending half of an app."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from multi import identity, signals
from multi.app.options import HIGHEST, check_values
from multi.app.publishing import Publisher
from multi.app.request import running
from multi.app.result import AsyncResult
from multi.app.task import Task
from multi.errors import BrokerUnavailable
from multi.outcome import Publication

if TYPE_CHECKING:
    from multi.app.canvas.dispatch import Dispatch
    from multi.app.eager import EagerResult
    from multi.app.middleware import Middleware
    from multi.app.registry import Registry
    from multi.brokers.base import Broker
    from multi.config import Settings


class Sender:
    """What `App` has of this: calls become messages, messages are published, results are handed out."""

    conf: Settings
    strict_typing: bool
    _tasks: Registry
    _publisher: Publisher | None
    _broker: Broker | None
    middleware: tuple[Middleware, ...]

    @property
    def broker(self) -> Broker:
        raise NotImplementedError

    @property
    def publisher(self) -> Publisher:
        raise NotImplementedError

    @property
    def backend(self) -> Any:
        raise NotImplementedError

    def send_task(
        self, name: str, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult:
        """Send a task by its name, which need not be known here."""
        if not isinstance(name, str) or not name:
            raise TypeError(f"send_task takes the name of a task, not {name!r}")
        self.check_options(options)
        return self._send_built(self._tasks.get(name), name, args or (), kwargs or {}, options)

    def send_many(self, calls: Iterable[Any]) -> list[AsyncResult]:
        """Send many calls in as few round trips as possible: signatures, or tuples (task, args) or (task, args, kwargs).

        All of them are built before the first one is sent, so a wrong argument sends nothing.
        """
        from multi.app.bulk import apply_many, build_many

        if (self._publisher or self.publisher).eager:
            return apply_many(self, calls)  # type: ignore[arg-type]  # a Sender is always an App
        publications = build_many(self, calls)  # type: ignore[arg-type]  # as above
        self._publish(publications)
        tasks = self._tasks
        results = [
            self._result(publication, tasks.get(publication.message.headers["task"])) for publication in publications
        ]
        run = running.get()
        if run is not None and run.task.trail:
            for result in results:
                run.add_child(result)
        return results

    async def asend_task(
        self, name: str, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult:
        """`send_task` for programs of asyncio: the loop goes on while the message is on its way."""
        from multi.app.coroutines import in_thread

        sent: AsyncResult = await in_thread(self.send_task, name, args, kwargs, **options)
        return sent

    async def asend_many(self, calls: Iterable[Any]) -> list[AsyncResult]:
        """`send_many` for programs of asyncio."""
        from multi.app.coroutines import in_thread

        sent: list[AsyncResult] = await in_thread(self.send_many, calls)
        return sent

    def _send_plain(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> AsyncResult | EagerResult:
        """The short way, for calls without options."""
        publisher = self._publisher or self.publisher
        if task.typing and self.strict_typing:
            task.check_arguments(args, kwargs)
        if publisher.eager:
            return task.apply(args, kwargs)
        if task.unique_for is not None:
            return self._send_unique(task, args, kwargs, {})
        publication = publisher.plain(task.name, task, identity.new_id(), args, kwargs)
        if task.unique_for is not None:  # by task_annotations, which are looked at when its first message is made
            return self._send_unique(task, args, kwargs, {})
        self._publish((publication,))
        result = self._result(publication, task)
        run = running.get()
        if run is not None and run.task.trail:
            run.add_child(result)
        return result

    def _send(
        self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any], options: dict[str, Any]
    ) -> AsyncResult | EagerResult:
        """The way of a known task with options."""
        self.check_options(options)
        if task.typing and self.strict_typing:
            task.check_arguments(args, kwargs)
        if (self._publisher or self.publisher).eager:
            return task.apply(args, kwargs, **options)
        if "shadow" not in options and type(task).shadow_name is not Task.shadow_name:
            options["shadow"] = task.shadow_name(args, kwargs, options)
        return self._send_built(task, task.name, args, kwargs, options)

    def _send_built(
        self,
        task: Task | None,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
        *,
        locked: bool = False,
    ) -> AsyncResult:
        publisher = self._publisher or self.publisher
        if task is not None and task.unique_for is not None and not locked:
            return self._send_unique(task, args, kwargs, options)
        task_id = options.pop("task_id", None) or identity.new_id()
        publication = publisher.build(name, task, task_id, args, kwargs, options)
        if task is not None and task.unique_for is not None and not locked:  # as above
            return self._send_unique(task, args, kwargs, {**options, "task_id": task_id})
        policy = options.get("retry_policy")
        if "timeout" in options:
            policy = {**(policy or {}), "timeout": options["timeout"]}
        self._publish((publication,), options.get("retry"), policy)
        if options.get("result_cls"):
            result: AsyncResult = options["result_cls"](publication.message.headers["id"])
        else:
            result = self._result(publication, task)
        run = running.get()
        if run is not None and run.task.trail and options.get("add_to_parent", True):
            run.add_child(result)
        return result

    def _send_unique(
        self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any], options: dict[str, Any]
    ) -> AsyncResult:
        from multi.app.unique import unique

        return unique(task).send(
            args, kwargs, options, lambda told: self._send_built(task, task.name, args, kwargs, told, locked=True)
        )

    def send_dispatch(self, dispatch: Dispatch, retry: bool | None, policy: Mapping[str, Any] | None) -> None:
        """Send all messages of a canvas at once; what they need in the result backend is there before them."""
        if dispatch.stores:
            self.backend.store(dispatch.stores)
        if dispatch.publications:
            self._publish(dispatch.publications, retry, policy)

    def _result(self, publication: Publication, task: Task | None) -> AsyncResult:
        headers = publication.message.headers
        if task is not None and (task.backend is not None or task._own_result):
            result = task.AsyncResult(headers["id"])
        else:
            result = AsyncResult(headers["id"], self)  # type: ignore[arg-type]  # a Sender is always an App
        if headers["ignore_result"]:
            result.ignored = True
        return result

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Refuse options of a call whose values make no sense. Raises `TypeError` or `ValueError`."""
        check_values(options)
        if (options.get("priority") or 0) > HIGHEST and not self.broker.url.startswith(("amqp", "pyamqp")):
            raise ValueError(f"priority should be from 0 (last) to {HIGHEST} (first), not {options['priority']}")

    def expect(self, task_ids: Sequence[str]) -> None:
        """Be ready for the results of tasks that are about to be sent, by this thread or on its behalf."""
        expecting = (self._publisher or self.publisher).expecting
        if expecting is not None:
            expecting.expect(task_ids)

    def _publish(
        self, publications: Sequence[Publication], retry: bool | None = None, policy: Mapping[str, Any] | None = None
    ) -> None:
        broker = self._broker or self.broker
        publisher = self._publisher or self.publisher
        if publisher.expecting is not None:
            self.expect([publication.message.headers["id"] for publication in publications])
        try:
            broker.publish(publications)
        except Exception as error:
            if retry is None:
                retry = self.conf.task_publish_retry
            policy = {**self.conf.task_publish_retry_policy, **(policy or {})}
            if not retry or not isinstance(error, _passing(policy)):
                raise
            self.try_again(lambda: broker.publish(publications), policy)
        if signals.PUBLISHING.any or self.middleware or publisher.tells_sent:
            from multi.app import life

            life.sent(self, publications)  # type: ignore[arg-type]  # a Sender is always an App

    def try_again(self, send: Callable[[], None], policy: Mapping[str, Any] | None = None) -> None:
        """Send what could not be sent, after pauses as a policy says (None: that of the settings)."""
        policy = {**self.conf.task_publish_retry_policy, **(policy or {})}
        pause, limit = policy["interval_start"], policy["max_retries"]
        deadline = None if policy.get("timeout") is None else time.monotonic() + policy["timeout"]
        attempt = 0
        while True:
            attempt += 1
            time.sleep(pause if deadline is None else max(0.0, min(pause, deadline - time.monotonic())))
            pause = min(pause + policy["interval_step"], policy["interval_max"])
            try:
                send()
                return
            except _passing(policy):
                if limit is not None and attempt >= limit:
                    raise
                if deadline is not None and time.monotonic() >= deadline:
                    raise


def _passing(policy: Mapping[str, Any]) -> tuple[type[BaseException], ...]:
    """The errors after which sending is tried again."""
    return (BrokerUnavailable, *(policy.get("retry_errors") or ()))
