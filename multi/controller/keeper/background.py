"""A command that puts itself into the background: its first process ends well, and another one goes on out of sight."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os

from . import proc

WHY = (
    "exit status 0, having put itself into the background, where it can't be looked after; what it had started there was "
    "ended. Let the command stay in the foreground: most daemons have an option for it (nginx -g 'daemon off;')"
)


def end_all(known: list[int]) -> bool:
    """End the processes that have become ours as orphans, those but which are `known`; whether there were any.

    Nobody else could have left them: the command has just been started, and was this keeper's only one.
    """
    found = False
    for pid in proc.children() or ():
        if pid in known:
            continue
        fd = proc.open_identified(pid, proc.start_time(pid))
        if fd >= 0:
            found = True
            _signal.pidfd_send_signal(fd, _signal.SIGTERM)
            os.close(fd)
    return found
