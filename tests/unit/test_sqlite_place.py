"""Where the embedded file may lie, and how its URL is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from multi.connections.filesystem import NETWORK, kind_among, kind_of
from multi.connections.sqlite import location
from multi.errors import ConfigurationError

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:21 / /proc rw - proc proc rw
30 22 0:50 / /mnt/team rw,relatime shared:9 - nfs4 server:/export rw,vers=4.2
31 30 0:51 / /mnt/team/local rw - ext4 /dev/vdb rw
32 22 0:52 / /mnt/my\\040share rw - cifs //server/share rw
33 22 0:53 / /home/ada/remote rw - fuse.sshfs ada@host: rw
34 22 0:54 / /srv rw - ext4 /dev/vdc rw
35 22 0:55 / /srv rw - nfs other:/srv rw
""".splitlines(keepends=True)


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", "ext4"),
        ("/var/lib/multi", "ext4"),
        ("/mnt/team", "nfs4"),
        ("/mnt/team/queues", "nfs4"),
        ("/mnt/team/local/queues", "ext4"),
        ("/mnt/teammate", "ext4"),
        ("/mnt/my share/queues", "cifs"),
        ("/home/ada/remote/x", "fuse.sshfs"),
        ("/srv/queues", "nfs"),
    ],
)
def test_the_kind_of_a_folders_file_system_is_that_of_the_innermost_mount(folder: str, kind: str) -> None:
    assert kind_among(folder, MOUNTS) == kind


def test_network_file_systems_are_known() -> None:
    assert {"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs"} <= NETWORK
    assert not NETWORK & {"ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "f2fs"}


def test_a_file_on_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from multi.brokers.sqlite import SQLiteBroker
    from multi.connections import sqlite
    from multi.errors import BrokerRefused

    kind = kind_of(str(tmp_path))
    assert kind
    assert kind not in NETWORK
    monkeypatch.setattr(sqlite, "NETWORK", {kind})  # as if this disk were one
    with pytest.raises(BrokerRefused, match=f"network file system \\({kind}\\).*redis://"):
        SQLiteBroker(f"sqlite:///{tmp_path}/q.db", {"create": "all"}).check()
    assert list(tmp_path.iterdir()) == []


def test_four_slashes_are_an_absolute_path() -> None:
    assert location("sqlite:////var/lib/q.db") == ("/var/lib/q.db", {})
    assert location("sqlite:////var/a%20b%3Fc.db?synchronous=full") == ("/var/a b?c.db", {"synchronous": "full"})


def test_three_slashes_are_relative_to_the_project_and_never_to_the_working_directory() -> None:
    assert location("sqlite:///q.db", {"anchor": "/srv/proj"})[0] == "/srv/proj/q.db"
    with pytest.raises(ConfigurationError, match="four slashes"):
        location("sqlite:///q.db")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://host/q.db"])
def test_a_url_that_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="names no file"):
        location(url)


@pytest.mark.parametrize("query", ["create=yes", "synchronous=off"])
def test_unknown_values_of_options_are_refused(query: str) -> None:
    from multi.brokers.sqlite import SQLiteBroker

    with pytest.raises(ConfigurationError, match="known are"):
        SQLiteBroker(f"sqlite:////tmp/q.db?{query}")
