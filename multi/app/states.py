"""The states of a task."""

from __future__ import annotations

PENDING = "PENDING"
RECEIVED = "RECEIVED"
STARTED = "STARTED"
SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
REVOKED = "REVOKED"
REJECTED = "REJECTED"
RETRY = "RETRY"
IGNORED = "IGNORED"
#: What `task.progress` records: a state of the project's own, as far as the sets below know.
PROGRESS = "PROGRESS"

READY_STATES = frozenset((SUCCESS, FAILURE, REVOKED))
UNREADY_STATES = frozenset((PENDING, RECEIVED, STARTED, REJECTED, RETRY))
EXCEPTION_STATES = frozenset((RETRY, FAILURE, REVOKED))
PROPAGATE_STATES = frozenset((FAILURE, REVOKED))
ALL_STATES = frozenset((PENDING, RECEIVED, STARTED, SUCCESS, FAILURE, RETRY, REVOKED))

_PRECEDENCE = (SUCCESS, FAILURE, None, REVOKED, STARTED, RECEIVED, REJECTED, RETRY, PENDING)


def precedence(state: str) -> int:
    """The rank of a state when events come in disorder: 0 is the strongest; states of one's own come after FAILURE."""
    return _PRECEDENCE.index(state) if state in _PRECEDENCE else _PRECEDENCE.index(None)
