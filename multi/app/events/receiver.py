"""Receives what workers and clients tell: `app.events.Receiver(handlers={"task-failed": alarm, "*": state.event}).capture()`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import monotonic, time
from typing import TYPE_CHECKING, Any, ClassVar

from multi.app.connections import broker_options
from multi.app.events.tracked import Event
from multi.codecs import accepted, pick
from multi.compression import decompress
from multi.errors import ContentDisallowed, DecodeError, UnsupportedOption
from multi.log import get_logger
from multi.talk import TOPIC, open_talk

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.message import Message
    from multi.talk import Subscription, Talk

_LOOK = 0.25  # seconds between looks whether to stop
#: A client's clock is kept by nobody, so its events count as just before what came last.
_CLIENT_CLOCK_SKEW = -1
#: A clock beyond it is no clock: who took it over could hardly go on counting.
_LATEST = 1 << 62


class Receiver:
    """Calls `handlers[type]` with each event, or `handlers["*"]` where there is none for its type.

    `channel` is the connection: None for that of the app, a broker, or a connection of kombu's (of which the URL is taken).
    `routing_key` chooses what is heard: "#" all of it, "worker.#" what workers tell of themselves, "task.#" of tasks.
    The queue is this receiver's own and goes with it; what it doesn't fetch within `queue_ttl` seconds is dropped, and so is
    the queue when nobody asks for `queue_expires` seconds. `unreadable` counts what came and was no event.
    """

    app: ClassVar[App | None] = None

    def __init__(
        self,
        channel: Any = None,
        handlers: Mapping[str, Callable[[Event], Any]] | None = None,
        routing_key: str = "#",
        node_id: str | None = None,
        app: App | None = None,
        queue_prefix: str | None = None,
        accept: Iterable[str] | None = None,
        queue_ttl: float | None = None,
        queue_expires: float | None = None,
        queue_exclusive: bool | None = None,
        queue_durable: bool | None = None,
    ) -> None:
        from multi.app import current

        app = app or type(self).app or current.get()
        if queue_durable or queue_exclusive is False:
            raise UnsupportedOption(
                "queue_durable=True, queue_exclusive=False: the queue of a receiver is its own and goes with it, for events are "
                "only worth something when they are new; have a receiver that runs all the time keep what is to be kept"
            )
        conf = app.conf
        self._app = app
        self.channel = channel
        self._connection: Talk | None = None
        self.handlers: Mapping[str, Callable[[Event], Any]] = {} if handlers is None else handlers
        self.routing_key = routing_key
        self.node_id = node_id or str(uuid.uuid4())
        self.queue_prefix = queue_prefix or conf.event_queue_prefix
        self.queue_ttl = conf.event_queue_ttl if queue_ttl is None else queue_ttl
        self.queue_expires = conf.event_queue_expires if queue_expires is None else queue_expires
        self.accept = {*(accept if accept is not None else (conf.event_serializer, "json"))}
        self._codecs = accepted(self.accept)
        self.clock = app.clock
        self.adjust_clock, self.forward_clock = self.clock.adjust, self.clock.forward
        self.should_stop = False
        """Set it to True, and `capture` ends within a second."""
        self.unreadable = 0

    @property
    def queue(self) -> str:
        """The name of the queue, where the broker has queues for this."""
        return f"{self.queue_prefix}.{self.node_id}"

    @property
    def connection(self) -> Talk:
        """Where it listens."""
        if self._connection is None:
            self._connection = talk_of(self._app, self.channel)
        return self._connection

    # capturing -------------------------------------------------------------------------------------------------------

    def capture(self, limit: int | None = None, timeout: float | None = None, wakeup: bool = True) -> None:
        """Call the handlers with what comes, until `should_stop` is set or `limit` messages have come (one may hold several
        events). Raises `TimeoutError` when nothing comes for `timeout` seconds, and `BrokerLost` when the broker is gone.

        With `wakeup` all workers are asked for a heartbeat at the start, so that they are known at once.
        """
        for _ in self.itercapture(limit, timeout, wakeup):
            pass

    def itercapture(
        self, limit: int | None = None, timeout: float | None = None, wakeup: bool = True
    ) -> Iterator[None]:
        """As `capture`; stops after each message."""
        subscription = self.subscribe()
        try:
            if wakeup:
                self.wakeup_workers()
            yield from self._each(subscription, limit, timeout)
        finally:
            subscription.close()

    def subscribe(self) -> Subscription:
        """Listen: from now on nothing is missed."""
        return self.connection.subscribe(
            self._app.conf.event_exchange,
            keys=(self.routing_key,),
            kind=TOPIC,
            queue=self.queue,
            expires=self.queue_expires,
            ttl=self.queue_ttl,
        )

    def _each(self, subscription: Subscription, limit: int | None, timeout: float | None) -> Iterator[None]:
        taken = 0
        heard = monotonic()
        while not self.should_stop and (limit is None or taken < limit):
            left = _LOOK if timeout is None else timeout - (monotonic() - heard)
            message = subscription.get(max(0.0, min(_LOOK, left)))
            if message is not None:
                heard = monotonic()
                taken += 1
                self.receive(message)
                yield
            elif timeout is not None and monotonic() - heard >= timeout:
                raise TimeoutError(f"no event has come within {timeout:g} s")

    def wakeup_workers(self, channel: Any = None) -> None:
        """Ask all workers for a heartbeat, so that they are known at once."""
        self._app.control.broadcast("heartbeat")

    # events ----------------------------------------------------------------------------------------------------------

    def receive(self, message: Message) -> None:
        """Call the handlers with the events of one message."""
        try:
            body = pick(self._codecs, message.content_type).loads(_plain(message))
        except (DecodeError, ContentDisallowed) as error:
            return self._refuse(str(error))
        for event in body if isinstance(body, list) else (body,):
            if isinstance(event, dict) and isinstance(event.get("type"), str):
                self.process(*self.event_from_message(event))
            else:
                self._refuse("it is no mapping with a type")
        return None

    def process(self, type: str, event: Event) -> None:
        """Call the handler for an event of this type, if there is one."""
        handler = self.handlers.get(type) or self.handlers.get("*")
        if handler is not None:
            handler(event)

    def event_from_message(self, body: Event) -> tuple[str, Event]:
        """The type of an event, and the event with its logical clock and the moment at which it came (`local_received`).

        Its `timestamp` is Unix time, which is the same in all time zones, and stays as it is (Celery's receivers move it by
        `utcoffset`, and then workers of other zones seem to be out of time).
        """
        kind: str = body["type"]
        clock = body.get("clock")
        if kind == "task-sent":
            body["clock"] = clock = (self.clock.value or 1) + _CLIENT_CLOCK_SKEW
            self.adjust_clock(clock)
        elif type(clock) is int and 0 <= clock < _LATEST:
            self.adjust_clock(clock)
        else:
            body["clock"] = self.forward_clock()
        body["local_received"] = time()
        return kind, body

    def _refuse(self, why: str) -> None:
        self.unreadable += 1
        if self.unreadable == 1:
            get_logger(__name__).warning(
                "something came that is no event and is left out, as will be all like it: %s", why
            )


EventReceiver = Receiver  # Celery's name of the class


def talk_of(app: App, connection: Any) -> Talk:
    """The way to the broker that a program's connection means: None the app's, a broker or talk itself, or where a connection
    of kombu's leads."""
    if connection is None:
        return app.worker_broker
    if callable(getattr(connection, "subscribe", None)):
        found: Talk = connection
        return found
    client = getattr(getattr(connection, "connection", None), "client", None)  # a channel's
    for thing in (connection, client):
        as_uri = getattr(thing, "as_uri", None)
        if callable(as_uri):
            return open_talk(as_uri(include_password=True), broker_options(app))
    raise TypeError(f"a connection is None for the app's own, or one of kombu's, not {connection!r}")


def _plain(message: Message) -> bytes:
    squeezed = message.headers.get("compression")
    return decompress(message.body, squeezed) if squeezed else message.body
