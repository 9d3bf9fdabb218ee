"""Runs a command for as long as somebody holds the other end of its standard input.

    python leash.py COMMAND ARGUMENT...

A test run that is killed can't clean up. The leash does it: when its standard input ends, for whatever reason, every
process that came from the command is killed, daemons too (the leash is a child subreaper, so orphans stay its own).
It ends with the command's exit status if that comes first.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys

PR_SET_CHILD_SUBREAPER = 36


def children(of: int) -> list[int]:
    """The direct children of a process, whichever of its threads forked them."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{of}/task"):
            with open(f"/proc/{of}/task/{thread}/children") as file:
                found.extend(int(pid) for pid in file.read().split())
    except OSError:
        pass  # the process has ended
    return found


def family(of: int) -> list[int]:
    """All descendants of a process."""
    found = children(of)
    for pid in found:
        found.extend(children(pid))
    return found


def end_all() -> None:
    """Kill what is left, again and again until nothing is: a killed parent's children become ours."""
    while True:
        for pid in family(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # ended by itself meanwhile
        try:
            os.wait()
        except ChildProcessError:
            return


def main(command: list[str]) -> int:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a Control-c is for the tests; the end of standard input is for us
    child = os.fork()
    if child == 0:
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.execvp(command[0], command)
    over = os.pidfd_open(child)
    ready, _, _ = select.select([0, over], [], [])
    status = 0
    if over in ready:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    end_all()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
