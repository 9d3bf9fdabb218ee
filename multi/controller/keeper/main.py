"""How a keeper begins: it takes the node, reads its specification and opens what it needs, or says why it can't."""

from __future__ import annotations

import os
import time

from . import proc, record
from .channel import Channel
from .inherited import Inherited
from .logfile import Log
from .loop import Keeper, lock
from .node import Node, try_lock
from .standing import FAILED, VERSION, Unusable
from .trial import Trial

TYPE_CHECKING = False  # the module `typing` alone would cost the keeper 7 ms
if TYPE_CHECKING:
    from typing import Any

    from .owner import Owner

#: In a project of more nodes their logs are looked at from time to time: what tells of changes is not to be had for all.
MOST_WATCHED = 64
HELD = 3  # exit status: another keeper has this node


def main(rundir: str, new_spec: str = "") -> int:
    """Keep the node whose runtime directory this is, until it is over.

    `new_spec` is a specification to put in place of the kept one; that happens only once the node is ours, so that of two
    commands that start it at once the loser changes nothing.
    """
    os.umask(0o077)
    keeper_lock = os.open(f"{rundir}/keeper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    inherited = Inherited.from_env()
    # the lock is to be held by a worker that is there already, too: through the very file that it has open
    worker_lock = (
        inherited.lock
        if inherited is not None
        else os.open(f"{rundir}/worker.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    )
    if not lock(keeper_lock):
        return HELD
    trial = Trial(rundir)
    try:
        if new_spec:
            trial.begin(new_spec)
        spec = record.read(f"{rundir}/spec.json")
        if "argv" not in spec:
            return _refuse(f"the specification {rundir}/spec.json can't be read", rundir, worker_lock)
        if spec.get("singleton"):
            from . import singleton

            singleton.claim(rundir, spec)
        owner, log = _open_log(spec, rundir)
        node = Node(rundir, spec, log, worker_lock, proc.boot_id(), trial)
        node.inherited = inherited
        if owner is not None:
            node.owner, node.files = owner, f"{rundir}/worker"
        keeper = Keeper(node, Channel(f"{rundir}/notify", owner.uid if owner is not None else None))
        keeper.prepare()
    except Unusable as error:
        trial.failed(must=True)
        return _refuse(str(error), rundir, worker_lock)
    except OSError as error:
        trial.failed(must=False)
        return _refuse(f"{error.filename or rundir}: {error.strerror or error}", rundir, worker_lock)
    return keeper.run()


def _open_log(spec: dict[str, Any], rundir: str) -> tuple[Owner | None, Log]:
    """The log, and the user whose log it is, where that is not our own."""
    path = spec.get("log_file")
    kind = Log
    found = None
    if spec.get("user") or spec.get("group") or os.path.isdir(f"{rundir}/worker"):
        from . import owner

        found = owner.keeping(spec, rundir)
        if found is None:
            owner.remove_folder(rundir)
        else:
            owner.OwnedLog.owner = found
            kind = owner.OwnedLog
    try:
        log = kind.of(spec, watched=len(os.listdir(os.path.dirname(rundir))) <= MOST_WATCHED)
    except OSError as error:
        raise Unusable(f"the log {path} can't be written: {error.strerror}; name another with --logfile") from None
    if found is not None:
        owner.check_reach(found, rundir, path)
    return found, log


def _refuse(why: str, rundir: str, worker_lock: int) -> int:
    """Say why this keeper can't begin, to the command that has started it and to later ones; the exit status."""
    os.write(2, f"{why}\n".encode("utf-8", "backslashreplace"))
    before = record.read(f"{rundir}/status.json")
    if try_lock(worker_lock):  # or the record tells of a worker that lives
        if before.get("state"):
            from . import lost

            kept = os.path.dirname(os.path.realpath(f"{rundir}/spec.json"))
            lost.note(kept, rundir, before, proc.boot_id())
        value = {"version": VERSION, "state": FAILED, "since": time.time(), "message": why}
        try:
            record.write(f"{rundir}/status.json", {**value, "generation": before.get("generation", 0)})
        except OSError:
            pass  # this may be just what is wrong
    return 1
