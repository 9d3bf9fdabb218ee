"""What an app has of events: where they are told and heard, and the clock that orders them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.app.events.events import Events
    from multi.lamport import Clock

#: What takes an event in a process of a worker: its routing key, the name of its host, and the event as JSON text.
Sink = Callable[[str, str, bytes], None]


class SendsEvents:
    """What `App` has of this. Nothing is made before it is asked for."""

    _clock: Clock | None = None
    _events: Events | None = None
    #: in a process of a worker: what takes its events, so that nobody waits for the broker
    event_sink: Sink | None = None

    def _app(self) -> App:
        return self  # type: ignore[return-value]  # nothing else has it

    @property
    def clock(self) -> Clock:
        """The logical clock of this process; a worker and its children share one."""
        if self._clock is None:
            from multi.lamport import Clock

            self._clock = Clock()
        return self._clock

    @property
    def events(self) -> Events:
        """`app.events.Dispatcher`, `app.events.Receiver`, `app.events.State`."""
        if self._events is None:
            from multi.app.events.events import Events

            self._events = Events(self._app())
        return self._events

    def send_event(self, type: str, **fields: Any) -> None:
        """Tell whoever listens now of something: `app.send_event("deploy-finished", version="1.2")`."""
        with self.events.default_dispatcher() as dispatcher:
            dispatcher.send(type, **fields)
