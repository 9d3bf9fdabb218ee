"""What others say to a keeper: news of its workers, requests of commands."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import time

from . import proc
from .channel import Message
from .worker import OUTGOING, SIGNALS, Worker

TYPE_CHECKING = False  # the module `typing` alone would cost the keeper 7 ms
if TYPE_CHECKING:
    from .node import Node


def heard(node: Node, message: Message) -> None:
    """News from a worker, or from a process of its session: what wraps a program in a shell doesn't speak itself."""
    one = _sender(node, message.pid)
    if one is None:
        return
    fields = message.fields
    if fields.get("WATCHDOG") == "1":
        one.pulse = time.monotonic()
    changed = False
    if "X_ENGINE" in fields and one.engine != fields["X_ENGINE"]:
        one.engine = fields["X_ENGINE"]
        changed = True
    if "STATUS" in fields and one.role != OUTGOING and node.text != fields["STATUS"]:
        node.text = fields["STATUS"]
        changed = True
    if "EXTEND_TIMEOUT_USEC" in fields:
        _extend(node, fields["EXTEND_TIMEOUT_USEC"])
    if fields.get("READY") == "1" and one.ready is None:
        node.was_ready(one)
    elif changed:
        node.write()


def _sender(node: Node, pid: int) -> Worker | None:
    for one in node.workers:
        if one.pid == pid:
            return one
    if node.workers and pid > 0:
        session = proc.session(pid)
        for one in node.workers:
            if one.pid == session and not one.is_foreign:
                return one
    return None


def _extend(node: Node, text: str) -> None:
    try:
        until = time.monotonic() + int(text) / 1_000_000
    except ValueError:
        return
    for step in ("quit", "kill"):
        if step in node.timers:
            node.timers[step] = max(node.timers[step], until)


def asked(node: Node, message: Message) -> None:
    """A request of a command."""
    fields = message.fields
    what = fields.get("request")
    by = fields.get("by") or f"pid {message.pid}, user {message.uid}"
    try:
        number = int(fields.get("signal", _signal.SIGTERM))
    except ValueError:
        return
    if what == "stop":
        node.stop(number, fields, by)
    elif what == "kill":
        node.forced = True
        node.stop(_signal.SIGKILL, by=by)
    elif what == "reload":
        node.hup(by)
    elif what == "signal" and number in SIGNALS:
        node.tell(number)
    elif what in ("pause", "resume"):
        from . import pause

        pause.ask(node, what, fields.get("queues", ""), by)


def signalled(number: int, pid: int, uid: int) -> str:
    """Who has sent a signal, in a few words."""
    name = SIGNALS.get(number, str(number))
    if pid <= 0:
        return f"signal {name}"
    try:
        with open(f"/proc/{pid}/comm") as file:
            who = file.read().strip()
    except OSError:
        who = "a process that is gone"
    return f"signal {name} from {who} (pid {pid}, user {uid})"
