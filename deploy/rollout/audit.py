"""The log of what was done on a host, kept there: a line of JSON for each deploy, rollback, command and broken lock."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from multi.deploy.steps import Command
from multi.errors import HostUnreachable, StepFailed

if TYPE_CHECKING:
    from multi.deploy.base import Session

#: folder, line, `current`, whose target is printed. An old log is cut to its newer half.
_APPEND = """
set -eu
readlink "$3" || :
umask 022
mkdir -p "$1"
cd "$1"
if [ -f audit.log ] && [ "$(wc -c < audit.log)" -gt 4000000 ]; then
  tail -c 2000000 audit.log | tail -n +2 > audit.log.new
  mv -f audit.log.new audit.log
fi
printf '%s\\n' "$2" >> audit.log
"""
_READ = '[ -f "$1/audit.log" ] || exit 0; tail -n "$2" "$1/audit.log"'


def entry(what: str, **more: Any) -> dict[str, Any]:
    """A record: what was done, when, by whom and from where."""
    from multi.deploy.rollout.locking import _login

    who = os.environ.get("SUDO_USER") or _login()
    return {"at": round(time.time(), 1), "who": who, "from": os.uname().nodename, "what": what, **more}


def told(record: Mapping[str, Any]) -> str:
    """A record as a line for people."""
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(record.get("at") or 0)))
    known = ("host", "at", "who", "from", "what")
    more = ", ".join(f"{key} {value}" for key, value in record.items() if key not in known and value)
    return f"{at}  {record.get('who', '?')}@{record.get('from', '?')}  {record.get('what', '?')}{f'  {more}' if more else ''}"


def append(session: Session, record: dict[str, Any]) -> str | None:
    """Write it down on this host; the release that is current there."""
    settings = session.host.settings
    argv = ("sh", "-c", _APPEND, "multi-audit", settings.own, json.dumps(record), settings.current)
    result = session.run(Command(argv, user=settings.owner_user, timeout=60))
    _done(session, result)
    return str(result.out).strip().rpartition("/")[2] or None


def read(session: Session, lines: int = 50) -> list[dict[str, Any]]:
    """The newest records of this host, oldest first; lines that are none are left out."""
    settings = session.host.settings
    argv = ("sh", "-c", _READ, "multi-audit", settings.own, str(lines))
    result = session.run(Command(argv, user=settings.owner_user, timeout=60))
    _done(session, result)
    found = []
    for line in result.out.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            found.append(record)
    return found


def _done(session: Session, result: Any) -> None:
    if result.code is None:
        raise HostUnreachable(session.host.name, f"audit log: {result.err}")
    if not result.ok:
        raise StepFailed(session.host.name, "audit log", f"exit code {result.code}", result.tail)
