"""Telling events: from any program that has the app, and from a task."""

from __future__ import annotations

import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from threading import RLock
from typing import TYPE_CHECKING, Any

from multi import identity
from multi.app.events.event import Event, group_from, message, routing_key, utcoffset
from multi.codecs import JSON, Codec, codec
from multi.errors import BrokerUnavailable

if TYPE_CHECKING:
    from multi.app.app import App

#: Events that wait for a broker that is away; the oldest are forgotten then.
WAITING = 10_000


class EventDispatcher:
    """Tells events, each at once or, those of the groups in `buffer_group`, several in one message.

    `hostname` is who tells them, this process unless it is said. Only events of `groups` are told, where any are named. Of what
    can't be told because the broker is away, `buffer_while_offline` keeps the latest for `flush`; without it that is an error.
    In a process of a worker the worker sends them: nothing waits there, and nothing is raised.
    """

    def __init__(
        self,
        connection: Any = None,
        hostname: str | None = None,
        enabled: bool = True,
        channel: Any = None,
        buffer_while_offline: bool = True,
        app: App | None = None,
        serializer: str | None = None,
        groups: Iterable[str] | None = None,
        delivery_mode: int = 1,
        buffer_group: Iterable[str] | None = None,
        buffer_limit: int = 24,
        on_send_buffered: Callable[[], None] | None = None,
    ) -> None:
        if app is None:
            from multi.app import current

            app = current.get()
        self.app = app
        self.connection, self.channel = connection, channel
        self.hostname = hostname or identity.origin()
        self.buffer_while_offline = buffer_while_offline
        self.buffer_group = frozenset(buffer_group or ())
        self.buffer_limit = buffer_limit
        self.on_send_buffered = on_send_buffered
        self.serializer = serializer or app.conf.event_serializer
        self.groups = set(groups or ())
        self.delivery_mode = delivery_mode
        self.clock = app.clock
        self.exchange: str = app.conf.event_exchange
        self.headers = {"hostname": self.hostname}
        self.pid = os.getpid()
        self.on_enabled: set[Callable[[], None]] = set()
        self.on_disabled: set[Callable[[], None]] = set()
        self.mutex = RLock()
        self._codec: Codec = codec(self.serializer)
        self._buffered: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self._waiting: deque[tuple[Any, str]] = deque(maxlen=WAITING)
        self.enabled = enabled

    # telling ---------------------------------------------------------------------------------------------------------------

    def send(
        self,
        type: str,
        blind: bool = False,
        utcoffset: Callable[[], float] = utcoffset,
        retry: bool = False,
        retry_policy: Mapping[str, Any] | None = None,
        Event: Callable[..., dict[str, Any]] = Event,  # noqa: N803 - Celery's name
        **fields: Any,
    ) -> None:
        """Tell an event with these fields, if this dispatcher is enabled and for its group.

        `blind` leaves the logical clock alone; with `retry` it is tried again as `retry_policy` says.
        """
        if not self.enabled:
            return
        group = group_from(type)
        if self.groups and group not in self.groups:
            return
        event = self._event(type, fields, blind, Event, utcoffset)
        if group in self.buffer_group:
            with self.mutex:
                several = self._buffered[group]
                several.append(event)
                full = len(several) >= self.buffer_limit
            if full:
                self.flush()
            elif self.on_send_buffered is not None:
                self.on_send_buffered()
        else:
            self.tell(event, routing_key(type), retry, retry_policy)

    def publish(
        self,
        type: str,
        fields: Mapping[str, Any],
        producer: Any = None,
        blind: bool = False,
        Event: Callable[..., dict[str, Any]] = Event,  # noqa: N803 - Celery's name
        retry: bool = False,
        retry_policy: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Tell an event whether this dispatcher is enabled or not; `producer` is of no use here."""
        self.tell(self._event(type, fields, blind, Event, utcoffset), routing_key(type), retry, retry_policy)

    def _event(
        self,
        type: str,
        fields: Mapping[str, Any],
        blind: bool,
        make: Callable[..., dict[str, Any]],
        offset: Callable[[], float],
    ) -> dict[str, Any]:
        clock = None if blind else self.clock.forward()
        return make(type, hostname=self.hostname, utcoffset=offset(), pid=self.pid, clock=clock, **fields)

    def tell(self, event: Any, key: str, retry: bool = False, policy: Mapping[str, Any] | None = None) -> None:
        """Tell a whole event, or a list of them, under this routing key."""
        sink = self.app.event_sink
        if sink is not None:
            for each in event if isinstance(event, list) else [event]:
                sink(key, self.hostname, JSON.dumps(each))
            return
        body = self._codec.dumps(event)
        told = message(body, self.hostname, self._codec.content_type, self._codec.content_encoding, self.delivery_mode)

        def say() -> None:
            self.app.broker.say(self.exchange, told, key=key, kind="topic")

        try:
            try:
                say()
            except BrokerUnavailable:
                if not retry:
                    raise
                self.app.try_again(say, policy)
        except BrokerUnavailable:
            if not self.buffer_while_offline:
                raise
            with self.mutex:
                self._waiting.append((event, key))

    def flush(self, errors: bool = True, groups: bool = True) -> None:
        """Tell what waits for a broker that was away (`errors`), and what waits for others of its group (`groups`)."""
        if errors:
            with self.mutex:
                waiting = list(self._waiting)
                self._waiting.clear()
            for event, key in waiting:
                self.tell(event, key)
        if groups:
            with self.mutex:
                buffered = [(group, several) for group, several in self._buffered.items() if several]
                self._buffered.clear()
            for group, several in buffered:
                self.tell(several, f"{group}.multi")

    def extend_buffer(self, other: EventDispatcher) -> None:
        """Take over what waits in another one."""
        self._waiting.extend(other._waiting)

    # being on and off ------------------------------------------------------------------------------------------------------

    def enable(self) -> None:
        """Tell events from now on."""
        self.enabled = True
        for callback in self.on_enabled:
            callback()

    def disable(self) -> None:
        """Tell no more."""
        if self.enabled:
            self.enabled = False
            for callback in self.on_disabled:
                callback()

    def close(self) -> None:
        """Tell what waits for others of its group; the connection is the app's, and stays."""
        if any(self._buffered.values()):
            self.flush(errors=False)

    def __enter__(self) -> EventDispatcher:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
