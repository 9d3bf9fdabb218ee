"""Settings from the environment: `MULTI_<SETTING>` for any of them, and the variables that Celery has for its URLs."""

from __future__ import annotations

import os

from multi.config.table import TABLE
from multi.errors import UnknownSetting

PREFIX = "MULTI_"

#: Celery's own variables; the broker's read and write URL stand before its plain URL, as there.
_CELERYS = {
    "broker_url": "CELERY_BROKER_URL",
    "broker_read_url": "CELERY_BROKER_READ_URL",
    "broker_write_url": "CELERY_BROKER_WRITE_URL",
    "result_backend": "CELERY_RESULT_BACKEND",
}

#: Variables under the prefix that are no settings.
_PUBLIC = frozenset(("STATE_DIR",))
_PRIVATE = frozenset(
    (
        "RUN_DIR",
        "PAUSED",
        "MANAGER_WATCHDOG_USEC",
        "GENERATION",
        "LOG_FILE",
        "LOG_FORMAT",
        "LOCK_FD",
        "MANAGER_SOCKET",
        "SUCCESSOR",
        "PREDECESSOR",
        "PIDFILE",
        "CI",
    )
)
#: Options of `multi worker` that have nearly the name of a setting.
_OPTIONS = frozenset(("WORKER_AUTOSCALE", "WORKER_NO_COLOR", "WORKER_STATEDB", "WORKER_TASK_EVENTS"))


def find(name: str) -> tuple[str, str]:
    """The variable that sets `name`, and its text; two empty texts if none does."""
    variable = PREFIX + name.upper()
    text = os.environ.get(variable)
    if text is None and name in _CELERYS:
        variable = _CELERYS[name]
        text = os.environ.get(variable)
    return (variable, text) if text else ("", "")


def check() -> None:
    """Raise `UnknownSetting` for a variable whose name is nearly that of a setting."""
    for variable in _unknown():
        from difflib import get_close_matches

        rest = variable.removeprefix(PREFIX)
        near = get_close_matches(rest, [*map(str.upper, TABLE), *_PUBLIC], 1, 0.87) if len(rest) >= 6 else ()
        if near:
            raise UnknownSetting(
                f"the variable {variable} in the environment sets nothing: no setting is called so; did you mean "
                f"{PREFIX}{near[0]}?"
            )


def notes() -> list[str]:
    """A line for each other variable under the prefix: it may be meant for us, or be anybody's."""
    lines = []
    for variable in _unknown():
        rest = variable.removeprefix(PREFIX)
        # a Kubernetes service of our name leaves MULTI_SERVICE_… and MULTI_PORT_…; MULTI_WORKER_… and MULTI_BEAT_… are
        # those of the commands
        if not rest.startswith(("SERVICE_", "PORT", "WORKER_", "BEAT_")) and not rest.endswith("_MARK"):
            lines.append(f"variable {variable}: no setting is called so, nothing reads it")
    return lines


def _unknown() -> list[str]:
    return [
        variable
        for variable in sorted(os.environ)
        if variable.startswith(PREFIX)
        and (rest := variable.removeprefix(PREFIX)).lower() not in TABLE
        and rest not in _PUBLIC
        and rest not in _PRIVATE
        and rest not in _OPTIONS
    ]
