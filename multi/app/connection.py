"""What `app.connection()` gives: the app's way to its broker, for what takes a connection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from multi.app.lacking import OF_CONNECTIONS, Lacks
from multi.errors import BrokerUnavailable
from multi.urls import mask

if TYPE_CHECKING:
    from multi.brokers.base import Broker
    from multi.message import Message
    from multi.talk import Subscription


class Connection(Lacks):
    """`with app.connection() as connection: app.events.Receiver(connection, …)`. The app holds the real connections and makes
    them when they are needed, so there is nothing to open, and `close` leaves the app's own alone."""

    _lacking = OF_CONNECTIONS
    _called = "app.connection()"

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def as_uri(self, include_password: bool = False, mask_password: str = "**") -> str:
        """The broker's URL; its password is masked unless it is asked for."""
        return self._broker.url if include_password else mask(self._broker.url)

    @property
    def connection_errors(self) -> tuple[type[BaseException], ...]:
        """What is raised when the broker can't be reached, or is lost."""
        return (BrokerUnavailable, OSError)

    channel_errors = connection_errors
    recoverable_connection_errors = connection_errors

    def connect(self) -> Connection:
        """Look whether the broker answers. Raises `BrokerUnavailable`."""
        self._broker.check()
        return self

    def ensure_connection(
        self,
        errback: Callable[[BaseException, float], object] | None = None,
        max_retries: int | None = None,
        interval_start: float = 2,
        interval_step: float = 2,
        interval_max: float = 30,
        callback: Callable[[], object] | None = None,
        timeout: float | None = None,
    ) -> Connection:
        """Wait until the broker answers, for `timeout` seconds or `max_retries` tries at most; `errback(error, seconds)` is told
        of each one that fails, `callback` is called before the next. Raises `BrokerUnavailable`."""
        from time import monotonic, sleep

        begin, tries, pause = monotonic(), 0, float(interval_start)
        while True:
            try:
                return self.connect()
            except BrokerUnavailable as error:
                tries += 1
                is_late = timeout is not None and monotonic() - begin + pause > timeout
                if is_late or (max_retries is not None and tries > max_retries):
                    raise
                if errback is not None:
                    errback(error, pause)
            if callback is not None:
                callback()
            sleep(pause)
            pause = min(pause + interval_step, interval_max)

    def say(self, exchange: str, message: Message, *, key: str = "", kind: str = "fanout") -> int | None:
        """See `multi.talk`."""
        return self._broker.say(exchange, message, key=key, kind=kind)

    def subscribe(
        self,
        exchange: str,
        *,
        keys: Sequence[str] = ("",),
        kind: str = "fanout",
        queue: str = "",
        expires: float = 60.0,
        ttl: float | None = None,
    ) -> Subscription:
        """See `multi.talk`."""
        return self._broker.subscribe(exchange, keys=keys, kind=kind, queue=queue, expires=expires, ttl=ttl)

    def close(self) -> None:
        """Nothing: `app.close()` closes the connections of the app."""

    release = close

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Connection: {self.as_uri()}>"
