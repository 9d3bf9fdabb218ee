"""Finding the processes that a test has started, however far they went away from it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

from support import leash, servers
from support.wait import until

#: In the environment of everything that a test starts; a daemon keeps it when it leaves its session and its parent.
MARK = "MULTI_TEST_MARK"


def _all() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _ended(pid: int) -> bool:
    """Gone, or a zombie that its parent will reap."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def describe(pid: int) -> str:
    """Process id and command line."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return f"{pid}: {file.read().replace(bytes(1), b' ').decode(errors='replace').strip()}"
    except OSError:
        return f"{pid}: (ended)"


def marked(mark: str) -> set[int]:
    """The living processes that were started with this mark in their environment, by whomever."""
    wanted = f"{MARK}={mark}".encode()
    found: set[int] = set()
    for pid in _all():
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                environment = file.read()
        except OSError:
            continue  # another user's, or gone
        if wanted in environment.split(b"\0") and not _ended(pid):
            found.add(pid)
    return found


def descendants() -> set[int]:
    """The living descendants of this test process; those of multiprocessing's own helpers don't count."""
    return {pid for pid in leash.family(os.getpid()) if not _ended(pid) and not _is_helper(pid)}


def _is_helper(pid: int) -> bool:
    return "multiprocessing.resource_tracker" in describe(pid)


class Leftovers:
    """Knows what ran before a test, and tells what is left after it."""

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self.before = descendants()

    def now(self) -> set[int]:
        """What the test has started and is still there; the private servers of the whole run aside."""
        found = (descendants() - self.before) | marked(self.mark)
        found -= servers.running_processes() | {os.getpid()}
        # the children of a worker that ran before, of a fixture's for many tests, are that one's
        return found - {pid for each in self.before for pid in leash.family(each)} if found else found

    def expect_none(self, timeout: float = 5.0) -> None:
        """Fail, and end them, when processes are left after `timeout`."""
        try:
            until(lambda: not self.now(), timeout)
        except AssertionError:
            left = sorted(self.now())
            text = "\n".join(describe(pid) for pid in left)
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass  # ended by itself meanwhile
            raise AssertionError(f"the test left processes behind:\n{text}") from None
