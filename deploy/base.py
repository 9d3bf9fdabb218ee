"""How a deploy meets hosts: a backend opens sessions, and a session runs commands and puts files.

`multi.deploy.connections.pool` does it over SSH; `multi.deploy.connections.simulation` on a model, for dry runs and tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from multi.deploy.hosts.inventory import Host
    from multi.deploy.steps import Build, Command, File, Link, Remove, Restore, Upload


class Result(NamedTuple):
    """How a command has ended. `code` is None where the connection ended first: it may have been done or not."""

    code: int | None
    out: str = ""
    err: str = ""

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def tail(self) -> str:
        """The end of what it has said, for a report."""
        lines = (self.err.rstrip() or self.out.rstrip()).splitlines()
        return "\n".join(lines[-20:])


#: Told how many bytes of how many are sent.
Sent = Callable[[int, int], None]


class Session(Protocol):
    """An open way to one host, used by one thread at a time. Everything raises `multi.errors.HostUnreachable` when the way is
    cut; but for `run` and `build`, whose result says it, everything raises `multi.errors.StepFailed` when it can't be done."""

    host: Host

    def run(self, command: Command, say: Callable[[str], None] | None = None) -> Result:
        """Run it to its end. `say` is given its lines while it runs."""
        ...

    def put(self, file: File) -> None: ...

    def restore(self, restore: Restore) -> None: ...

    def remove(self, remove: Remove) -> None: ...

    def link(self, link: Link) -> None: ...

    def send(self, upload: Upload, sent: Sent | None = None) -> None: ...

    def build(self, build: Build, say: Callable[[str], None] | None = None) -> Result: ...

    def close(self) -> None: ...


class Backend(Protocol):
    """Opens sessions."""

    def connect(self, host: Host) -> Session:
        """Raises `multi.errors.HostUnreachable`, with the reason."""
        ...

    def close(self) -> None:
        """Close all that it has opened."""
        ...
