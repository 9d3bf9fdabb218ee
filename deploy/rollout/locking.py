"""The lock of a deploy: one on each host, which tells who has taken it, when, from where and why.

It is a file that appears whole, by a hard link, so that it is never there without a name on it. It ends by itself when the
host's clock has passed its time; who holds it puts that off while the deploy goes on.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from multi.deploy.steps import Command
from multi.errors import DeployLocked, HostUnreachable, StepFailed

if TYPE_CHECKING:
    from multi.deploy.base import Result, Session
    from multi.deploy.hosts.inventory import Host

_HELD, _NOT_SET_UP = 75, 73

#: folder, seconds, id, text, id of the lock that is broken or "".
_TAKE = """
set -eu
own=$1 ttl=$2 id=$3 text=$4 breaks=$5
umask 022
mkdir -p "$own" 2>/dev/null && [ -w "$own" ] || exit 73
cd "$own"
now=$(date +%s)
new=lock.$id
trap 'rm -f "$new" "lock.old.$id"' EXIT
printf '%s\\n%s\\n%s\\n' "$id" "$((now + ttl))" "$text" > "$new"
if ln "$new" lock 2>/dev/null; then exit 0; fi
held= until=0
{ read -r held && read -r until; } < lock || :
if [ "$held" = "$id" ]; then exit 0; fi
if [ "${until:-0}" -le "$now" ] || [ "$held" = "$breaks" ]; then
  if mv lock "lock.old.$id" 2>/dev/null; then
    really=
    read -r really < "lock.old.$id" || :
    if [ "$really" = "$held" ]; then
      if ln "$new" lock 2>/dev/null; then cat "lock.old.$id"; exit 0; fi
    else ln "lock.old.$id" lock 2>/dev/null || :
    fi
  fi
fi
echo "$now"
cat lock
exit 75
"""

#: folder, id, seconds.
_RENEW = """
set -eu
cd "$1"
held=
read -r held < lock || :
[ "$held" = "$2" ] || exit 75
now=$(date +%s)
{ echo "$2"; echo "$((now + $3))"; tail -n +3 lock; } > "lock.new.$2"
mv -f "lock.new.$2" lock
"""

#: folder, id. What is there instead is printed as for `show`.
_HOLDS = """
cd "$1" || exit 0
held=
read -r held < lock || :
[ "$held" != "$2" ] || exit 0
date +%s; cat lock
exit 75
"""

#: folder, id.
_RELEASE = """
cd "$1" 2>/dev/null || exit 0
held=
[ -e lock ] || exit 0
read -r held < lock || :
if [ "$held" = "$2" ]; then rm -f lock; else exit 75; fi
"""

#: folder.
_SHOW = 'cd "$1" 2>/dev/null && [ -e lock ] || exit 0; date +%s; cat lock'


class Lock(NamedTuple):
    """One lock as it stands on a host. `left` are the seconds until it ends by itself."""

    id: str
    who: str
    where: str
    since: float
    why: str
    left: float
    process: dict[str, Any]

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        why = f": {self.why}" if self.why else ""
        ends = f"ends by itself in {_span(self.left)}" if self.left > 0 else "expired"
        if self.left > 0 and self.is_abandoned:
            ends = f"left by a process that is no more; {ends}"
        return f"{self.who} on {self.where} since {since}{why} ({ends})"

    @property
    def is_abandoned(self) -> bool:
        """Whether it was taken on this machine by a process that is no more."""
        own = _process()
        if not self.process or {**self.process, "pid": 0, "start": 0} != {**own, "pid": 0, "start": 0}:
            return False
        return _started(int(self.process["pid"])) != int(self.process["start"])

    @property
    def is_own(self) -> bool:
        """Whether the same person took it on this machine."""
        return self.who == (os.environ.get("SUDO_USER") or _login()) and self.where == os.uname().nodename

    def why_not_to_end(self) -> str:
        """Why it must not be taken away without a word of force; "" where it may: nobody holds it any more, or it is one that
        was taken by hand and is to be ended so, by who has taken it."""
        if self.left <= 0 or self.is_abandoned or (self.is_own and not self.process):
            return ""
        if not self.is_own:
            return f"locked by {self}; when you know that nobody deploys: --break"
        return (
            f"a deploy of yours is at it, or was (process {self.process.get('pid')}): {self}. Wait for it, or end it with "
            "Ctrl-C; when you know that it is gone: --break"
        )

    def json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "who": self.who,
            "from": self.where,
            "since": self.since,
            "why": self.why,
            "seconds_left": self.left,
            "abandoned": self.is_abandoned,
        }


class Holder:
    """Whoever takes locks: one id for all the hosts of a deploy. With `lasting` they are meant to outlive the process."""

    def __init__(self, why: str, expires: float, *, lasting: bool = False) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.expires = int(expires)
        self._renewed: dict[str, float] = {}
        self._seen: dict[str, float] = {}
        self.text = json.dumps(
            {
                "who": os.environ.get("SUDO_USER") or _login(),
                "from": os.uname().nodename,
                "since": round(time.time(), 1),
                "why": why,
                "process": {} if lasting else _process(),
            }
        )

    def take(self, session: Session, *, breaking: bool = False) -> str | None:
        """Take the lock of this host; `DeployLocked` when somebody has it. What was found and taken over, where something was."""
        result = self._try(session, "")
        if result.code == _HELD:
            held = _parse(result.out)
            if held is not None and (breaking or held.is_abandoned):
                result = self._try(session, held.id)
                if result.ok:
                    self._renewed[session.host.name] = time.monotonic()
                    word = "broken" if breaking and not held.is_abandoned else "left by a deploy that is no more"
                    return f"the lock of {held} was {word}"
                held = _parse(result.out) or held
            if result.code == _HELD:
                raise DeployLocked(
                    f"{session.host.name} is locked by {held or 'somebody'}; wait for it, or, when you know that nobody deploys, "
                    "take it: --break"
                )
        if result.code == _NOT_SET_UP:
            own = session.host.settings.own
            raise StepFailed(
                session.host.name, "lock", f"{own} can't be written; prepare the host: multi deploy setup", result.tail
            )
        _done(session, "lock", result)
        self._renewed[session.host.name] = time.monotonic()
        self._seen[session.host.name] = time.monotonic()
        if result.out.strip():
            return f"an expired lock was taken over: {_parse('0' + chr(10) + result.out) or 'of nobody'}"
        return None

    def _try(self, session: Session, breaks: str) -> Result:
        words = (session.host.settings.own, str(self.expires), self.id, self.text, breaks)
        return session.run(_script(session.host, _TAKE, *words))

    def renew(self, session: Session) -> None:
        """Put off its end, when a third of its time is over."""
        last = self._renewed.get(session.host.name)
        if last is None or time.monotonic() - last < self.expires / 3:
            return
        result = session.run(_script(session.host, _RENEW, session.host.settings.own, self.id, str(self.expires)))
        if result.code == _HELD:
            self.confirm(session)
        elif result.ok:
            self._renewed[session.host.name] = self._seen[session.host.name] = time.monotonic()

    def confirm(self, session: Session, *, age: float = 0.0) -> None:
        """`DeployLocked` where somebody has taken the lock away. What was seen in the last `age` seconds holds."""
        name = session.host.name
        if name not in self._renewed or time.monotonic() - self._seen.get(name, -age) < age:
            return
        result = session.run(_script(session.host, _HOLDS, session.host.settings.own, self.id, name="multi-lock-holds"))
        if result.code == _HELD:
            held = _parse(result.out)
            now = f"it is locked by {held}" if held is not None else "nobody has it locked"
            raise DeployLocked(
                f"{name}: the lock of this deploy was taken away ({now}): nothing more is done there, not even the way back; "
                "the next push brings it into line"
            )
        if result.ok:
            self._seen[name] = time.monotonic()

    def release(self, session: Session) -> None:
        """Give it back; one that is somebody else's by now stays."""
        if self._renewed.pop(session.host.name, None) is None:
            return
        result = session.run(_script(session.host, _RELEASE, session.host.settings.own, self.id))
        if result.code is None:
            raise HostUnreachable(session.host.name, f"its lock stays until it expires: {result.err}")


