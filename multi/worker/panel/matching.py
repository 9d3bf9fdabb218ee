"""Whether a request whose sender names workers by a pattern is meant for this one."""

from __future__ import annotations

import fnmatch
import re
import signal
import threading

#: A longer pattern isn't tried.
_LONGEST = 256
#: One that takes longer (s) is given up: it is made to keep workers busy.
_PATIENCE = 0.05


class NoPattern(ValueError):
    """It can't be understood, or takes too long."""


def matches(name: str, pattern: str, matcher: str) -> bool:
    """Whether the name is meant, by "glob" or "pcre". Raises `NoPattern`."""
    if len(pattern) > _LONGEST:
        raise NoPattern(f"its pattern has {len(pattern)} characters, and {_LONGEST} are the limit")
    if matcher == "glob":
        return fnmatch.fnmatchcase(name, pattern)
    if matcher != "pcre":
        raise NoPattern(f"its matcher is {matcher[:40]!r}; known are glob and pcre")
    try:
        compiled = re.compile(pattern)
        return _limited(compiled, name)
    except (re.error, RecursionError, OverflowError) as error:
        raise NoPattern(f"its pattern can't be understood: {error}") from None


def _limited(compiled: re.Pattern[str], name: str) -> bool:
    """Try a pattern, for so long and no longer; the module `re` looks for signals now and then."""
    if threading.current_thread() is not threading.main_thread():
        return compiled.match(name) is not None

    def over(*_: object) -> None:
        raise NoPattern("its pattern takes too long")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
    try:
        return compiled.match(name) is not None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
