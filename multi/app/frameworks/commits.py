"""Tasks that are sent when a database transaction commits, and only then: with Django, or with a session of SQLAlchemy.

A task that is sent inside of a transaction may run before the transaction has committed, and finds nothing; or after it
has rolled back, and does what should never have been done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from multi.app.frameworks import module
from multi.errors import ConfigurationError, MissingExtra

_KEY = "multi.on_commit"


def on_commit(call: Any, *, session: Any = None, using: str | None = None) -> None:
    """Send `call`, a signature (`add.s(1, 2)`) or anything to be called without arguments, when the transaction commits.

    `session`: a `Session` of SQLAlchemy (or an `AsyncSession`, a `scoped_session`). Without one it is Django's transaction, of
    the database `using` (default: the default one). What is said within a savepoint that is rolled back isn't sent either.
    Without a transaction Django sends at once; a session waits for its next commit.

    Raises `TypeError` for what can't be called, `ConfigurationError` where there is neither a session nor Django.
    """
    action: Callable[[], Any] | None = getattr(call, "delay", None) if hasattr(call, "apply_async") else call
    if not callable(action):
        raise TypeError(f"on_commit takes a signature, as add.s(1, 2), or a function, not {call!r}")
    if session is not None:
        waiting = _of_session(session)
        waiting.append(_Waiting(_transaction(_plain(session)), action))
        return
    try:
        transaction, exceptions = module("django.db.transaction"), module("django.core.exceptions")
    except ImportError:
        raise MissingExtra("django", "django", "on_commit without session=") from None
    try:
        transaction.on_commit(action, using=using)
    except exceptions.ImproperlyConfigured as error:
        raise ConfigurationError(
            f"on_commit without session= is for Django, which is not set up here: {' '.join(str(error).split())}"
        ) from None


class _Waiting(NamedTuple):
    """A call, and the transaction (or savepoint) that it belongs to."""

    transaction: Any
    action: Callable[[], Any]


def _plain(session: Any) -> Any:
    """The session itself: behind `AsyncSession` and `scoped_session` stands one."""
    session = getattr(session, "sync_session", session)
    registry = getattr(session, "registry", None)
    return registry() if callable(registry) and not hasattr(session, "get_nested_transaction") else session


def _transaction(session: Any) -> Any:
    return session.get_nested_transaction() or session.get_transaction()


def _of_session(session: Any) -> list[_Waiting]:
    """What waits for the session's commit; listens to it from the first time on."""
    plain = _plain(session)
    if not hasattr(plain, "get_nested_transaction"):
        raise TypeError(f"session= takes a session of SQLAlchemy, not {session!r}")
    waiting: list[_Waiting] | None = plain.info.get(_KEY)
    if waiting is not None:
        return waiting
    try:
        event = module("sqlalchemy.event")
    except ImportError:
        raise MissingExtra("sqlalchemy", "sqlalchemy", "on_commit with session=") from None
    waiting = plain.info[_KEY] = []
    if not plain.in_transaction():
        plain.begin()  # so that there is one to wait for, as the session's next statement would
    event.listen(plain, "after_commit", _committed)
    event.listen(plain, "after_soft_rollback", _rolled_back)
    return waiting


def _committed(session: Any) -> None:
    """The whole transaction is in the database; or a savepoint is released, which says nothing yet."""
    if session.in_nested_transaction():
        return
    waiting: list[_Waiting] = session.info[_KEY]
    ready = waiting[:]
    waiting.clear()
    for one in ready:
        one.action()


def _rolled_back(session: Any, transaction: Any) -> None:
    """A transaction, or a savepoint, is as if it had never been, with everything inside of it."""
    waiting: list[_Waiting] = session.info[_KEY]
    waiting[:] = [one for one in waiting if not _is_within(one.transaction, transaction)]


def _is_within(inner: Any, outer: Any) -> bool:
    # a savepoint that was released keeps its parent, so what was said within it goes with what is around it
    while inner is not None:
        if inner is outer:
            return True
        inner = inner.parent
    return False
