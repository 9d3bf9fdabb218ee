"""Messages and their runs for unit tests, on the memory broker, in the calling thread."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from multi.app.app import App
from multi.brokers.base import Settlement, WatchEvents
from multi.loop import Loop
from multi.message import Message
from multi.outcome import Outcome
from multi.testing import LocalWorker


def make_app(main: str = "proj", **settings: Any) -> App:
    """An app on a memory broker and backend of its own."""
    url = f"memory://{uuid.uuid4().hex}"
    return App(main, broker=url, backend=settings.pop("backend", url), set_as_current=False, **settings)


def ignore(*_: object) -> None:
    """For events that don't matter here."""


@contextmanager
def lane(app: App, queues: Sequence[str] = ("celery",)) -> Iterator[Any]:
    """A lane on the app's broker."""
    loop = Loop()
    events = WatchEvents(on_up=lambda: None, on_down=ignore, on_refused=ignore, on_message=ignore, claims=lambda: ())
    watch = app.broker.watch(loop, queues, app.backend, "inline", events)
    watch.start()
    port = watch.port("inline-1")
    opened = port.open()
    try:
        yield opened
    finally:
        opened.close()
        port.release()
        watch.stop()
        loop.close()


def claim(app: App, queues: Sequence[str] = ("celery",)) -> Message:
    """The next message, taken out of its queue."""
    with lane(app, queues) as opened:
        (delivery,) = opened.exchange([], 1)
        opened.exchange([Settlement(delivery.tag, delivery.fence, delivery.queue)], 0)
        assert isinstance(delivery.message, Message)
        return delivery.message


def work(app: App, queues: Sequence[str] = ("celery",)) -> list[Outcome]:
    """Run what waits in the queues, and what follows from it, until nothing waits any more."""
    return LocalWorker(app, queues, hostname="w1@test").drain()
