"""Of some nodes there is to be just one in a project on this host, as of a beat, which would send everything twice."""

from __future__ import annotations

import os

from . import record
from .standing import Unusable

TYPE_CHECKING = False  # the module `typing` alone would cost the keeper 7 ms
if TYPE_CHECKING:
    from typing import Any


def claim(rundir: str, spec: dict[str, Any]) -> None:
    """Be the one of what it says there is to be one of. Raises `Unusable`, with the other's name, while there is another.

    A claim counts as long as anything of its node runs, so nobody has to take it back. The file that holds it is only
    looked at and written under its lock: of two that begin at once, one comes first.
    """
    import fcntl

    folder, mine = os.path.split(rundir)
    kind, what = spec.get("kind", "worker"), _what(spec)
    fd = os.open(f"{folder}/singleton.{what}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        other = os.pread(fd, 4096, 0).decode("utf-8", "surrogateescape")
        if other and other != mine and _runs(f"{folder}/{other}", what):
            raise Unusable(
                f"{other} runs, and there is to be one such {kind} in this project (a singleton): stop it first, "
                f"multi stopwait {other.partition('@')[0]}"
            )
        os.ftruncate(fd, 0)
        os.pwrite(fd, mine.encode("utf-8", "surrogateescape"), 0)
    finally:
        os.close(fd)


def _what(spec: dict[str, Any]) -> str:
    return str(spec.get("only_one_of") or spec.get("kind", "worker"))


def _runs(rundir: str, what: str) -> bool:
    """Whether the node there is to be the only one of this, too, and anything of it runs."""
    import fcntl

    spec = record.read(f"{rundir}/spec.json")
    if not spec.get("singleton") or _what(spec) != what:
        return False  # it was changed since
    for name in ("keeper.lock", "worker.lock"):
        try:
            fd = os.open(f"{rundir}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(fd)
    return False
