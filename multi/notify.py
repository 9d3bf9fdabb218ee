"""Says to whoever started this process how it is doing: the sd_notify protocol, as systemd and our keeper hear it."""

from __future__ import annotations

import os
import socket


class Notifier:
    """Sends states to the manager's socket; does nothing where there is none.

    Sending never blocks and never fails: a manager that is gone or slow must not harm the worker.
    `watchdog_usec` is the silence after which the manager takes this process for stuck, 0 if it doesn't watch.
    """

    def __init__(self, address: str | None = None, watchdog_usec: int = 0) -> None:
        self.watchdog_usec = watchdog_usec if address else 0
        self._socket: socket.socket | None = None
        self._address = ""
        if address and address[0] in "/@":
            # "@name" is the customary spelling of Linux' abstract names, which begin with a zero byte
            self._address = "\0" + address[1:] if address[0] == "@" else address
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    @classmethod
    def from_env(cls) -> Notifier:
        """The notifier for NOTIFY_SOCKET, which is taken out of the environment so that no child speaks for us.

        So are WATCHDOG_USEC and WATCHDOG_PID, the process that the first is meant for (none: whoever reads it).
        """
        usec, pid = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
        meant = usec.isdecimal() and pid in ("", str(os.getpid()))
        return cls(os.environ.pop("NOTIFY_SOCKET", None), int(usec) if meant else 0)

    @property
    def watchdog_interval(self) -> float:
        """Seconds between two signs of life; 0 where none are asked for."""
        return self.watchdog_usec / 3_000_000

    @property
    def address(self) -> str:
        """The manager's socket, in the spelling of NOTIFY_SOCKET; "" where there is none."""
        return "@" + self._address[1:] if self._address.startswith("\0") else self._address

    @property
    def enabled(self) -> bool:
        """Whether anybody listens."""
        return self._socket is not None

    def ready(self, status: str = "") -> None:
        """The start is complete: for a worker, it consumes from its queues."""
        self.send("READY=1" + self._with(status))

    def status(self, text: str) -> None:
        """One line for people, shown by `multi status` and `systemctl status`."""
        self.send("STATUS=" + _line(text))

    def stopping(self, status: str = "") -> None:
        """The shutdown has begun."""
        self.send("STOPPING=1" + self._with(status))

    def reloading(self) -> None:
        """A reload has begun; it ends with `ready`."""
        self.send("RELOADING=1")

    def mainpid(self, pid: int) -> None:
        """From now on `pid`, which is ready, is the main process of the service.

        Both in one message: after the first half systemd listens to that process alone, and would never hear that the reload
        is over."""
        self.send(f"MAINPID={pid}\nREADY=1")

    def watchdog(self) -> None:
        """The main loop is alive."""
        self.send("WATCHDOG=1")

    def extend_timeout(self, seconds: float) -> None:
        """The current start, reload or stop needs up to `seconds` from now."""
        self.send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def send(self, state: str) -> None:
        """Send raw assignments, separated by newlines."""
        if self._socket is None:
            return
        try:
            self._socket.sendto(state.encode("utf-8", "replace"), self._address)
        except OSError:
            pass  # gone (its successor reads our stats page) or its queue is full: neither may stop the work

    def close(self) -> None:
        """Give the socket back, as a fork does that must not speak for its parent; later calls do nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @staticmethod
    def _with(status: str) -> str:
        return "\nSTATUS=" + _line(status) if status else ""


def _line(text: str) -> str:
    return " ".join(text.splitlines())
