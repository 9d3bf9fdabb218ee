"""Rotates a log whose program never opens it again: the older lines are copied, and taken off the file at its front.

The file stays the same one, so whoever writes to it notices nothing. The kernel takes the front off in one step, between
two writes: whole blocks are cut out (ext4, XFS), or else turned into a hole that holds no memory (tmpfs, btrfs), which
readers skip. On a file system that can do neither the file is emptied right after it was copied; what is written in that
instant is lost.

A cut is made where a line ends. Its last bytes make place for a line that tells where the older ones are, which also shows,
should the keeper be killed in the middle, how far it has come: while the copy begins as the log itself does, it was not taken
off yet (`finish`).
"""

from __future__ import annotations

import os

from . import libc
from .copies import Copies, is_held

MARK = "the log goes on; older lines are in"
_CHUNK = 1 << 20
_TRIES = 64  # places at which a cut may leave little of a block
_HEAD = 256


def cut(path: str, copies: Copies, mark: bytes) -> bool:
    """Make copy number 1 of the whole lines of the log, and take them off. False where there is no place for a cut."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    part = f"{path}.part"
    try:
        begin, size = start(fd), os.fstat(fd).st_size
        end = _place(fd, begin, size, len(mark))
        if end is None:
            return False
        try:
            _copy(fd, begin, end, part)
            os.close(os.open(f"{path}.cutting", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError:
            _remove(part)
            raise
        copies.shift()
        os.replace(part, f"{path}.1")
        _take_off(fd, end, mark, f"{path}.1")
        os.unlink(f"{path}.cutting")
    finally:
        os.close(fd)
    return True


def finish(path: str, mark: bytes) -> None:
    """Bring to its end what a killed keeper has left half done."""
    _remove(f"{path}.part")
    if not os.path.exists(f"{path}.cutting"):
        return
    try:
        copy = os.open(f"{path}.1", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        _remove(f"{path}.cutting")
        return
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            begin, copied = start(fd), os.fstat(copy).st_size
            head = os.pread(copy, _HEAD, 0)
            is_whole = os.fstat(fd).st_size >= begin + copied
            if is_whole and copied >= len(mark) and os.pread(fd, len(head), begin) == head:
                _take_off(fd, begin + copied, mark, f"{path}.1")
        finally:
            os.close(fd)
    finally:
        os.close(copy)
    _remove(f"{path}.cutting")


def refresh(path: str) -> bool:
    """Where a hole is at the front, put a file without it in the place of the log, unless another process writes to it; True
    if that was done."""
    part = f"{path}.part"
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        begin = start(fd)
        if begin == 0 or is_held(path, but=os.getpid()):
            return False
        _copy(fd, begin, os.fstat(fd).st_size, part)
    finally:
        os.close(fd)
    os.replace(part, path)
    return True


def start(fd: int) -> int:
    """Where an open log begins: behind the hole that a cut may have left."""
    try:
        if os.pread(fd, 1, 0) != b"\0":
            return 0
        at = os.lseek(fd, 0, os.SEEK_DATA)
    except OSError:
        return os.fstat(fd).st_size  # nothing but a hole
    while data := os.pread(fd, 65536, at):
        rest = data.lstrip(b"\0")
        at += len(data) - len(rest)
        if rest:
            break
    return at


def same_owner(of: os.stat_result, fd: int) -> None:
    """Give a new file the owner and the mode of the one that it follows."""
    is_now = os.fstat(fd)
    try:
        if (is_now.st_uid, is_now.st_gid) != (of.st_uid, of.st_gid):
            os.fchown(fd, of.st_uid, of.st_gid)
        if is_now.st_mode != of.st_mode:
            os.fchmod(fd, of.st_mode & 0o7777)
    except OSError:
        pass  # not ours to give: the log is still written


def _place(fd: int, begin: int, size: int, mark: int) -> int | None:
    """Where to cut: behind a line that ends soon after the front of a block, so that the mark fills what is left of it."""
    block = _block(fd)
    best: tuple[int, int] | None = None
    at = (size - mark) // block * block
    for _ in range(_TRIES):
        if at <= begin:
            break
        data = os.pread(fd, min(block, size - at - mark + 1), at + mark - 1)
        found = data.find(b"\n")
        if found >= 0 and (best is None or found < best[0]):
            best = (found, at + mark + found)
            if found < mark:
                break
        at -= block
    if best is not None:
        return best[1]
    at = max(begin, size - 2 * block)
    found = os.pread(fd, 2 * block, at).rfind(b"\n")
    return at + found + 1 if found >= 0 and at + found + 1 - begin >= mark else None


def _block(fd: int) -> int:
    return os.fstatvfs(fd).f_bsize or 4096


def _copy(fd: int, begin: int, end: int, to: str) -> None:
    out = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        while begin < end:
            data = os.pread(fd, min(_CHUNK, end - begin), begin)
            if not data:
                break  # somebody has emptied it
            begin += len(data)
            while data:
                data = data[os.write(out, data) :]
        same_owner(os.fstat(fd), out)
    finally:
        os.close(out)


def _take_off(fd: int, end: int, mark: bytes, copy: str) -> None:
    block = _block(fd)
    at = (end - len(mark)) // block * block
    if at > 0:
        _put(fd, at, end, mark)
        if libc.fallocate(fd, libc.COLLAPSE_RANGE, 0, at):
            return
    at = end - len(mark)
    _put(fd, at, end, mark)
    if at == 0 or libc.fallocate(fd, libc.PUNCH_HOLE | libc.KEEP_SIZE, 0, at):
        return
    # what came while we copied goes there too; then everything goes, at once
    out = os.open(copy, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        while data := os.pread(fd, _CHUNK, end):
            end += len(data)
            while data:
                data = data[os.write(out, data) :]
        os.ftruncate(fd, 0)
    finally:
        os.close(out)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # there is none


def _put(fd: int, at: int, end: int, mark: bytes) -> None:
    """Write the mark over the bytes from `at` to `end`, which are in the copy, as one line."""
    text = mark.rstrip(b"\n")
    os.pwrite(fd, text + b" " * (end - at - len(text) - 1) + b"\n", at)
