"""Questions to workers: what they run, hold, know and consume from. Asking changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from multi.app.control.replies import flatten_reply
from multi.app.control.request import matches
from multi.errors import UnsupportedOption

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.app.control.mailbox import Callback

#: What each worker replies, by its name; None when nobody answers.
Answers = dict[str, Any] | None


class Inspect:
    """What workers tell, by their names; None when nobody answers.

    `destination` names those who are asked: a list, or one name, of which the answer is then that worker's alone. `pattern`
    chooses by name, as a glob or with `matcher="pcre"` as a regular expression. `timeout` is in seconds, `limit` ends the
    waiting after so many replies, `callback` is given each reply as it comes.
    """

    app: App | None = None

    def __init__(
        self,
        destination: Sequence[str] | str | None = None,
        timeout: float | None = 1.0,
        callback: Callback | None = None,
        connection: Any = None,
        app: App | None = None,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> None:
        found = app or self.app
        if found is None:
            raise UnsupportedOption("Inspect needs an app: take app.control.inspect(…), or give app=…")
        self.app = found
        self.destination = destination
        self.timeout = timeout
        self.callback = callback
        self.connection = connection
        self.limit = limit
        self.pattern = pattern
        self.matcher = matcher

    def _request(self, command: str, **arguments: Any) -> Any:
        """Ask for a command by its name, as one of the project's own."""
        assert self.app is not None
        one = isinstance(self.destination, str)
        return self._prepare(
            self.app.control.broadcast(
                command,
                arguments,
                [self.destination] if one else self.destination,  # type: ignore[list-item]  # told apart by `one`
                connection=self.connection,
                reply=True,
                timeout=self.timeout,
                limit=self.limit,
                callback=self.callback,
                pattern=self.pattern,
                matcher=self.matcher,
            )
        )

    def _prepare(self, reply: Sequence[dict[str, Any]] | None) -> Any:
        if not reply:
            return None
        found = flatten_reply(reply)
        if isinstance(self.destination, str):
            return found.get(self.destination)
        if self.pattern:
            return {name: each for name, each in found.items() if matches(name, self.pattern, self.matcher)}
        return found

    def ping(self, destination: Sequence[str] | str | None = None) -> Any:
        """Who is there: `{name: {"ok": "pong"}}`."""
        if destination:
            self.destination = destination
        return self._request("ping")

    def active(self, safe: bool | None = None) -> Any:
        """The tasks that run, a list for each worker."""
        return self._request("active", safe=safe)

    def scheduled(self) -> Any:
        """The tasks that wait for their time, with multi in the broker: a list of `{"eta", "priority", "request"}` for each."""
        return self._request("scheduled")

    def reserved(self) -> Any:
        """The tasks that a worker has taken and not begun."""
        return self._request("reserved")

    def revoked(self) -> Any:
        """The ids of revoked tasks that each worker knows."""
        return self._request("revoked")

    def query_task(self, *ids: Any) -> Any:
        """What workers know of tasks by their ids: `{id: [state, {…}]}` for each worker; ids one by one or in a list."""
        if len(ids) == 1 and isinstance(ids[0], list | tuple):
            ids = tuple(ids[0])
        return self._request("query_task", ids=list(ids))

    def registered(self, *taskinfoitems: str) -> Any:
        """The names of the tasks that each worker knows; with `taskinfoitems`, also those attributes of theirs."""
        return self._request("registered", taskinfoitems=list(taskinfoitems))

    registered_tasks = registered

    def stats(self) -> Any:
        """Figures of each worker: its pool, broker, totals by task, resources."""
        return self._request("stats")

    def active_queues(self) -> Any:
        """The queues that each worker consumes from."""
        return self._request("active_queues")

    def conf(self, with_defaults: bool = False) -> Any:
        """The settings of each worker, without their secrets."""
        return self._request("conf", with_defaults=with_defaults)

    def report(self) -> Any:
        """A text for a bug report: `{name: {"ok": text}}`."""
        return self._request("report")

    def clock(self) -> Any:
        """The logical clock of each worker: `{name: {"clock": number}}`."""
        return self._request("clock")

    def hello(self, from_node: str, revoked: Mapping[str, Any] | None = None) -> Any:
        """What workers tell each other at their start: what is revoked, and their clock."""
        return self._request("hello", from_node=from_node, revoked=revoked)

    def memsample(self) -> Any:
        """How much memory (RSS) each worker takes now."""
        return self._request("memsample")

    def memdump(self, samples: int = 10) -> Any:
        """How much memory each worker took at the last samples."""
        return self._request("memdump", samples=samples)

    def objgraph(self, type: str = "Request", n: int = 200, max_depth: int = 10) -> Any:
        """Have each worker draw which objects keep objects of a type alive."""
        return self._request("objgraph", num=n, max_depth=max_depth, type=type)
