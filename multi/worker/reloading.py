"""`python -m multi.worker.reloading PID`: have a worker reload itself, and wait until it is known how that went.

It is for a service's manager, whose own command to reload a service is to fail when the new code can't be loaded: a signal
alone tells nothing. The directory of the worker's is the one in MULTI_RUN_DIR.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Sequence

from multi.rundir import RunDir

_LOOK = 0.05


def reload(pid: int, directory: str) -> str:
    """Reload the worker with that pid; what went wrong, or nothing."""
    place = RunDir(directory).reload
    try:
        os.unlink(place)
    except FileNotFoundError:
        pass  # the first one
    try:
        worker = os.pidfd_open(pid)
        signal.pidfd_send_signal(worker, signal.SIGHUP)
    except ProcessLookupError:
        return f"there is no worker with the pid {pid}"
    try:
        while (said := _said(place)) is None:
            if select.select([worker], [], [], _LOOK)[0]:
                said = _said(place)  # one without tasks ends as soon as it has said it
                return f"the worker (pid {pid}) has ended" if said is None else said
        return said
    finally:
        os.close(worker)


def _said(place: str) -> str | None:
    try:
        with open(place, encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def main(words: Sequence[str]) -> int:
    """The exit status."""
    directory = os.environ.get("MULTI_RUN_DIR")
    if len(words) != 1 or not words[0].isdecimal() or not directory:
        sys.stderr.write("usage: MULTI_RUN_DIR=DIRECTORY python -m multi.worker.reloading PID\n")
        return 2
    try:
        trouble = reload(int(words[0]), directory)
    except OSError as error:
        trouble = f"the reload could not be asked for: {error}"
    if trouble:
        sys.stderr.write(f"The reload has failed, the present worker goes on: {trouble}\n")
    return 1 if trouble else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
