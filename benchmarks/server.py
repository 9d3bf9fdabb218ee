"""A private Redis server: a free port, a directory of its own, nothing kept."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from types import TracebackType
from typing import Self


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class PrivateRedis:
    """A `redis-server` for one benchmark, gone when the `with` block is left."""

    def __init__(self) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise SystemExit("benchmarks: redis-server not found; install it with: apt-get install redis-server")
        self.program = program
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._directory = ""

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server is not started"
        return self._process.pid

    def version(self) -> str:
        """Of the program, as it tells it."""
        text = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=False).stdout
        return next((word[2:] for word in text.split() if word.startswith("v=")), "unknown")

    def url(self, database: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{database}"

    def __enter__(self) -> Self:
        self._directory = tempfile.mkdtemp(prefix="multi-bench-redis-")
        for _ in range(5):  # somebody else may take the port between the look and the start
            self.port = free_port()
            self._process = subprocess.Popen(
                [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C ends the workers first, the server last
            )
            if self._listening():
                return self
        self.__exit__(None, None, None)
        raise SystemExit("benchmarks: redis-server did not come up on any of 5 ports")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()  # nothing of it is wanted afterwards
            self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _listening(self) -> bool:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                return False
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            except OSError:
                time.sleep(0.01)
        return False
