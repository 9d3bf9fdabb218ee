"""Saying and hearing inside one process."""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Sequence
from time import monotonic

from multi.connections.memory import Ear, Hub, hub
from multi.connections.packing import pack, unpack
from multi.message import Message
from multi.talk import FANOUT, MOST_WAITING, Subscription, check


class MemoryTalk:
    """See `Talk`."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    @classmethod
    def at(cls, url: str) -> MemoryTalk:
        return cls(hub(url))

    def say(self, exchange: str, message: Message, *, key: str = "", kind: str = FANOUT) -> int | None:
        check(kind)
        self._hub.guard()
        return self._hub.say(exchange, key, pack(message))

    def subscribe(
        self,
        exchange: str,
        *,
        keys: Sequence[str] = ("",),
        kind: str = FANOUT,
        queue: str = "",
        expires: float = 60.0,
        ttl: float | None = None,
    ) -> Subscription:
        check(kind)
        self._hub.guard()
        return _Heard(self._hub, exchange, kind, keys)

    def close(self) -> None:
        """Nothing is open."""


class _Heard:
    """See `Subscription`."""

    def __init__(self, hub: Hub, exchange: str, kind: str, keys: Sequence[str]) -> None:
        self._hub = hub
        self._exchange = exchange
        self._waiting: deque[bytes] = deque(maxlen=MOST_WAITING)
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._closed = False
        self._ear = Ear(kind, tuple(keys), self._put)
        hub.listen(exchange, self._ear)

    def _put(self, text: bytes) -> None:
        # with the hub's lock held, so that nothing is closed meanwhile
        self._waiting.append(text)
        try:
            os.write(self._writer, b"!")
        except BlockingIOError:
            pass  # it is readable as it is

    def get(self, timeout: float | None = None) -> Message | None:
        until = None if timeout is None else monotonic() + timeout
        while True:
            if self._closed:
                raise ValueError("this subscription is closed")
            self._hub.guard()
            try:
                return unpack(self._waiting.popleft())
            except IndexError:
                pass
            left = None if until is None else max(0.0, until - monotonic())
            poll = select.poll()
            poll.register(self._reader, select.POLLIN)
            if not poll.poll(None if left is None else left * 1000):
                return None
            os.read(self._reader, 65536)
            if not self._waiting and left == 0.0:
                return None

    def fileno(self) -> int:
        return -1 if self._closed else self._reader

    def close(self) -> None:
        if self._closed:
            return
        with self._hub.lock:
            self._closed = True
            self._hub.deafen(self._exchange, self._ear)
            os.close(self._reader)
            os.close(self._writer)
