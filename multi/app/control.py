"""Remote control: what a program says to all workers, Celery's among them."""

from __future__ import annotations

import json
import signal as signals
from collections.abc import Iterable, Mapping, Sequence
from time import time
from typing import TYPE_CHECKING, Any, cast

from multi import revoking
from multi.app.lacking import CONTROL, Lacks
from multi.errors import UnsupportedOption
from multi.message import Message

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.revoking import KeepsRevoked

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


_KNOWN = (
    "those that end one are TERM (the default), INT, QUIT, HUP, ABRT and KILL; USR1 raises SoftTimeLimitExceeded in it"
)


def place_of(app: App) -> KeepsRevoked | None:
    """Where it is kept for all workers which tasks are revoked: the broker, or else the result backend."""
    broker = app.worker_broker
    if broker.abilities.revokes:
        return cast("KeepsRevoked", broker)
    backend = app.backend
    return cast("KeepsRevoked", backend) if backend is not None and backend.revokes else None


def _ids(given: Any) -> list[str]:
    """The ids of tasks that a program names: one, or several. Raises `TypeError` and `ValueError`."""
    several = [given] if isinstance(given, str) else given
    if not isinstance(several, Iterable) or isinstance(several, bytes | Mapping):
        raise TypeError(f"revoke takes the id of a task, or several of them, not {given!r}")
    ids = [str(each) if each is not None else "" for each in several]
    if not ids or not all(ids):
        raise ValueError(f"revoke takes the id of a task, or several of them, not {given!r}")
    return ids


class Control(Lacks):
    """`app.control`."""

    _lacking = CONTROL
    _called = "app.control"

    def __init__(self, app: App) -> None:
        self.app = app

    def revoke(
        self,
        task_id: str | Iterable[Any],
        destination: Sequence[str] | None = None,
        terminate: bool = False,
        signal: Any = None,
        **options: Any,
    ) -> None:
        """Have these tasks (one id, or several) not run any more: who claims one records it as REVOKED.

        One that runs goes on, unless `terminate` is set: then the process that runs it is ended with `signal`. The ids are
        kept for three hours in the broker or the result backend, for workers that are away now, unless only the workers in
        `destination` are meant.
        """
        ids = _ids(task_id)
        name = signals.Signals(signal_number(signal)).name
        arguments = {"task_id": ids, "terminate": bool(terminate), "signal": name}
        self._tell("revoke", arguments, [*map(revoking.of_task, ids)], destination, options)

    def terminate(
        self, task_id: str | Iterable[Any], destination: Sequence[str] | None = None, signal: Any = None, **options: Any
    ) -> None:
        """As `revoke` with `terminate=True`."""
        self.revoke(task_id, destination, True, signal, **options)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any] | Iterable[str],
        destination: Sequence[str] | None = None,
        terminate: bool = False,
        signal: Any = None,
        **options: Any,
    ) -> None:
        """As `revoke`, all tasks that carry one of these stamps: `{"header": value or values}`, or `["header=value"]`."""
        if not isinstance(headers, Mapping | Iterable) or isinstance(headers, str | bytes):
            raise TypeError(
                f"revoke_by_stamped_headers takes {{'header': 'value'}} or ['header=value'], not {headers!r}"
            )
        if isinstance(headers, Mapping):
            if empty := [key for key, values in headers.items() if values in (None, "", [], ())]:
                raise ValueError(f"the stamp {empty[0]!r} needs a value, or several")
            given = {str(key): revoking.several(values) for key, values in headers.items()}
        else:
            given = {}
            for each in headers:
                key, sign, value = str(each).partition("=")
                if not sign:
                    raise ValueError(f"{each!r} is no stamp; write header=value")
                given.setdefault(key, []).append(value)
        if not given:
            raise ValueError("revoke_by_stamped_headers takes at least one stamp: {'header': 'value'}")
        name = signals.Signals(signal_number(signal)).name
        arguments = {"headers": given, "terminate": bool(terminate), "signal": name}
        self._tell("revoke_by_stamped_headers", arguments, revoking.of_stamps(given), destination, options)

    def _tell(
        self,
        method: str,
        arguments: dict[str, Any],
        marks: list[str],
        destination: Sequence[str] | None,
        options: Mapping[str, Any],
    ) -> None:
        """Keep the marks for those who don't hear it, and say it to those who do."""
        pattern, matcher = options.get("pattern"), options.get("matcher")
        for name, value in options.items():
            if name in ("pattern", "matcher", "connection", "timeout", "limit") or not value:
                continue
            raise UnsupportedOption(f"{name}={value!r}: workers can't answer remote control yet; leave it out")
        if isinstance(destination, str):
            raise ValueError("destination is a list of the names of workers")
        place = place_of(self.app) if not destination and not pattern else None
        if place is not None:
            place.keep_revoked(marks, time() + revoking.life(), revoking.most())
        self._say(method, arguments, destination, pattern, matcher, kept=place is not None)

    def broadcast(
        self,
        method: str,
        arguments: Mapping[str, Any] | None = None,
        destination: Sequence[str] | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> None:
        """Say something to all workers that hear it now, in the form that Celery's understand; none answers."""
        self._say(method, arguments or {}, destination, pattern, matcher, kept=False)

    def _say(
        self,
        method: str,
        arguments: Mapping[str, Any],
        destination: Sequence[str] | None,
        pattern: str | None,
        matcher: str | None,
        *,
        kept: bool,
    ) -> None:
        body = {
            "method": method,
            "arguments": dict(arguments),
            "destination": list(destination) if destination else None,
            "pattern": pattern,
            "matcher": matcher,
        }
        headers = {"clock": 0, "expires": 0, "kept": kept}
        message = Message(headers, json.dumps(body).encode(), properties={"delivery_mode": 1})
        self.app.worker_broker.say(f"{self.app.conf.control_exchange}.pidbox", message)
