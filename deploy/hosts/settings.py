"""What a deploy goes by on one host: the values of [deploy], of the environment and of the host, one over the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

AUTO = "auto"
SYSTEMD, SYSTEMD_USER, SUPERVISORD, KEEPER = "systemd", "systemd-user", "supervisord", "multi"
MANAGERS = (SYSTEMD, SYSTEMD_USER, SUPERVISORD, KEEPER)


class Canary(NamedTuple):
    """How the first nodes with a release are judged; times in seconds."""

    nodes: int = 1
    tasks: int = 100
    time: float = 600
    failures: float = 0.01
    latency: float = 1.5


class Settings(NamedTuple):
    """Times in seconds, sizes in bytes; what is None was not given."""

    path: str
    source: str | None = None
    exclude: tuple[str, ...] = ()
    requirements: str | None = None
    installer: str = AUTO
    python: str = "python3"
    shared: tuple[str, ...] = ()
    keep: int = 5
    min_free_space: int = 500 << 20

    manager: str = AUTO
    agentless: bool | None = None
    owner: str | None = None
    sudo: bool = True
    hardening: str = "basic"
    units_dir: str | None = None
    unit_settings: Mapping[str, Mapping[str, str]] = {}
    env: Mapping[str, str] = {}
    secrets: Mapping[str, tuple[str, tuple[str, ...]]] = {}

    serial: tuple[int | str, ...] = (1, "25%")
    max_parallel: int = 20
    max_fail_percentage: float = 0
    canary: Canary | None = None
    auto_revert: bool = True
    min_healthy_time: float = 5
    healthy_deadline: float = 120
    health_command: tuple[str, ...] | None = None
    hooks: Mapping[str, tuple[tuple[str, ...], ...]] = {}
    lock_expires: float = 7200

    user: str | None = None
    port: int | None = None
    jump: str | None = None
    key: str | None = None
    connect_timeout: float = 10
    ssh_config: str | None = None
    known_hosts: str | None = None
    host_keys: str = "known"

    # ---- where things are on the host

    @property
    def current(self) -> str:
        return f"{self.path}/current"

    @property
    def releases(self) -> str:
        return f"{self.path}/releases"

    @property
    def environments(self) -> str:
        return f"{self.path}/environments"

    @property
    def shared_folder(self) -> str:
        return f"{self.path}/shared"

    @property
    def own(self) -> str:
        """What deploys note for themselves: lock, audit log, backups."""
        return f"{self.path}/.multi"

    @property
    def secrets_file(self) -> str:
        return f"{self.shared_folder}/secrets.env"

    @property
    def owner_user(self) -> str | None:
        """The user of `owner`, without the group."""
        return self.owner.partition(":")[0] if self.owner else None

    @property
    def interpreter(self) -> str:
        """What runs the project, by the path that follows `current`."""
        return self.python if self.installer == "none" else f"{self.current}/.venv/bin/python"


def merged(*tables: Mapping[str, Any], project: str) -> Settings:
    """The settings that these tables make, later ones over earlier ones; `env` and `unit_settings` are added to."""
    values: dict[str, Any] = {"path": f"/srv/{project}"}
    for table in tables:
        env = {**values.get("env", {}), **table.get("env", {})}
        units = {name: dict(given) for name, given in values.get("unit_settings", {}).items()}
        for name, given in table.get("unit_settings", {}).items():
            units[name] = {**units.get(name, {}), **given}
        values |= {name: value for name, value in table.items() if name in Settings._fields}
        if env:
            values["env"] = env
        if units:
            values["unit_settings"] = units
    if "canary" in values:
        values["canary"] = Canary(**values["canary"])
    for name in ("exclude", "shared", "serial", "health_command"):
        if values.get(name) is not None:
            values[name] = tuple(values[name])
    return Settings(**values)
