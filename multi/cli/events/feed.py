"""The stream of events for a command: connected as long as the command runs, and what is known of the stream itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from multi.app.events.receiver import Receiver
from multi.app.events.tracked import Event
from multi.errors import BrokerUnavailable, MultiError

if TYPE_CHECKING:
    from multi.app.app import App

_LOOK = 0.5  # seconds between looks whether to stop
_FIRST, _LONGEST = 0.5, 8.0  # seconds between the tries to connect again
#: Seconds after which it is told that nothing comes; two heartbeats of a worker, and some time to spare.
SILENCE = 6.0
_MOST_WORKERS = 5000


class Silent:
    """Which workers run tasks and tell nothing of them: their heartbeats count tasks of which no event has come."""

    def __init__(self) -> None:
        self._processed: dict[str, int] = {}
        self._telling: set[str] = set()
        self.names: dict[str, None] = {}

    def hear(self, event: Event) -> None:
        hostname, kind = event.get("hostname"), event["type"]
        if not isinstance(hostname, str):
            return
        if kind.startswith("task-") and kind != "task-sent":
            if hostname not in self._telling and len(self._telling) < _MOST_WORKERS:
                self._telling.add(hostname)
            self.names.pop(hostname, None)
        elif kind == "worker-offline":
            self._forget(hostname)
        elif kind.startswith("worker-"):
            processed = event.get("processed")
            if not isinstance(processed, int) or hostname in self._telling:
                return
            if len(self._processed) >= _MOST_WORKERS and hostname not in self._processed:
                return
            if processed > self._processed.setdefault(hostname, processed):
                self.names[hostname] = None

    def _forget(self, hostname: str) -> None:
        self._processed.pop(hostname, None)
        self._telling.discard(hostname)
        self.names.pop(hostname, None)


class Feed:
    """Calls `take` with each event. `tell` is called with a text when the broker is lost or found again."""

    def __init__(
        self, app: App, take: Callable[[Event], Any], *, enable: bool = False, tell: Callable[[str], None] | None = None
    ) -> None:
        self.app = app
        self.silent = Silent()
        self.enable = enable
        """Whether workers are asked to send events of tasks, those that come later too."""
        self.trouble = ""
        """Why there is no connection now."""
        self.connected: float | None = None
        """Since when there is one, by the monotonic clock."""
        self.count = 0
        self.tick: Callable[[], object] = lambda: None
        """Called now and then where the events are received."""
        self._take = take
        self._tell = tell or (lambda text: None)
        self._stop = threading.Event()
        self._known = False  # whether there was a connection already
        self._receiver = Receiver(handlers={"*": self._on_event}, app=app)

    @property
    def unreadable(self) -> int:
        return self._receiver.unreadable

    def lack(self) -> str:
        """What is to be said of a stream on which too little comes; "" where enough does."""
        if self.connected is None:
            return ""
        if self.silent.names:
            names = [*self.silent.names]
            return f"{', '.join(names[:3])}{' and others' if len(names) > 3 else ''}: tasks run there of which nothing is told"
        if not self.count and monotonic() - self.connected > SILENCE:
            return (
                f"no worker has told anything at {self.app.worker_broker.masked}: none runs there, or without heartbeats and "
                "events"
            )
        return ""

    def start(self) -> None:
        """Receive in a thread of its own."""
        threading.Thread(target=self.run, name="events", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def run(self) -> None:
        """Receive until `stop`."""
        subscription = None
        pause, looked = _FIRST, 0.0
        try:
            while not self._stop.is_set():
                try:
                    if subscription is None:
                        subscription = self._receiver.subscribe()
                    message = subscription.get(_LOOK if self.connected is not None else 0.01)
                except BrokerUnavailable as error:
                    self._lost(error, pause)
                    self._stop.wait(pause)
                    pause = min(pause * 2, _LONGEST)
                    continue
                if self.connected is None:
                    self._found()
                    pause = _FIRST
                if message is not None:
                    self._receiver.receive(message)
                if monotonic() >= looked + _LOOK:
                    looked = monotonic()
                    self.tick()
        finally:
            if subscription is not None:
                subscription.close()

    def _lost(self, error: BrokerUnavailable, pause: float) -> None:
        self.connected = None
        text = f"the broker is away: {error}; trying again"
        if text != self.trouble:
            self._tell(text)
        self.trouble = text

    def _found(self) -> None:
        if self.trouble:
            self._tell(
                "the broker is back; what was told meanwhile is lost" if self._known else "the broker is there now"
            )
        self._known = True
        self.trouble = ""
        self.connected = monotonic()
        self._ask(self._receiver.wakeup_workers)
        if self.enable:
            self.ask_for_events()

    def ask_for_events(self, destination: list[str] | None = None) -> None:
        """Have workers send events of tasks from now on."""
        self._ask(lambda: self.app.control.broadcast("enable_events", destination=destination))
        self.silent = Silent()  # what has run until now is no sign of silence

    def _ask(self, request: Callable[[], object]) -> None:
        try:
            request()
        except MultiError as error:
            self._tell(f"the workers can't be asked: {error}")

    def _on_event(self, event: Event) -> None:
        self.count += 1
        self.silent.hear(event)
        if self.enable and event["type"] == "worker-online" and isinstance(event.get("hostname"), str):
            self.ask_for_events([event["hostname"]])
        self._take(event)
