"""Compresses one old copy of a log: `python -I -S compress.py COPY` makes COPY.gz of it, with its owner, mode and times.

A program of its own, so that no keeper ever carries the memory of it. It holds a lock on the copy, so that the copy keeps
its name meanwhile, and that nobody else does the same.
"""

from __future__ import annotations

import os
import sys

_BLOCK = 1 << 18
_GZIP = 31  # for zlib: the largest window, and the head and tail of a gzip file


def main(path: str) -> int:
    """Do it; the exit status."""
    import fcntl

    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return 0  # somebody else is at it
    status = os.fstat(fd)
    if not _is_at(path, status):
        return 0  # renamed in between
    part = f"{path}.gz.part"
    try:
        os.nice(10)
        _write(fd, part, status)
        if not _is_at(path, status):
            os.unlink(part)
            return 0
        os.replace(part, f"{path}.gz")
    except OSError as error:
        sys.stderr.write(f"multi: {path} can't be compressed: {error.strerror}; it stays as it is\n")
        try:
            os.unlink(part)
        except OSError:
            pass  # it could not even be begun
        return 1
    os.unlink(path)
    return 0


def _is_at(path: str, status: os.stat_result) -> bool:
    """Whether the copy still has this name."""
    there = os.stat(path)
    return (there.st_dev, there.st_ino) == (status.st_dev, status.st_ino)


def _write(fd: int, part: str, status: os.stat_result) -> None:
    import zlib

    packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
    out = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        while data := os.read(fd, _BLOCK):
            _all(out, packer.compress(data))
        _all(out, packer.flush())
        os.fchmod(out, status.st_mode & 0o7777)
        if os.geteuid() == 0:
            os.fchown(out, status.st_uid, status.st_gid)
        os.fsync(out)
    finally:
        os.close(out)
    os.utime(part, ns=(status.st_atime_ns, status.st_mtime_ns))


def _all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except FileNotFoundError:
        pass  # deleted or renamed in between
