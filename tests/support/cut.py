"""A way to a server that a test can cut, and mend again."""

from __future__ import annotations

import re
import selectors
import socket
import threading


class Cut:
    """A port that leads to that of `url`. While it is cut, connections end and new ones are refused."""

    def __init__(self, url: str) -> None:
        found = re.search(r"(?P<host>[\w.]+):(?P<port>\d+)", url.rpartition("@")[2])
        assert found is not None, url
        self._target = (found["host"], int(found["port"]))
        self._listener: socket.socket | None = None
        self._port = 0
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._lock = threading.Lock()
        self._over = False
        self._selector = selectors.DefaultSelector()
        self.mend()
        self.url = url.replace(f"{found['host']}:{found['port']}", f"127.0.0.1:{self._port}")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Let nothing through any more."""
        with self._lock:
            if self._listener is not None:
                self._selector.unregister(self._listener)
                self._listener.close()
                self._listener = None
            for each in list(self._pairs):
                self._close(each)

    def mend(self) -> None:
        """Let everything through again, at the same port."""
        with self._lock:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self._port))
            listener.listen(64)
            self._port = listener.getsockname()[1]
            self._listener = listener
            self._selector.register(listener, selectors.EVENT_READ)

    def close(self) -> None:
        self.cut()
        self._over = True
        self._thread.join()
        self._selector.close()

    def _serve(self) -> None:
        while not self._over:
            for key, _ in self._selector.select(0.05):
                with self._lock:
                    self._move(key.fileobj)

    def _move(self, ready: object) -> None:
        if ready is self._listener and self._listener is not None:
            here, _ = self._listener.accept()
            try:
                there = socket.create_connection(self._target, 5)
            except OSError:
                here.close()
                return
            for one, other in ((here, there), (there, here)):
                self._pairs[one] = other
                self._selector.register(one, selectors.EVENT_READ)
            return
        if not isinstance(ready, socket.socket) or ready not in self._pairs:
            return
        try:
            data = ready.recv(65536)
            if data:
                self._pairs[ready].sendall(data)
                return
        except OSError:
            pass
        self._close(ready)

    def _close(self, one: socket.socket) -> None:
        if one not in self._pairs:
            return  # closed with its partner
        other = self._pairs.pop(one)
        for each in (one, other):
            self._pairs.pop(each, None)
            self._selector.unregister(each)
            each.close()
