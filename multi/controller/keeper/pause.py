"""Queues that a node leaves alone for now: kept in paused.json beside its specification, until they are resumed.

A worker that runs is told by a datagram to the socket control.GENERATION that it listens at; one that is about to start
learns it from its environment.
"""

from __future__ import annotations

import _socket
import os

from . import channel, record
from .standing import STOPPING

TYPE_CHECKING = False  # the module `typing` alone would cost the keeper 7 ms
if TYPE_CHECKING:
    from .node import Node
    from .worker import Worker

ALL = "*"


def path(kept: str) -> str:
    """The file that keeps it."""
    return f"{kept}/paused.json"


def load(kept: str) -> list[str]:
    """The queues that were paused."""
    found = record.read(path(kept)).get("queues")
    return [str(name) for name in found] if isinstance(found, list) else []


def parse(text: str) -> list[str]:
    """The queues of a request; none of them: all."""
    found = list(dict.fromkeys(name for word in text.split(",") if (name := word.strip())))
    return [ALL] if not found or ALL in found else found


def ask(node: Node, verb: str, text: str, by: str) -> None:
    """Pause or resume queues, now and after every restart."""
    queues = parse(text)
    before = node.paused
    if verb == "pause":
        after = [ALL] if ALL in (*before, *queues) else list(dict.fromkeys([*before, *queues]))
    elif queues == [ALL]:
        after = []
    elif before == [ALL]:
        node.log.say(
            "ERROR", f"{node.name}: all queues are paused, so single ones can't be resumed: resume all of them"
        )
        return
    else:
        after = [name for name in before if name not in queues]
    if node.spec.get("kind") in ("command", "beat"):
        node.log.say("ERROR", f"{node.name}: a {node.spec['kind']} consumes from no queues, so nothing can be paused")
        return
    try:
        if after:
            record.write(path(node.kept), {"queues": after})
        elif os.path.exists(path(node.kept)):
            os.unlink(path(node.kept))
    except OSError as error:
        node.log.say("ERROR", f"{node.name}: what is paused can't be kept, a restart will forget it: {error}")
    node.paused = after
    what = "all queues" if queues == [ALL] else ", ".join(queues)
    is_over = node.state == STOPPING  # what ends takes up nothing any more; it is meant for what follows
    node.log.say("INFO", f"{node.name}: {verb} {what}{', from the next start on' if is_over else ''}")
    node.history.add(f"{verb}d", queues=queues, by=by, later=True if is_over else None)
    for one in node.workers if not is_over else ():
        if one.end is None and one.ready is not None:
            _tell(node, one, verb, queues)
            one.paused = [*after]
    node.write()


def bring_up_to_date(node: Node, one: Worker) -> None:
    """Tell a worker that has just become ready what was asked for while it was starting."""
    now = node.paused
    if one.paused == [ALL] or (gone := [name for name in one.paused if name not in now]):
        _tell(node, one, "resume", [ALL] if one.paused == [ALL] else gone)
    if now:
        _tell(node, one, "pause", now)
    one.paused = [*now]


def _tell(node: Node, one: Worker, verb: str, queues: list[str]) -> None:
    if one.is_foreign:
        return  # it has no such socket; whoever asked reaches it in another way
    text = f"{channel.HELLO}\nrequest={verb}\nqueues={','.join(queues)}"
    if not _send(f"{node.files}/control.{one.generation}", text):
        node.log.say(
            "WARNING", f"{node.name}: the worker (pid {one.pid}) takes no request to {verb}; the next one will know it"
        )


def _send(place: str, text: str) -> bool:
    sender = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
    fd = -1
    try:
        address = channel.address(place)
        if address.startswith("@"):
            sender.sendto(text.encode(), "\0" + address[1:])
        else:
            # through a descriptor: the directory may be another user's, and no link there is to be followed
            fd = os.open(place, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)  # type: ignore[attr-defined,unused-ignore]
            sender.sendto(text.encode(), f"/proc/self/fd/{fd}")
    except OSError:
        return False
    finally:
        sender.close()
        if fd >= 0:
            os.close(fd)
    return True
