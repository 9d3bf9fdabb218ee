"""Redis as a result backend: Celery's keys and channels, so that results are read both ways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from multi.backends.base import Backend, Joined
from multi.backends.redis_chords import ChordKeys
from multi.connections.redis import (
    NOTHING,
    Address,
    PerThread,
    PushNotification,
    Redis,
    ReplyError,
    pack,
)
from multi.connections.redis import documents as kept
from multi.connections.redis.agreements import RedisAgreements
from multi.documents import Answer, Change
from multi.errors import BackendUnavailable, BrokerLost, BrokerUnavailable
from multi.store import Store

PREFIX = "celery-task-meta-"

#: As in the exchange script: a recorded SUCCESS stays.
_STORE = """
for i = 1, #KEYS do
  local value, expires = ARGV[2 * i - 1], ARGV[2 * i]
  if not string.find(redis.call('GETRANGE', KEYS[i], 0, 31), '"status":%s*"SUCCESS"') then
    if expires == '0' then redis.call('SET', KEYS[i], value) else redis.call('SETEX', KEYS[i], expires, value) end
    redis.call('PUBLISH', KEYS[i], value)
  end
end
"""


class RedisBackend(Backend):
    """See `Backend`. `options` are `result_backend_transport_options`: global_keyprefix, socket_timeout, ..."""

    chords = True

    def __init__(self, url: str, options: Mapping[str, Any] | None = None, *, expires: int = 86400) -> None:
        super().__init__(url, options, expires=expires)
        self._address = Address.from_url(url, self.options)
        prefix = str(self.options.get("global_keyprefix") or "")
        if prefix and prefix[-1] not in ":_-.":
            prefix += "_"
        self._keyprefix = prefix
        self._prefix = prefix + PREFIX
        self._ordered = bool(self.options.get("result_chord_ordered", True))
        self._chord_expires = int(self.options.get("chord_expires") or expires)
        self._connections = PerThread(self._address)
        # RESP3 lets one connection subscribe and ask: a result that is there already costs one round trip
        self._listeners = PerThread(self._address, protocol=3)
        self.place = f"{self._address.server}/{self._address.db}"
        self.agreements = RedisAgreements(self._keyprefix, self._calls)

    def check(self) -> None:
        redis = Redis(self._address)
        try:
            redis.connect()
        except BrokerUnavailable as error:
            raise BackendUnavailable(f"result backend {error}") from error
        finally:
            redis.close()

    def encode(self, task_id: str, record: bytes, *, reply_to: str | None = None) -> Store:
        return Store(self._prefix + task_id, record, self.expires)

    def store(self, stores: Sequence[Store]) -> None:
        arguments: list[str | bytes | int] = []
        for store in stores:
            arguments += (store.value, store.expires)
        self._call(("EVAL", _STORE, len(stores), *[store.key for store in stores], *arguments))

    def fetch(self, task_ids: Sequence[str]) -> list[bytes | None]:
        if not task_ids:
            return []
        found: list[bytes | None] = self._call(("MGET", *[self._prefix + task_id for task_id in task_ids]))
        return found

    keeps = True

    def documents(self, shelf: str, names: Iterable[str] | None = None) -> tuple[int, dict[str, bytes]]:
        wanted = None if names is None else list(names)
        replies = [self._call(command) for command in kept.ask(self._keyprefix, shelf, wanted)]
        return kept.found(wanted, replies)

    def shelves(self) -> list[str]:
        return kept.shelves(self._keyprefix, self._call)

    def revision(self, shelf: str) -> int:
        return self.documents(shelf, ())[0]

    def change(self, shelf: str, changes: Sequence[Change], *, tell: bool = False) -> list[Answer]:
        answers: list[Answer] = []
        for start in range(0, len(changes), kept.BULK):
            some = changes[start : start + kept.BULK]
            answers += kept.answers(some, self._call(kept.change(self._keyprefix, shelf, some, tell)))
        return answers

    def forget(self, task_id: str) -> None:
        self._call(("DEL", self._prefix + task_id))

    def open_chord(self, group_id: str, size: int, tree: bytes | None) -> list[Store]:
        keys = ChordKeys(self._keyprefix, group_id)
        stores = [Store(keys.size, b"%d" % size, self._chord_expires)]
        return [*stores, Store(keys.group, tree, self._chord_expires)] if tree is not None else stores

    def extend_chord(self, group_id: str, count: int = 1) -> None:
        self._call(("INCRBY", ChordKeys(self._keyprefix, group_id).more, count))

    def join_chord(
        self, group_id: str, index: int | None, task_id: str, part: bytes, *, success: bool
    ) -> Joined | None:
        keys = ChordKeys(self._keyprefix, group_id)
        reply = self._call(keys.join(index, task_id, part, self._ordered, self._chord_expires, success))
        return Joined(reply[1], reply[2] if len(reply) > 2 else None) if reply[0] else None

    def save_group(self, group_id: str, record: bytes) -> None:
        self.store([Store(ChordKeys(self._keyprefix, group_id).group, record, self.expires)])

    def fetch_group(self, group_id: str) -> bytes | None:
        found: bytes | None = self._call(("GET", ChordKeys(self._keyprefix, group_id).group))
        return found

    def delete_group(self, group_id: str) -> None:
        self._call(("DEL", ChordKeys(self._keyprefix, group_id).group))

    def _call(self, command: Sequence[Any]) -> Any:
        return self._calls([command])[0]

    def _calls(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        try:
            replies = self._connections.get().pipeline_again(commands)
        except BrokerUnavailable as error:
            raise BackendUnavailable(f"result backend {error}") from error
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise BackendUnavailable(f"result backend {self._address.masked}: {reply}")
        return replies

    def wait(self, task_id: str, timeout: float | None, interval: float | None = None) -> Iterator[bytes]:
        deadline = None if timeout is None else monotonic() + timeout
        key = self._prefix + task_id
        listener = self._listeners.get()
        while True:
            kept, began = listener.fileno() >= 0, monotonic()
            try:
                yield from self._listen(listener, key, deadline)
                return
            except BrokerLost as error:
                # closed while it was idle, or while we wait: ask again, unless a new connection ends as soon as it is made
                if not kept and monotonic() - began < 1.0:
                    raise BackendUnavailable(f"result backend {error}") from error
            except (BrokerUnavailable, ReplyError) as error:
                raise BackendUnavailable(f"result backend {error}") from error

    def _listen(self, listener: Redis, key: str, deadline: float | None) -> Iterator[bytes]:
        listener.connect()
        listener.send(pack(("SUBSCRIBE", key)) + pack(("GET", key)))
        name = key.encode()
        answered = False
        try:
            while (reply := listener.poll(_left(deadline))) is not NOTHING:
                record = None
                if isinstance(reply, PushNotification):
                    if reply[0] == b"message" and reply[1] == name:
                        record = reply[2]
                elif isinstance(reply, ReplyError):
                    raise reply
                else:
                    answered, record = True, reply
                if record is not None:
                    yield record
        finally:
            if answered and listener.fileno() >= 0:
                with suppress(BrokerLost):
                    listener.send(pack(("UNSUBSCRIBE", key)))
            else:
                listener.close()  # an answer is still to come and would be taken for another one's

    def close(self) -> None:
        self._connections.close()
        self._listeners.close()


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - monotonic())
