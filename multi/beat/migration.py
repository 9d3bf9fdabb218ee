"""The file of Celery's beat, `celerybeat-schedule`: when it sent each entry last, and how often. It is read, and never written.

The file holds pickles. Nothing of them is run: but for times, whatever class they name becomes a dead thing that remembers what
it was made with.
"""

from __future__ import annotations

import dbm
import io
import os
import pickle
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from multi.errors import ConfigurationError

#: What Celery's shelve may have put behind the name, by the library that it found.
SUFFIXES = ("", ".db", ".dat")
#: What may be made again: times, and their zones.
_ALLOWED: dict[tuple[str, str], Any] = {
    **{("datetime", kind.__name__): kind for kind in (date, datetime, time, timedelta, timezone)},
    ("zoneinfo", "ZoneInfo"): ZoneInfo,
    ("builtins", "getattr"): lambda owner, name: _unpickle if (owner, name) == (ZoneInfo, "_unpickle") else Dead,
}
#: How a zone is pickled: as a call of this method, which is got by its name.
_unpickle: Any = getattr(ZoneInfo, "_unpickle")  # noqa: B009 - it isn't in the types
#: Celery's `ScheduleEntry` is pickled as name, task, last_run_at, total_run_count, schedule, ...
_NAME, _LAST, _COUNT = 0, 2, 3


class Dead:
    """Whatever a pickle names: it does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args = args

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Dead:
        return Dead(*args)

    def append(self, value: Any) -> None:
        pass

    extend = append


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _ALLOWED.get((module, name), Dead)


def is_there(path: str) -> bool:
    """Whether there is such a file, under any of the names that it may have."""
    return any(os.path.isfile(path + suffix) for suffix in SUFFIXES)


def check(path: str | None) -> None:
    """Raise `ConfigurationError` for what can be no such file."""
    if path and os.path.isdir(path):
        raise ConfigurationError(
            f"-s {path} is a folder; name the file in it, as in -s {os.path.join(path, 'celerybeat-schedule')}"
        )


def last_runs(path: str) -> dict[str, tuple[float, int]]:
    """Last run (seconds since the epoch) and count of each entry. Raises `ValueError` for what can't be read."""
    try:
        with dbm.open(path, "r") as file:
            value = file.get(b"entries")
    except dbm.error as error:
        raise ValueError(f"{path} can't be read: {error}") from None
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror or error}") from None
    except Exception as error:  # nor is a library of these careful with a file that was cut off
        raise ValueError(f"{path} can't be read: it is damaged ({type(error).__name__}: {error})") from None
    if value is None:
        return {}
    try:
        entries = _Reader(io.BytesIO(value)).load()
    except Exception as error:  # a pickle may fail with anything
        raise ValueError(f"{path} can't be read: {type(error).__name__}: {error}") from None
    found: dict[str, tuple[float, int]] = {}
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        told = entry.args if isinstance(entry, Dead) else ()
        if not isinstance(name, str) or len(told) <= _COUNT or not isinstance(told[_LAST], datetime):
            continue
        last = told[_LAST] if told[_LAST].tzinfo is not None else told[_LAST].replace(tzinfo=UTC)
        count = told[_COUNT]
        found[name] = (last.timestamp(), count if isinstance(count, int) else 0)
    return found
