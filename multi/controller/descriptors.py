"""Room for the descriptors of many nodes: a command holds a few for each, and 1024 is the usual limit.

Only the command itself gets more; what it starts has the limit that the command was given.
"""

from __future__ import annotations

import resource

_OF_A_NODE, _OWN = 4, 64
_before: tuple[int, int] | None = None


def make_room(nodes: int) -> None:
    """Let this process have as many descriptors open as it needs for so many nodes, as far as it may."""
    global _before
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = nodes * _OF_A_NODE + _OWN
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if _before is None:
            _before = soft, hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def give_back() -> None:
    """In a fork that becomes another program: the limit as it was."""
    if _before is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, _before)
