"""Results as messages: each sender has a reply queue on RabbitMQ, which nobody else reads. As Celery's rpc://.

A result reaches the process that sent the task, once, and is gone with it. The reply queue bears the name of the
sending thread's reply address, which stands in every message that it sends; a worker on the same RabbitMQ sends the
result over the connection on which it acknowledges, and before it does so.
"""

from __future__ import annotations

import os
import socket
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from select import POLLIN, POLLOUT, poll
from time import monotonic
from typing import Any

from multi import identity
from multi.backends.base import Backend
from multi.connections.amqp import Link, Lost, Session, Steps, Unreachable, addresses, explain, spec
from multi.connections.amqp.content import encode
from multi.connections.amqp.reply import make_key, read_key
from multi.connections.amqp.session import Arrival
from multi.errors import BackendError, BackendUnavailable, ConfigurationError
from multi.store import Store

_REMEMBERED = 65536  # the tasks of which a process knows that it sent them, and their results
_ANSWER = 30.0


class RPCBackend(Backend):
    """The options `broker_url` and `broker_options` say where; `persistent` makes results outlive a server's restart."""

    expects = True

    def __init__(self, url: str, options: Mapping[str, Any] | None = None, *, expires: int = 86400) -> None:
        super().__init__(url, options, expires=expires)
        broker = self.options.get("broker_url") or ""
        if not str(broker).startswith(("amqp:", "amqps:", "pyamqp:")):
            raise ConfigurationError(
                "the result backend rpc:// sends results through RabbitMQ, but the broker is another one; "
                "set broker_url to amqp://…, or choose a backend that keeps results, as redis://host:6379/0"
            )
        self._addresses = addresses(str(broker), self.options.get("broker_options") or {})
        self.place = self._addresses[0].place
        self._persistent = bool(self.options.get("persistent"))
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._state = threading.Condition()
        self._busy = False  # a thread uses the link
        self._pressing = 0  # threads that want it for a moment, and get it before those that wait for results
        self._bell: tuple[socket.socket, socket.socket] | None = None
        self._link: Link | None = None
        self._queues: set[str] = set()
        self._records: OrderedDict[str, bytes | None] = OrderedDict()

    # writing

    def encode(self, task_id: str, record: bytes, *, reply_to: str | None = None) -> Store:
        return Store(make_key(reply_to or "", task_id, _content_type(record), self._persistent), record, self.expires)

    def store(self, stores: Sequence[Store]) -> None:
        with self._using() as link:
            link.run(_send(link.session, stores), _ANSWER)

    # reading

    def expect(self, task_ids: Sequence[str]) -> None:
        self._after_fork()
        queue = identity.oid()
        with self._state:
            for task_id in task_ids:
                self._records.setdefault(task_id, None)
            while len(self._records) > _REMEMBERED:
                self._records.popitem(last=False)
            ready = queue in self._queues and self._link is not None
        if not ready:
            with self._using() as link:
                if queue not in self._queues:
                    link.run(self._consume(link, queue), _ANSWER)
                    self._queues.add(queue)

    def fetch(self, task_ids: Sequence[str]) -> list[bytes | None]:
        self._after_fork()
        if self._queues:
            with self._using() as link:
                while link.turn(0):
                    pass
        with self._state:
            return [self._known(task_id) for task_id in task_ids]

    def wait(self, task_id: str, timeout: float | None, interval: float | None = None) -> Iterator[bytes]:
        self._after_fork()
        deadline = None if timeout is None else monotonic() + timeout
        last: bytes | None = None
        while True:
            with self._state:
                record = self._known(task_id)
                left = None if deadline is None else deadline - monotonic()
                turn = False
                if record is None or record is last:
                    if left is not None and left <= 0:
                        return
                    if self._busy or self._pressing:
                        self._state.wait(left)
                    else:
                        self._busy = turn = True
            if record is not None and record is not last:
                last = record
                yield record
            elif turn:
                try:
                    self._listen(left)
                finally:
                    self._release()

    def forget(self, task_id: str) -> None:
        """There is nothing on the server; what has come is dropped."""
        with self._state:
            if task_id in self._records:
                self._records[task_id] = None

    def close(self) -> None:
        self._after_fork()
        if self._link is not None:
            with self._using() as link:
                link.close()
                self._link = None
                self._queues.clear()
                self._close_bell()

    def _known(self, task_id: str) -> bytes | None:
        try:
            return self._records[task_id]
        except KeyError:
            raise BackendError(
                f"the result of task {task_id} can't be asked for here: with the result backend rpc:// a result goes only "
                f"to the process that sent the task (and that remembers its last {_REMEMBERED} tasks); "
                "a backend that all can read is redis://host:6379/0"
            ) from None

    # the link

    @contextmanager
    def _using(self) -> Iterator[Link]:
        """Have the link for a moment, opened if need be. Raises `BackendUnavailable`."""
        self._after_fork()
        with self._state:
            self._pressing += 1
            if self._busy:
                self._press()
            while self._busy:
                self._state.wait()
            self._pressing -= 1
            self._busy = True
        try:
            yield self._opened()
        except Lost as exc:
            raise self._failed(exc) from exc
        finally:
            self._release()

    def _press(self) -> None:
        """Have the thread that waits for the link's next word let go of it."""
        try:
            if self._bell is not None:
                self._bell[0].send(b"!")
        except BlockingIOError:
            pass  # it will wake up as it is

    def _release(self) -> None:
        with self._state:
            self._busy = False
            self._state.notify_all()

    def _listen(self, timeout: float | None) -> None:
        """Serve the link until something has come, somebody wants it, or time is up."""
        try:
            link = self._opened()
            poller = poll()
            poller.register(link.wire.fileno(), POLLIN | (POLLOUT if link.wire.wants_write else 0))
            assert self._bell is not None
            bell = self._bell[1]
            poller.register(bell.fileno(), POLLIN)
            for fd, _ in poller.poll(None if timeout is None else int(timeout * 1000 + 0.999)):
                if fd == bell.fileno():
                    bell.recv(64)
                else:
                    link.wire.step()
        except Lost as exc:
            failed = self._failed(exc)
            if isinstance(exc, Unreachable):
                raise failed from exc
            # it may be back already; what came while it was gone is lost, as results are transient here

    def _opened(self) -> Link:
        if self._bell is None:
            self._bell = socket.socketpair()
            for end in self._bell:
                end.setblocking(False)
        if self._link is None:
            link = Link.open(self._addresses)
            try:
                for queue in self._queues:
                    link.run(self._consume(link, queue), _ANSWER)
            except Lost:
                link.drop()
                raise
            self._link = link
        return self._link

    def _failed(self, reason: Lost) -> BackendUnavailable:
        if isinstance(reason, Unreachable):
            return BackendUnavailable(str(reason))
        link, self._link = self._link, None
        if link is not None:
            link.drop()
        return BackendUnavailable(explain(self._addresses[0], reason))

    def _consume(self, link: Link, queue: str) -> Steps[None]:
        """Declare a reply queue and have what comes there sent to us."""
        channel = link.session.channel()
        channel.on_deliver = self._on_reply
        arguments = {"x-expires": self.expires * 1000} if self.expires else {}
        yield channel.request(spec.Queue.Declare, "BsbbbbbF", (0, queue, False, True, False, True, False, arguments))
        yield channel.request(spec.Basic.Consume, "BssbbbbF", (0, queue, "", False, True, False, False, {}))

    def _on_reply(self, arrival: Arrival) -> None:
        task_id = arrival.properties.get("correlation_id")
        if task_id:
            with self._state:
                self._records[str(task_id)] = arrival.body

    def _close_bell(self) -> None:
        if self._bell is not None:
            for end in self._bell:
                end.close()
            self._bell = None

    def _after_fork(self) -> None:
        if self._pid != os.getpid():
            link = self._link
            self._close_bell()
            self._reset()
            if link is not None:
                link.wire.close_copy()


def _send(session: Session, stores: Sequence[Store]) -> Steps[None]:
    """Send results; the answer to the last method says that the server has taken what came before it."""
    channel = session.channel()
    for store in stores:
        queue, found = read_key(store.key)
        if queue:
            channel.publish("", queue, encode(found), store.value, mandatory=False)
    yield channel.request(spec.Basic.Qos, "lBb", (0, 1, False))
    channel.close()


def _content_type(record: bytes) -> str:
    """What a record is, told by its first bytes: the serializers that results can have look different."""
    first = record[:1]
    if first == b"{":
        return "application/json"
    if first == b"\x80":
        return "application/x-python-serialize"
    if first and (0x81 <= first[0] <= 0x8F or first[0] in (0xDE, 0xDF)):
        return "application/x-msgpack"
    return "application/x-yaml"
