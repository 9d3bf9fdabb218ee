"""The signals by which tasks that run are ended."""

from __future__ import annotations

import signal as signals
from typing import Any

#: The signals that end a child; any other one is given to the task.
TERMINATING = frozenset(
    (signals.SIGTERM, signals.SIGINT, signals.SIGQUIT, signals.SIGHUP, signals.SIGKILL, signals.SIGABRT)
)
#: What a task may be given: USR1 raises SoftTimeLimitExceeded in it.
GENTLE = frozenset((signals.SIGUSR1,))


def signal_number(given: Any) -> int:
    """The signal that a program means: by name, with or without SIG, or by number. Raises `ValueError`."""
    if given is None or given == "":
        return signals.SIGTERM
    try:
        if isinstance(given, str) and not given.isdecimal():
            name = given.upper()
            found = signals.Signals[name if name.startswith("SIG") else f"SIG{name}"]
        else:
            found = signals.Signals(int(given))
    except (KeyError, ValueError, TypeError):
        raise ValueError(f"signal={given!r} is no signal; {_KNOWN}") from None
    if found not in TERMINATING and found not in GENTLE:
        raise ValueError(f"signal={given!r} doesn't end a task; {_KNOWN}")
    return found


def signal_name(given: Any) -> str:
    """Its name, as requests carry it. Raises `ValueError`."""
    return signals.Signals(signal_number(given)).name


_KNOWN = (
    "those that end one are TERM (the default), INT, QUIT, HUP, ABRT and KILL; USR1 raises SoftTimeLimitExceeded in it"
)
