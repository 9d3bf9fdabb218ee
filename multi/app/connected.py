"""An app's connections: to the broker that it sends to, the one that its workers consume from, and its result backends."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from multi.errors import ConfigurationError

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.app.connection import Connection
    from multi.backends.base import Backend
    from multi.brokers.base import Broker


class Connected:
    """What `App` has of this. Each is made when it is first asked for, and again after `close`."""

    _broker: Broker | None = None
    _worker_broker: Broker | None = None
    _backend: Backend | None = None
    _backend_known = False
    _own_backends: dict[str, Backend]
    _lock: threading.RLock

    def _app(self) -> App:
        return self  # type: ignore[return-value]  # nothing else has it

    @property
    def broker(self) -> Broker:
        """The broker that this app sends to."""
        if self._broker is None:
            from multi.app.connections import open_broker

            with self._lock:
                if self._broker is None:
                    self._broker = open_broker(self._app(), write=True)
        return self._broker

    @property
    def worker_broker(self) -> Broker:
        """The broker that a worker of this app consumes from: another one only where `broker_read_url` says so."""
        from multi.app.connections import broker_url, open_broker

        if broker_url(self._app(), write=False) == broker_url(self._app(), write=True):
            return self.broker
        with self._lock:
            if self._worker_broker is None:
                self._worker_broker = open_broker(self._app(), write=False)
        return self._worker_broker

    def connection(self) -> Connection:
        """The way to the broker that is sent to, for what takes a connection: `app.events.Receiver(connection)`."""
        return self._connected(write=True)

    connection_for_write = broker_connection = connection

    def connection_for_read(self) -> Connection:
        """The way to the broker that workers consume from."""
        return self._connected(write=False)

    def _connected(self, *, write: bool) -> Connection:
        from multi.app.connection import Connection

        return Connection(self.broker if write else self.worker_broker)

    @property
    def backend(self) -> Backend | None:
        """Where states and results are kept, None if that is switched off."""
        if not self._backend_known:
            from multi.app.connections import open_backend

            with self._lock:
                if not self._backend_known:
                    self._backend = open_backend(self._app())
                    self._backend_known = True
        return self._backend

    def backend_of(self, meant: Any) -> Backend:
        """The result backend that a task names for itself: by its URL, or the thing itself."""
        if not isinstance(meant, str):
            backend: Backend = meant
            return backend
        from multi.app.connections import open_backend

        with self._lock:
            found = self._own_backends.get(meant)
            if found is None:
                found = open_backend(self._app(), meant)
                if found is None:
                    raise ConfigurationError(
                        f"backend={meant!r} of a task is no place for results: use ignore_result=True"
                    )
                self._own_backends[meant] = found
        return found

    def close(self) -> None:
        """Close the connections; they open again when needed."""
        for part in (self._broker, self._worker_broker, self._backend, *self._own_backends.values()):
            if part is not None:
                part.close()
        self.forget_connections()

    def forget_connections(self) -> None:
        """Have none any more, without a word to the other side: in a forked child they are its parent's."""
        self._own_backends = {}
        self._broker = self._worker_broker = self._backend = None
        self._backend_known = False
