"""The few system calls that the standard library has no function for.

They go through `_ctypes` itself: the module `ctypes` on top of it would cost the keeper 3 ms and half a megabyte. Where
`_ctypes` is missing, a keeper goes without: its worker's orphans go to init, and the log is looked at from time to time.
"""

from __future__ import annotations

try:
    import _ctypes
except ImportError:  # an interpreter built without libffi
    _ctypes = None  # type: ignore[assignment]

IN_MODIFY, IN_ATTRIB, IN_DELETE_SELF, IN_MOVE_SELF = 0x2, 0x4, 0x400, 0x800
KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE = 0x1, 0x2, 0x8
_IN_NONBLOCK_CLOEXEC = 0o4000 | 0o2000000
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_PDEATHSIG = 1


def _call(name: str, *arguments: object) -> int:
    if _ctypes is None:
        return -1
    try:
        function = _ctypes.dlsym(_ctypes.dlopen(None, 2), name)  # type: ignore[arg-type]
    except OSError:
        return -1
    result: int = _ctypes.call_function(function, arguments)
    return result


def become_subreaper() -> bool:
    """Make every orphan among this process's descendants its own child; the setting survives an exec."""
    return _call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def end_with_parent() -> None:
    """Have this process sent TERM when its parent ends; the setting survives an exec."""
    _call("prctl", _PR_SET_PDEATHSIG, 15, 0, 0, 0)


def set_name(name: str) -> None:
    """The name that `ps -e` and `top` show."""
    _call("prctl", _PR_SET_NAME, name.encode("ascii", "replace")[:15], 0, 0, 0)


def inotify() -> int:
    """A descriptor that tells of changes to files; -1 when there is none to be had."""
    return _call("inotify_init1", _IN_NONBLOCK_CLOEXEC)


def watch(fd: int, path: str, events: int) -> int:
    """Let `fd` tell of `events` at `path`; the number of the watch, or -1."""
    return _call("inotify_add_watch", fd, path.encode("utf-8", "surrogateescape"), events)


def unwatch(fd: int, number: int) -> None:
    """Take a watch back."""
    _call("inotify_rm_watch", fd, number)


def fallocate(fd: int, mode: int, offset: int, length: int) -> bool:
    """Change where an open file has room; False where the file system can't."""
    if _ctypes is None:
        return False

    class Long(_ctypes._SimpleCData):  # type: ignore[type-arg]  # a plain number would go as one of 32 bits
        _type_ = "q"

    return _call("fallocate", fd, mode, Long(offset), Long(length)) == 0


def signalfd(numbers: tuple[int, ...]) -> int:
    """A descriptor from which blocked signals are read, with their senders; -1 when there is none to be had."""
    mask = sum(1 << (number - 1) for number in numbers).to_bytes(8, "little") + bytes(120)
    return _call("signalfd", -1, mask, _IN_NONBLOCK_CLOEXEC)
