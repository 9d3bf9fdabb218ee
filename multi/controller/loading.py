"""One import for many nodes: starts a loader (`multi.worker.loader`) and has it start keepers, each with its worker.

That the keepers become children of this command, and not of the loader, is so because this command takes in the orphans
of its descendants: the loader forks each keeper in a fork that ends at once.

From its order on until its keeper is there, a node is known by a file in its runtime directory that names the loader.
Whoever removes that file has the node: the loader, to start it, or a command that stops it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

from multi.controller import launch
from multi.controller.keeper import envfile, libc, proc
from multi.controller.keeper import record as keeper_record
from multi.controller.keeper.node import STARTING
from multi.controller.launch import Launched
from multi.controller.node import Node

_BUFFER = 4 << 20
#: Options in which nodes of one import may differ; each of all others must be the same, for an app may look at it.
_OWN = frozenset(
    {
        *("hostname", "logfile", "pidfile", "loglevel", "quiet", "no_color", "queues", "exclude_queues", "purge"),
        *("concurrency", "pool", "time_limit", "soft_time_limit", "drain_timeout", "statedb", "optimization"),
        *("max_tasks_per_child", "max_memory_per_child", "prefetch_multiplier", "disable_prefetch"),
        *("without_gossip", "without_mingle", "without_heartbeat", "heartbeat_interval"),
    }
)


def key(record: dict[str, Any], environment: dict[str, str]) -> str | None:
    """Equal for nodes that can be started from one import; None for one that must be started by itself."""
    kept, argv = record.get("kept") or {}, record.get("argv") or []
    options: dict[str, Any] = kept.get("options") or {}
    is_worker = record.get("kind") == "worker" and record.get("engine") == "multi"
    if not is_worker or argv[1:4] != ["-m", "multi", "worker"] or argv[0] != sys.executable:
        return None
    if record.get("user") or record.get("group") or options.keys() & {"uid", "gid", "executable"}:
        return None
    shared = {name: value for name, value in options.items() if name not in _OWN}
    return json.dumps(
        [record["cwd"], record["umask"], record.get("env_files"), kept.get("rest"), shared, environment], sort_keys=True
    )


class Load:
    """A loader, and what it has answered."""

    def __init__(self, records: Sequence[dict[str, Any]], environment: dict[str, str]) -> None:
        self.begun = time.monotonic()
        self._channel, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setblocking(False)
        self._channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self._orders: list[bytes] = []
        self._answers: dict[str, Launched | None] = {}
        self._left = len(records)
        self.is_over = False
        self.is_told = False  # to the user, that all wait for one import
        first = records[0]
        # room for the longest of the nodes' command lines: a worker shows its own in place of the loader's
        words = [first["argv"][0], "-m", "multi", "load", str(there.fileno())]
        longest = max(len(os.fsencode("\0".join(record["argv"]))) for record in records)
        words.append("." * max(1, longest - len("\0".join(words))))
        plan = {"argv": first["argv"], "umask": first["umask"], "variables": _read(first.get("env_files") or ())}
        self.pid = launch.program(words, {**environment, "PWD": first["cwd"]}, first["cwd"], plan, there.fileno())
        there.close()
        self._identity = {"pid": self.pid, "start": proc.start_time(self.pid), "boot": proc.boot_id()}

    @property
    def fd(self) -> int:
        """Readable when there is an answer."""
        return self._channel.fileno()

    def order(self, node: Node, argv: list[str], new_spec: str) -> None:
        """Have a node started."""
        claim = node.rundir.loading
        value = {
            "name": str(node),
            "state": STARTING,
            "since": time.time(),
            "boot": self._identity["boot"],
            "keeper": self._identity,
            "message": "the app is being imported, once for all nodes that start",
        }
        keeper_record.write(claim, value)
        order = {
            "node": node.place.run,
            "run": node.place.run,
            "claim": claim,
            "keeper": launch.command(node, new_spec),
            "argv": argv,
        }
        self._orders.append(json.dumps(order).encode())
        self._send()

    def answer(self, node: Node) -> Launched | None:
        """The keeper that was started for an order; None when there will be none. Raises `KeyError` while it is open."""
        self._send()
        self._hear()
        if self.is_over:
            return self._answers.pop(node.place.run, None)
        return self._answers.pop(node.place.run)

    def leave(self) -> None:
        """One of the nodes wants nothing more; after the last one the loader ends."""
        self._left -= 1
        if self._left <= 0:
            self.close()

    def close(self) -> None:
        """Let the loader end."""
        if self.fd >= 0:
            self._channel.close()
            self.is_over = True

    def _send(self) -> None:
        try:
            while self._orders:
                self._channel.send(self._orders[0])
                del self._orders[0]
        except BlockingIOError:
            pass  # an answer tells that it has read on
        except OSError:
            self._orders.clear()  # it is gone

    def _hear(self) -> None:
        while not self.is_over:
            try:
                data, fds, _, _ = socket.recv_fds(self._channel, 65536, 2)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.is_over = True
                return
            answer = json.loads(data)
            if "started" in answer:
                self._answers[answer["node"]] = Launched(answer["started"], *fds)
            elif "dropped" in answer:
                self._answers[answer["node"]] = None


def _read(env_files: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in env_files:
        try:
            found.update(envfile.read(path))
        except envfile.EnvFileError:
            pass  # each node's keeper will read it, too, and say so
    return found


def can_load() -> bool:
    """Whether keepers that a loader starts become this command's own."""
    return hasattr(socket, "send_fds") and libc.become_subreaper()
