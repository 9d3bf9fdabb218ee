"""When a worker that can't reach its broker ends instead of waiting for it."""

from __future__ import annotations

from typing import Any


def given_up(conf: Any, *, connected: bool, failures: int) -> str:
    """The setting by which it ends after so many failures in a row, "" as long as it waits; `connected`: whether it ever was."""
    at_start = conf.broker_connection_retry_on_startup
    if not connected and at_start is False:
        return "broker_connection_retry_on_startup is False"
    if not conf.broker_connection_retry and (connected or at_start is None):
        return "broker_connection_retry is False"
    most = conf.broker_connection_max_retries
    return f"broker_connection_max_retries is {most}" if most and failures > most else ""
