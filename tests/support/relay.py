"""A cable between a program and a server that a test can cut, hold still and mend."""

from __future__ import annotations

import os
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Relay:
    """Takes connections on `port` and passes what is said to the server's and back; a thread of this process."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._flows = threading.Event()
        self._flows.set()
        self._wakes, self._wake = os.pipe()
        self._selector.register(self._wakes, selectors.EVENT_READ)
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._ending = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Break all connections, and take no new ones."""
        with self._lock:
            if self._listener.fileno() >= 0:
                self._selector.unregister(self._listener)
                self._listener.close()
            for one in list(self._pairs):
                self._drop(one)

    def mend(self) -> None:
        """Take connections again, and let go what was held."""
        with self._lock:
            if self._listener.fileno() < 0:
                self._listener = self._listen(self.port)
        self._flows.set()

    def hold(self) -> None:
        """Let nothing through any more; connections stay open, as they do where a cable was pulled."""
        self._flows.clear()

    def close(self) -> None:
        self.cut()
        self._ending = True
        self._flows.set()
        os.write(self._wake, b"!")
        self._thread.join()
        self._selector.close()
        os.close(self._wake)
        os.close(self._wakes)

    def _listen(self, port: int) -> socket.socket:
        made = socket.create_server(("127.0.0.1", port))
        self._selector.register(made, selectors.EVENT_READ)
        return made

    def _run(self) -> None:
        while not self._ending:
            found = self._selector.select()
            self._flows.wait()
            with self._lock:
                for key, _ in found:
                    if key.fileobj == self._wakes:
                        os.read(self._wakes, 1024)
                    elif key.fileobj is self._listener and self._listener.fileno() >= 0:
                        self._take()
                    elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._pairs:
                        self._pass_on(key.fileobj)

    def _take(self) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(self._to, timeout=5)
        except OSError:
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            one.settimeout(5)
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, one: socket.socket) -> None:
        try:
            data = one.recv(65536)
            if data:
                self._pairs[one].sendall(data)
                return
        except OSError:
            pass  # broken on either side: both go
        self._drop(one)

    def _drop(self, one: socket.socket) -> None:
        for each in (one, self._pairs.get(one)):
            if each is not None and self._pairs.pop(each, None) is not None:
                self._selector.unregister(each)
                each.close()


@contextmanager
def relay(host: str, port: int) -> Iterator[Relay]:
    made = Relay(host, port)
    try:
        yield made
    finally:
        made.close()
