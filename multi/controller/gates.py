"""Waits for what nodes depend on and is no node: a TCP port that takes connections, a command that succeeds."""

from __future__ import annotations

import errno
import os
import select
import socket
import subprocess
import time
from collections.abc import Mapping
from typing import IO

from multi.nodes.description.special import Need

_PAUSE = 0.2  # between two attempts
_LONGEST = 10.0  # that one attempt may take


class Gate:
    """One such thing. It is tried again and again, never waited for in a way that would hold up others."""

    def __init__(self, need: Need, cwd: str, env: Mapping[str, str], longest: float | None = None) -> None:
        self.need = need
        self.patience = need.timeout if longest is None else min(need.timeout, longest)
        self.cwd = cwd
        self.env = {**os.environ, **env}
        self.is_open = False
        self.why = ""  # it isn't open yet
        self.begun = time.monotonic()
        self._next = 0.0
        self._attempt_until = 0.0
        self._socket: socket.socket | None = None
        self._addresses: list[tuple[int, tuple[object, ...]]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None

    def __str__(self) -> str:
        return str(self.need)

    @property
    def has_failed(self) -> bool:
        """Whether the patience with it is over."""
        return not self.is_open and time.monotonic() - self.begun >= self.patience

    def look(self) -> None:
        """See how it is; begin an attempt where none is under way."""
        if self.is_open:
            return
        now = time.monotonic()
        if self._socket is None and self._process is None and now >= self._next:
            self._attempt_until = now + _LONGEST
            self._begin()
        if self._socket is not None:
            self._look_at_socket(now)
        elif self._process is not None:
            self._look_at_process(now)

    def close(self) -> None:
        """Give it up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._said is not None:
            self._said.close()
            self._said = None

    def _begin(self) -> None:
        try:
            if self.need.kind == "tcp":
                self._connect()
            else:
                self._run()
        except OSError as error:
            self._failed(error.strerror or str(error))

    def _connect(self) -> None:
        if not self._addresses:
            host, port = self.need.target
            found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
            self._addresses = [(family, address) for family, _, _, _, address in found]
        family, address = self._addresses.pop(0)
        self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        code = self._socket.connect_ex(address)
        if code not in (0, errno.EINPROGRESS):
            self._failed(os.strerror(code))

    def _look_at_socket(self, now: float) -> None:
        assert self._socket is not None
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        if poll.poll(0):
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._failed(os.strerror(code))
            else:
                self._opened()
        elif now > self._attempt_until:
            self._failed("no answer")

    def _run(self) -> None:
        import tempfile

        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the attempt)
        self._process = subprocess.Popen(
            self.need.target,
            cwd=self.cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
        )

    def _look_at_process(self, now: float) -> None:
        assert self._process is not None
        code = self._process.poll()
        if code == 0:
            self._opened()
        elif code is not None:
            self._failed(f"exit status {code}" if code > 0 else f"killed by signal {-code}")
        elif now > self._attempt_until:
            self._failed(f"it has not ended within {_LONGEST:g} s")

    def _opened(self) -> None:
        self.is_open = True
        self.close()

    def _failed(self, why: str) -> None:
        if self._said is not None:
            self._said.seek(0)
            lines = self._said.read(4096).decode("utf-8", "replace").strip().splitlines()
            why += f": {lines[-1][:200]}" if lines else ""
        self.why = why
        self.close()
        self._next = time.monotonic() + (0 if self._addresses else _PAUSE)
