"""Remote control: what a program asks of workers, Celery's among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from multi import revoking
from multi.app.control.ending import signal_name
from multi.app.control.inspect import Inspect
from multi.app.control.mailbox import Callback, Mailbox, cast
from multi.app.control.replies import Replies
from multi.app.control.request import checked
from multi.app.control.revoking import ids_of, keep, stamps_of
from multi.app.lacking import CONTROL, Lacks
from multi.errors import UnsupportedOption

if TYPE_CHECKING:
    from multi.app.app import App

#: The names of workers; all are meant without them.
Names = Sequence[str] | None


class Control(Lacks):
    """`app.control`.

    What its methods take besides their own arguments is what `broadcast` takes; with `reply=True` they return what workers
    reply, else None as soon as the broker has it.
    """

    _lacking = CONTROL
    _called = "app.control"

    def __init__(self, app: App) -> None:
        self.app = app

    @property
    def inspect(self) -> type[Inspect]:
        """Questions to workers: `app.control.inspect(destination=["w1@host"]).active()`."""
        return type("Inspect", (Inspect,), {"app": self.app, "__module__": Inspect.__module__})

    # what is said --------------------------------------------------------------------------------------------------------

    def broadcast(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        destination: Names = None,
        connection: Any = None,
        reply: bool = False,
        timeout: float | None = 1.0,
        limit: int | None = None,
        callback: Callback | None = None,
        channel: Any = None,
        pattern: str | None = None,
        matcher: str | None = None,
        **extra: Any,
    ) -> Replies | None:
        """Say a command to workers that hear it now: to all, to those in `destination`, or to those whose names match a pattern.

        With `reply`, what they reply, as a list of `{name: reply}`. The waiting ends when everybody has answered who is meant,
        as far as the broker or `destination` tell who that is, after `limit` replies, or when nobody has answered for
        `timeout` seconds. `callback` is given each reply as it comes. `pattern` is a glob, or with `matcher="pcre"` a regular
        expression. What else is given by name are arguments of the command, as those in `arguments`.
        """
        headers = extra.pop("_headers", None)
        for name, given in (("connection", connection), ("channel", channel)):
            if given is not None:
                raise UnsupportedOption(f"{name}={given!r}: requests travel over the app's own broker; leave it out")
        request = checked(command, {**(arguments or {}), **extra}, destination, pattern, matcher, headers)
        if not reply:
            cast(self.app, request)
            return None
        with Mailbox(self.app) as box:
            return box.call(request, timeout=1.0 if timeout is None else timeout, limit=limit, callback=callback)

    # tasks ---------------------------------------------------------------------------------------------------------------

    def revoke(
        self,
        task_id: str | Iterable[Any],
        destination: Names = None,
        terminate: bool = False,
        signal: Any = None,
        **options: Any,
    ) -> Replies | None:
        """Have these tasks (one id, or several) not run any more: who claims one records it as REVOKED.

        One that runs goes on, unless `terminate` is set: then the process that runs it is ended with `signal`. The ids are
        kept for three hours in the broker or the result backend, for workers that are away now, unless only the workers in
        `destination` are meant.
        """
        ids = ids_of(task_id)
        arguments = {"task_id": ids, "terminate": bool(terminate), "signal": signal_name(signal)}
        return self._revoke("revoke", arguments, [*map(revoking.of_task, ids)], destination, options)

    def terminate(
        self, task_id: str | Iterable[Any], destination: Names = None, signal: Any = None, **options: Any
    ) -> Replies | None:
        """As `revoke` with `terminate=True`."""
        return self.revoke(task_id, destination, True, signal, **options)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any] | Iterable[str],
        destination: Names = None,
        terminate: bool = False,
        signal: Any = None,
        **options: Any,
    ) -> Replies | None:
        """As `revoke`, all tasks that carry one of these stamps: `{"header": value or values}`, or `["header=value"]`."""
        stamps = stamps_of(headers)
        arguments = {"headers": stamps, "terminate": bool(terminate), "signal": signal_name(signal)}
        return self._revoke("revoke_by_stamped_headers", arguments, revoking.of_stamps(stamps), destination, options)

    def _revoke(
        self,
        method: str,
        arguments: dict[str, Any],
        marks: list[str],
        destination: Names,
        options: Mapping[str, Any],
    ) -> Replies | None:
        """Keep the marks for those who don't hear it, and say it to those who do."""
        if isinstance(destination, str):
            raise ValueError("destination is a list of the names of workers")
        kept = not destination and not options.get("pattern") and keep(self.app, marks)
        return self.broadcast(method, arguments, destination, _headers={"kept": kept}, **options)

    def rate_limit(
        self, task_name: str, rate_limit: str | float | None, destination: Names = None, **options: Any
    ) -> Replies | None:
        """Let workers begin a task no more often than "10/s", "100/m" or "5/h" say, a number is per second; 0 ends the limit."""
        arguments = {"task_name": task_name, "rate_limit": rate_limit}
        return self.broadcast("rate_limit", arguments, destination, **options)

    def time_limit(
        self,
        task_name: str,
        soft: float | None = None,
        hard: float | None = None,
        destination: Names = None,
        **options: Any,
    ) -> Replies | None:
        """Set for how long (s) a task may run: after `soft` SoftTimeLimitExceeded is raised in it, after `hard` it is ended."""
        arguments = {"task_name": task_name, "hard": hard, "soft": soft}
        return self.broadcast("time_limit", arguments, destination, **options)

    # queues --------------------------------------------------------------------------------------------------------------

    def add_consumer(
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str = "direct",
        routing_key: str | None = None,
        options: Mapping[str, Any] | None = None,
        destination: Names = None,
        **more: Any,
    ) -> Replies | None:
        """Have workers consume from another queue, too; exchange and routing key are called as it unless they are given."""
        arguments = {
            "queue": queue,
            "exchange": exchange,
            "exchange_type": exchange_type,
            "routing_key": routing_key,
            **(options or {}),
        }
        return self.broadcast("add_consumer", arguments, destination, **more)

    def cancel_consumer(self, queue: str, destination: Names = None, **options: Any) -> Replies | None:
        """Have workers no longer consume from a queue."""
        return self.broadcast("cancel_consumer", {"queue": queue}, destination, **options)

    def purge(self, connection: Any = None) -> int:
        """Drop the messages that wait in the app's queues; how many there were. What workers hold or have parked stays."""
        if connection is not None:
            raise UnsupportedOption(f"connection={connection!r}: the app's own broker is emptied; leave it out")
        queues = [queue.name for queue in self.app.topology.queues.values() if not queue.per_node]
        return sum(map(self.app.worker_broker.purge, queues))

    discard_all = purge

    # pools and workers ---------------------------------------------------------------------------------------------------

    def pool_grow(self, n: int = 1, destination: Names = None, **options: Any) -> Replies | None:
        """Have workers run `n` children more."""
        return self.broadcast("pool_grow", {"n": n}, destination, **options)

    def pool_shrink(self, n: int = 1, destination: Names = None, **options: Any) -> Replies | None:
        """Have workers run `n` children fewer."""
        return self.broadcast("pool_shrink", {"n": n}, destination, **options)

    def pool_restart(
        self,
        modules: Sequence[str] | None = None,
        reload: bool = False,
        reloader: Any = None,
        destination: Names = None,
        **options: Any,
    ) -> Replies | None:
        """Have workers replace their children; of Celery's those that have `worker_pool_restarts` set."""
        arguments = {"modules": list(modules) if modules else None, "reload": reload, "reloader": reloader}
        return self.broadcast("pool_restart", arguments, destination, **options)

    def autoscale(
        self,
        max: int,
        min: int,
        destination: Names = None,
        **options: Any,
    ) -> Replies | None:
        """Have workers that were started with --autoscale keep between `min` and `max` children."""
        return self.broadcast("autoscale", {"max": max, "min": min}, destination, **options)

    def shutdown(self, destination: Names = None, **options: Any) -> Replies | None:
        """Have workers end when what they run is done. Celery's don't reply to it."""
        return self.broadcast("shutdown", {}, destination, **options)

    def ping(self, destination: Names = None, timeout: float = 1.0, **options: Any) -> Replies:
        """Who is there: a list of `{name: {"ok": "pong"}}`."""
        found = self.broadcast("ping", {}, destination, reply=True, timeout=timeout, **options)
        assert found is not None
        return found

    def enable_events(self, destination: Names = None, **options: Any) -> Replies | None:
        """Have workers send an event for each step of their tasks."""
        return self.broadcast("enable_events", {}, destination, **options)

    def disable_events(self, destination: Names = None, **options: Any) -> Replies | None:
        """Have workers send no events of tasks any more."""
        return self.broadcast("disable_events", {}, destination, **options)

    def heartbeat(self, destination: Names = None, **options: Any) -> Replies | None:
        """Have workers send a heartbeat now."""
        return self.broadcast("heartbeat", {}, destination, **options)

    def election(self, id: str, topic: str, action: Any = None, connection: Any = None) -> None:
        """Have one worker of all act: with `topic` "task" it sends the task whose signature is `action`."""
        self.broadcast("election", {"id": id, "topic": topic, "action": action}, connection=connection)
