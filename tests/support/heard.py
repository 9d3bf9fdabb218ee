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
        self._url = url
        self._app = celery.Celery("heard", broker=url, set_as_current=False)
        # RabbitMQ drops what has waited for so long (s); a loaded machine takes more than the usual five
        self._app.conf.event_queue_ttl = 60.0
        self.events: list[dict[str, Any]] = []
        self.messages: list[tuple[str, dict[str, Any], Any]] = []
        """Of each message its routing key, its headers and its properties."""
        self.state: State = self._app.events.State()
        self.over = threading.Event()
        self._failure: Exception | None = None
        self._probes = 0

    @contextmanager
    def listening(self) -> Iterator[Heard]:
        """From its begin on nothing is missed."""
        # by its URL: CELERY_BROKER_URL would go before what the app was given
        with self._app.connection_for_read(self._url) as connection:
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
        with self._app.connection_for_write(self._url) as connection, self._app.events.Dispatcher(connection) as own:
            own.send("heard-probe")
        time.sleep(0.01)
        return bool(self._probes)

    def _drain(self, connection: Any) -> None:
        while not self.over.is_set():
            try:
                connection.drain_events(timeout=0.1)
            except TimeoutError:
                pass
            except Exception as error:  # nothing is heard from here on: who waits is told why
                self._failure = error
                return

    def _event(self, event: dict[str, Any]) -> None:
        if event["type"] == "heard-probe":
            self._probes += 1
            return
        # in this order: who has waited for the event looks into the state
        self.state.event(dict(event))
        self.events.append(event)

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
            if self._failure is not None:
                raise AssertionError(f"nothing is heard any more: {self._failure!r}") from self._failure
            found = [event for event in [*self.events] if fact(event)]
            return found if len(found) >= count else []

        return until(there, timeout, what=f"{count} such events among {self.events[-20:]}")

    def wait_types(self, type: str, count: int = 1, timeout: float = 30) -> list[dict[str, Any]]:
        """At least `count` events of this type."""
        return self.wait(lambda event: event["type"] == type, count, timeout)
