"""Connections are made by many threads at once, from one configuration."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.servers import free_port

from multi.deploy.connections.pool import Connections, Ways
from multi.deploy.hosts.inventory import Host
from multi.deploy.hosts.settings import Settings
from multi.errors import HostUnreachable

pytest.importorskip("fabric")


def test_hosts_are_connected_to_at_once_by_one_configuration(tmp_path: Path) -> None:
    config = tmp_path / "ssh_config"
    config.write_text("".join(f"Host other{n}\n  User u{n}\n  Port {n + 1}\n" for n in range(20)))
    settings = Settings(path="/srv/shop", port=free_port())
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with Connections(Ways(attempts=1, ssh_config=str(config))) as connections:

            def connect(number: int) -> None:
                with pytest.raises(HostUnreachable, match="refused"):
                    connections.connect(Host(f"app{number}", "127.0.0.1", (), (), settings))

            with ThreadPoolExecutor(8) as pool:
                list(pool.map(connect, range(40)))
    finally:
        sys.setswitchinterval(before)
