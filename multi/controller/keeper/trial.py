"""A new specification is on trial until the node has run with it."""

from __future__ import annotations

import os


class Trial:
    """Puts a new specification in place, and the one before it back when the node can't live with the new one.

    The earlier one lies beside it meanwhile, as previous.json, so that it comes back whoever is killed on the way.
    """

    def __init__(self, rundir: str) -> None:
        self._spec = os.path.realpath(f"{rundir}/spec.json")
        self._previous = f"{os.path.dirname(self._spec)}/previous.json"
        self._is_first = False

    def begin(self, new_spec: str) -> None:
        """Put the new specification in place. One that was itself on trial until now is no fallback for it."""
        self._is_first = not os.path.exists(self._spec)
        if not self._is_first and not os.path.exists(self._previous):
            os.link(self._spec, self._previous)
        os.replace(new_spec, self._spec)

    def passed(self) -> None:
        """The node runs with it."""
        _remove(self._previous)

    def failed(self, *, must: bool) -> None:
        """The node never got ready: the earlier specification counts again.

        Where there was none, the node is forgotten if every further attempt `must` end in the same way.
        """
        try:
            os.replace(self._previous, self._spec)
        except FileNotFoundError:
            if must and self._is_first:
                _remove(self._spec)
        except OSError:
            pass  # what was on trial stays


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # there is none
