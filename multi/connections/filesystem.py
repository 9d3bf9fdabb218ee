"""What kind of file system a folder lies on."""

from __future__ import annotations

import os
from collections.abc import Iterable

#: Kinds whose locks can't be trusted, or that other machines may share.
NETWORK = frozenset(
    {
        "9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.davfs", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs",
        "fuse.sshfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs",
    }
)  # fmt: skip


def kind_of(folder: str) -> str:
    """Such as "ext4" or "nfs4"; "" where that can't be told."""
    try:
        with open("/proc/self/mountinfo", errors="surrogateescape") as mounts:
            return kind_among(os.path.realpath(folder), mounts)
    except OSError:
        return ""


def kind_among(folder: str, mounts: Iterable[str]) -> str:
    """The kind, by the lines of a `mountinfo`; `folder` has no symbolic links in it."""
    best, kind = "", ""
    for line in mounts:
        fields, _, rest = line.partition(" - ")
        point = _plain(fields.split(" ")[4])
        prefix = point if point.endswith("/") else f"{point}/"
        # of several mounts on one point the last one is on top
        if f"{folder}/".startswith(prefix) and len(point) >= len(best):
            best, kind = point, rest.split(" ", 1)[0]
    return kind


def _plain(point: str) -> str:
    """A mount point without the escapes that the kernel writes for blanks and backslashes."""
    for escape, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(escape, character)
    return point
