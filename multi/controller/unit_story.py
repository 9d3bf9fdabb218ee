"""What has happened to a node that systemd runs, from the journal that systemd itself writes about it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from typing import Any

from multi.controller.managers.base import Unit
from multi.controller.managers.systemd import RESULTS

Event = dict[str, Any]

_STARTED, _EXITED = "39f53479d3a045ac8e11786248231fbf", "98e322203f7a4ed290d09fe03c09fe15"
_STOPPING, _STOPPED = "de5b426a63be47a7b6ac3eaac82e2f6f", "9d1aaa27d60140bd96365438aad20286"
_FAILED, _RELOADED = "d9b373ed55a64feb8242e02dbe79a49c", "7b05ebc668384222baa8881179cfda54"
#: As it is now, and as it was before version 255.
_AGAIN = ("5eb03494b6584870a536b337290809b3", "5eb03494b6584870a536b337290809b2")
_TOLD = (_STARTED, _EXITED, _STOPPING, _STOPPED, _FAILED, _RELOADED, *_AGAIN)
#: What the line about the process has said already.
_SAID = ("exit-code", "signal", "core-dump")
_MOST = 500
_PATIENCE = 20.0


def read(unit: Unit) -> list[Event]:
    """Its events, eldest first; none where the journal can't be read, or keeps nothing."""
    words = [*unit.journal(follow=False, lines=_MOST, since=None)]
    if not words:
        return []
    words = [word for word in words if not word.startswith("--output=")]
    words += ["--output=json", *(f"MESSAGE_ID={one}" for one in _TOLD)]
    try:
        done = subprocess.run(words, capture_output=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return events(done.stdout.decode("utf-8", "replace").splitlines())


def events(lines: Iterable[str]) -> list[Event]:
    """The events in lines of the journal, each an entry in JSON."""
    found: list[Event] = []
    boot = None
    for line in lines:
        try:
            entry = json.loads(line)
            at = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
        except (ValueError, KeyError, TypeError):
            continue
        if boot is not None and entry.get("_BOOT_ID") != boot:
            found.append({"event": "unit", "at": at, "text": "the machine was restarted"})
        boot = entry.get("_BOOT_ID")
        if (event := _event(entry)) is not None:
            found.append({**event, "at": at})
    return found


def _event(entry: dict[str, Any]) -> Event | None:
    what = entry.get("MESSAGE_ID")
    if what == _STARTED:
        return {"event": "unit", "text": "systemd has started it, and it was ready", "good": True}
    if what == _EXITED:
        status = str(entry.get("EXIT_STATUS", "?"))
        name = str(entry.get("MESSAGE", "")).rpartition("/")[2] or status
        if entry.get("EXIT_CODE") == "exited":
            return {"event": "exit", "kind": "stop" if status == "0" else "crash", "text": f"exit status {status}"}
        core = ", with a core dump" if entry.get("EXIT_CODE") == "dumped" else ""
        return {"event": "exit", "kind": "stop" if name == "TERM" else "crash", "text": f"killed by {name}{core}"}
    if what in _AGAIN:
        return {"event": "unit", "text": f"systemd starts it again (restart {entry.get('N_RESTARTS', '?')} in a row)"}
    if what == _STOPPING:
        return {"event": "unit", "text": "systemd was told to stop it"}
    if what == _STOPPED and entry.get("JOB_TYPE") != "restart":
        return {"event": "unit", "text": "everything of it has ended"}
    if what == _RELOADED:
        return {"event": "unit", "text": "a reload is done: another process has taken over", "good": True}
    result = str(entry.get("UNIT_RESULT", ""))
    if what == _FAILED and result not in _SAID:
        text = RESULTS.get(result, f"systemd says {result!r} of it")
        return {"event": "unit", "text": text.format(status=entry.get("EXIT_STATUS", "?")), "good": False}
    return None
