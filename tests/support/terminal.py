"""A command of multi, or another program, on a terminal: what it shows there, and keys that are pressed."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pyte

from support.project import Project
from support.wait import until


class Terminal:
    """A terminal of some size, with a command in it."""

    def __init__(
        self,
        project: Project,
        *words: str,
        rows: int = 24,
        columns: int = 80,
        program: tuple[str, ...] = (sys.executable, "-m", "multi"),
        **variables: str,
    ) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = pty.openpty()
        self._resize(rows, columns)
        self.seen = b""
        self.process = subprocess.Popen(
            [*program, *words],
            cwd=project.path,
            env={**project.env, "TERM": "xterm", **variables},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=_take_terminal,  # noqa: PLW1509 (tests have no threads)
            start_new_session=True,
        )
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)

    def read(self, timeout: float = 0.0) -> None:
        """Take in what it has written."""
        while select.select([self._master], [], [], timeout)[0]:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return  # its end
            if not data:
                return
            self.seen += data
            self._stream.feed(data)
            timeout = 0.0

    @property
    def lines(self) -> list[str]:
        """What stands on the screen now."""
        self.read()
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def until(self, text: str, timeout: float = 15) -> str:
        """Wait until this stands on the screen; what stands there then."""
        deadline = time.monotonic() + timeout
        while text not in self.text:
            assert time.monotonic() < deadline, f"{text!r} is not on the screen:\n{self.text}"
            self.read(0.05)
        return self.text

    def until_gone(self, text: str, timeout: float = 15) -> str:
        """Wait until this stands there no more."""
        deadline = time.monotonic() + timeout
        while text in self.text:
            assert time.monotonic() < deadline, f"{text!r} is still on the screen:\n{self.text}"
            self.read(0.05)
        return self.text

    def press(self, keys: str | bytes) -> None:
        os.write(self._master, keys.encode() if isinstance(keys, str) else keys)

    def resize(self, rows: int, columns: int) -> None:
        """Make the terminal larger or smaller, and tell the command."""
        self.screen.resize(rows, columns)
        self._resize(rows, columns)
        os.killpg(self.process.pid, signal.SIGWINCH)

    def end(self, timeout: float = 20) -> int:
        """Wait for the command's end; its exit status."""

        def has_ended() -> bool:
            self.read()
            return self.process.poll() is not None

        until(has_ended, timeout, what=f"the command has ended:\n{self.text}")
        self.read(0.1)
        assert self.process.returncode is not None
        return self.process.returncode

    def _resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
