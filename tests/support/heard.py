"""What is told by events, as the real Celery's receiver and its state have it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import celery
from celery.events.state import State

from support.wait import until


class Heard:
    """All events since it began to listen, in the order in which they came, and the state that Celery's makes of them."""

    def __init__(self, url: str) -> None:
        self._app = celery.Celery("heard", broker=url, set_as_current=False)
        self.events: list[dict[str, Any]] = []
        self.messages: list[tuple[str, dict[str, Any], Any]] = []
        """Of each message its routing key, its headers and its properties."""
        self.state: State = self._app.events.State()
        self.over = threading.Event()
        self._probes = 0

    @contextmanager
    def listening(self) -> Iterator[Heard]:
        """From its begin on nothing is missed."""
        with self._app.connection_for_read() as connection:
            receiver = self._app.events.Receiver(connection, handlers={"*": self._event})
            received = receiver._receive

            def receive(body: Any, message: Any, *rest: Any) -> Any:
                if (key := message.delivery_info["routing_key"]) != "heard.probe":
                    self.messages.append((key, message.headers, message.properties))
                return received(body, message, *rest)

            receiver._receive = receive
            with receiver.consumer_context() as (own, _, _):
                thread = threading.Thread(target=self._drain, args=(own,), daemon=True)
                thread.start()
                try:
                    until(self._hears_itself, 30, what="that Celery's receiver hears anything")
                    yield self
                finally:
                    self.over.set()
                    thread.join()

    def _hears_itself(self) -> bool:
        """Whether an event of ours has come: kombu subscribes when it reads for the first time."""
        with self._app.events.default_dispatcher() as dispatcher:
            dispatcher.send("heard-probe")
        time.sleep(0.01)
        return bool(self._probes)

    def _drain(self, connection: Any) -> None:
        while not self.over.is_set():
            try:
                connection.drain_events(timeout=0.1)
            except TimeoutError:
                pass

    def _event(self, event: dict[str, Any]) -> None:
        if event["type"] == "heard-probe":
            self._probes += 1
            return
        self.events.append(event)
        self.state.event(dict(event))

    # what came ---------------------------------------------------------------------------------------------------------------

    def of(self, task_id: str) -> list[dict[str, Any]]:
        """The events of one task, in the order of their clocks."""
        found = [event for event in [*self.events] if event.get("uuid") == task_id and event["type"] != "task-sent"]
        return sorted(found, key=lambda event: int(event["clock"]))

    def types(self, task_id: str) -> list[str]:
        return [event["type"].removeprefix("task-") for event in self.of(task_id)]

    def wait(self, fact: Callable[[dict[str, Any]], Any], count: int = 1, timeout: float = 30) -> list[dict[str, Any]]:
        """At least `count` events of which this is true."""

        def there() -> list[dict[str, Any]]:
            found = [event for event in [*self.events] if fact(event)]
            return found if len(found) >= count else []

        return until(there, timeout, what=f"{count} such events among {self.events[-20:]}")

    def wait_types(self, type: str, count: int = 1, timeout: float = 30) -> list[dict[str, Any]]:
        """At least `count` events of this type."""
        return self.wait(lambda event: event["type"] == type, count, timeout)
