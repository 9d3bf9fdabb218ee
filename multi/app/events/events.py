"""`app.events`: the classes of an app that tell events and hear them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from multi.app.events.dispatcher import EventDispatcher

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.app.events.receiver import Receiver
    from multi.app.events.state import State


class Events:
    """One app's."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._own: EventDispatcher | None = None

    def Dispatcher(  # noqa: N802 - Celery's name
        self,
        connection: Any = None,
        hostname: str | None = None,
        enabled: bool = True,
        channel: Any = None,
        **options: Any,
    ) -> EventDispatcher:
        """A dispatcher of this app, see `EventDispatcher`."""
        return EventDispatcher(connection, hostname, enabled, channel, app=self.app, **options)

    @contextmanager
    def default_dispatcher(
        self, hostname: str | None = None, enabled: bool = True, buffer_while_offline: bool = False
    ) -> Iterator[EventDispatcher]:
        """A dispatcher for a few events: `with app.events.default_dispatcher() as told: told.send("deploy-begun")`."""
        with self.Dispatcher(
            hostname=hostname, enabled=enabled, buffer_while_offline=buffer_while_offline
        ) as dispatcher:
            yield dispatcher

    @property
    def Receiver(self) -> type[Receiver]:  # noqa: N802 - Celery's name
        """The class of this app's receivers: `app.events.Receiver(handlers={"*": f}).capture()`."""
        from multi.app.events.receiver import Receiver

        return type("Receiver", (Receiver,), {"app": self.app, "__module__": Receiver.__module__})

    @property
    def State(self) -> type[State]:  # noqa: N802 - Celery's name
        """The class of what is known of workers and tasks from their events."""
        from multi.app.events.state import State

        return State

    def of_process(self) -> EventDispatcher:
        """The one that tells what this process sends; kept, and never closed."""
        if self._own is None or self._own.pid != os.getpid():
            self._own = self.Dispatcher(enabled=False)
        return self._own
