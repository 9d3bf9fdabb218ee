"""A deploy as people write it with nothing but Fabric: the same steps as `multi deploy push`, and nothing that watches over them.

    fab -r benchmarks/contenders push

benchmarks/deploys.py runs it, and says in variables what to do: DEPLOY_HOSTS, DEPLOY_SSH_CONFIG, DEPLOY_PATH, DEPLOY_MANAGER,
DEPLOY_NODES, DEPLOY_MULTI (is it among the requirements). What can be done on all hosts at once is (upload, unpacking); nodes
are restarted host by host, one after the other, as there.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from typing import Any

import fabric

HOSTS = os.environ.get("DEPLOY_HOSTS", "").split(",")
PATH = os.environ.get("DEPLOY_PATH", "/srv/bench")
PROJECT = os.environ.get("DEPLOY_PROJECT", "bench")
MANAGER = os.environ.get("DEPLOY_MANAGER", "multi")
NODES = os.environ.get("DEPLOY_NODES", "w1,w2").split(",")


def _group() -> Any:
    config = fabric.Config(runtime_ssh_path=os.environ["DEPLOY_SSH_CONFIG"])
    return fabric.ThreadingGroup(*HOSTS, config=config)


def _restart(connection: Any, node: str) -> None:
    if MANAGER == "multi":
        connection.run(f"cd {PATH}/current && .venv/bin/multi restart {node}", hide=True)
        connection.run(f"cd {PATH}/current && .venv/bin/multi status {node}", hide=True)
    else:
        unit = f"multi-{PROJECT}@{node}.service"
        connection.run(f"systemctl restart {unit}", hide=True)
        connection.run(f"systemctl is-active {unit}", hide=True)


def _switch(group: Any, name: str) -> None:
    for connection in group:
        connection.run(f"ln -sfn releases/{name} {PATH}/.new && mv -fT {PATH}/.new {PATH}/current", hide=True)
        for node in NODES:
            _restart(connection, node)


def _unlock(group: Any) -> None:
    group.run(f"rmdir {PATH}/.plain-lock", hide=True)
    group.close()


@fabric.task
def push(c: Any) -> None:
    """Upload what git has, take the environment of the release before, try the import, switch host by host."""
    name = time.strftime("%Y%m%d-%H%M%S-plain")
    group = _group()
    group.run(f"mkdir {PATH}/.plain-lock", hide=True)
    with tempfile.TemporaryDirectory() as folder:
        archive = f"{folder}/{name}.tar.gz"
        subprocess.run(["git", "archive", "-o", archive, "HEAD"], check=True)
        group.put(archive, "/run/")
    new = f"{PATH}/releases/{name}"
    group.run(f"mkdir {new} && tar -xzf /run/{name}.tar.gz -C {new} && rm /run/{name}.tar.gz", hide=True)
    group.run(f"ln -s $(readlink {PATH}/current/.venv) {new}/.venv", hide=True)
    group[0].run(f"cd {new} && .venv/bin/python -c 'import proj; proj.app.tasks'", hide=True)
    _switch(group, name)
    group.run(f"cd {PATH}/releases && ls -1 | head -n -5 | xargs -r rm -rf", hide=True)
    _unlock(group)


@fabric.task
def rollback(c: Any) -> None:
    """Back to the release before."""
    group = _group()
    group.run(f"mkdir {PATH}/.plain-lock", hide=True)
    before = group[0].run(f"ls -1 {PATH}/releases | tail -n 2 | head -n 1", hide=True).stdout.strip()
    _switch(group, before)
    _unlock(group)
