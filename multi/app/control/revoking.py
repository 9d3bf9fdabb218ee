"""What a program revokes: ids and stamps, and where it is kept for workers that don't hear of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import time
from typing import TYPE_CHECKING, Any

from multi import revoking

if TYPE_CHECKING:
    from multi.agreements import Agreements
    from multi.app.app import App


def place_of(app: App) -> Agreements | None:
    """Where it is kept for all workers which tasks are revoked: the broker, or else the result backend."""
    kept = app.worker_broker.agreements
    if kept is not None:
        return kept
    return None if app.backend is None else app.backend.agreements


def keep(app: App, marks: list[str]) -> bool:
    """Keep marks for workers that don't hear of them; whether there is a place for them."""
    place = place_of(app)
    if place is not None:
        place.keep_revoked(marks, time() + revoking.life(), revoking.most())
    return place is not None


def ids_of(given: Any) -> list[str]:
    """The ids of tasks that a program names: one, or several. Raises `TypeError` and `ValueError`."""
    several = [given] if isinstance(given, str) else given
    if not isinstance(several, Iterable) or isinstance(several, bytes | Mapping):
        raise TypeError(f"revoke takes the id of a task, or several of them, not {given!r}")
    ids = [str(each) if each is not None else "" for each in several]
    if not ids or not all(ids):
        raise ValueError(f"revoke takes the id of a task, or several of them, not {given!r}")
    return ids


def stamps_of(given: Any) -> dict[str, list[Any]]:
    """The stamps that a program names: `{"header": value or values}`, or `["header=value"]`. Raises `TypeError`, `ValueError`."""
    if not isinstance(given, Mapping | Iterable) or isinstance(given, str | bytes):
        raise TypeError(f"revoke_by_stamped_headers takes {{'header': 'value'}} or ['header=value'], not {given!r}")
    found: dict[str, list[Any]] = {}
    if isinstance(given, Mapping):
        if empty := [key for key, values in given.items() if values in (None, "", [], ())]:
            raise ValueError(f"the stamp {empty[0]!r} needs a value, or several")
        found = {str(key): revoking.several(values) for key, values in given.items()}
    else:
        for each in given:
            key, sign, value = str(each).partition("=")
            if not sign:
                raise ValueError(f"{each!r} is no stamp; write header=value")
            found.setdefault(key, []).append(value)
    if not found:
        raise ValueError("revoke_by_stamped_headers takes at least one stamp: {'header': 'value'}")
    return found