def show(session: Session) -> Lock | None:
    """The lock that is on this host."""
    result = session.run(_script(session.host, _SHOW, session.host.settings.own))
    _done(session, "lock", result)
    return _parse(result.out)


def remove(session: Session, lock: Lock) -> None:
    """Take away this lock, whoever's it is, and no other."""
    _done(session, "unlock", session.run(_script(session.host, _RELEASE, session.host.settings.own, lock.id)))


def _script(host: Host, script: str, *words: str, name: str = "multi-lock") -> Command:
    return Command(("sh", "-c", script, name, *words), user=host.settings.owner_user, timeout=60)


def _done(session: Session, what: str, result: Result) -> None:
    if result.code is None:
        raise HostUnreachable(session.host.name, f"{what}: {result.err}")
    if "a password is required" in result.err:
        raise StepFailed(session.host.name, what, "sudo wants a password there; give it with --ask-sudo-password")
    owner = session.host.settings.owner_user
    if owner and ("unknown user" in result.err or "does not exist" in result.err):
        raise StepFailed(session.host.name, what, f"there is no user {owner}, the owner; multi deploy setup makes it")
    if not result.ok:
        raise StepFailed(session.host.name, what, f"exit code {result.code}", result.tail)


def _parse(text: str) -> Lock | None:
    lines = text.split("\n")
    if len(lines) < 4:
        return None
    now, held, until, *rest = lines
    try:
        said = json.loads(rest[0])
        left = float(until) - float(now)
    except ValueError:
        return Lock(held, "somebody", "an unknown machine", 0.0, "", 0.0, {})
    return Lock(
        held,
        str(said.get("who")),
        str(said.get("from")),
        float(said.get("since") or 0),
        str(said.get("why") or ""),
        left,
        said.get("process") or {},
    )


def _span(seconds: float) -> str:
    return f"{round(seconds / 60)} min" if seconds >= 50 else f"{round(seconds)} s"


def _login() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())


def _process() -> dict[str, Any]:
    """What tells this process from all others, of other machines and after a restart of this one too."""
    pid = os.getpid()
    return {"boot": _boot(), "pid": pid, "start": _started(pid), "space": _namespace()}


def _boot() -> str:
    return _text("/proc/sys/kernel/random/boot_id")


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> int:
    """When a process was started, in the kernel's ticks; 0 when there is none."""
    fields: Sequence[str] = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 and fields[0] != "Z" else 0


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
