"""The least client of Redis that a measurement needs: hiredis on a socket, so that the client is not what is measured."""

from __future__ import annotations

import socket
from typing import Any

import hiredis


class Resp:
    """One blocking connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()

    def call(self, *words: Any) -> Any:
        """Send one command and return its answer; raises what the server complains about."""
        self._socket.sendall(hiredis.pack_command(words))
        return self._answer()

    def calls(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        """Send all commands at once and return their answers."""
        self._socket.sendall(b"".join(hiredis.pack_command(command) for command in commands))
        return [self._answer() for _ in commands]

    def processor_time(self) -> float:
        """Seconds of processor time that the server has used so far."""
        info = dict(line.split(":", 1) for line in self.call("INFO", "cpu").decode().splitlines() if ":" in line)
        return float(info["used_cpu_sys"]) + float(info["used_cpu_user"])

    def close(self) -> None:
        self._socket.close()

    def _answer(self) -> Any:
        while (answer := self._reader.gets()) is False:
            data = self._socket.recv(1 << 18)
            if not data:
                raise ConnectionError("the server closed the connection")
            self._reader.feed(data)
        if isinstance(answer, Exception):
            raise answer
        return answer
