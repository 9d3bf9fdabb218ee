"""Who is measured, and how their workers are started."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import msgspec

from benchmarks import environments


class Contender(msgspec.Struct, frozen=True):
    """One task queue.

    `worker` is the command of a node with two processes, its first word a program of the environment. `queue` is the list
    in Redis that its messages wait in, `claims` are keys that must be empty when all is done, `results` is the hash of
    the results where they are not keys of their own. `size` is the number of tasks of a drain, about half a second's worth.
    """

    name: str
    worker: tuple[str, ...]
    queue: str
    size: int
    claims: tuple[str, ...] = ()
    results: str = ""
    variables: dict[str, str] = {}

    @property
    def bin(self) -> Path:
        """Where its programs lie."""
        return Path(sys.executable).parent if self.name == "multi" else environments.environment(self.name)

    @property
    def program(self) -> list[str]:
        """The command that runs its producer."""
        return [str(self.bin / "python"), f"{self.name}_app.py"]

    def command(self, words: tuple[str, ...]) -> list[str]:
        """`words`, the first one found in its environment."""
        path = self.bin / words[0]
        if not path.exists():
            raise SystemExit(f"benchmarks: {path} is missing; install the project there: pip install -e '.[redis]'")
        return [str(path), *words[1:]]

    def versions(self) -> dict[str, str]:
        if self.name != "multi":
            return environments.versions(self.name)
        found = {}
        for package in ("multi-workers", "msgspec", "hiredis"):
            try:
                found[package] = metadata.version(package)
            except metadata.PackageNotFoundError:
                found[package] = "missing"
        return found


MULTI = Contender(
    "multi",
    ("multi", "worker", "-A", "multi_app", "-c", "2", "-l", "WARNING"),
    queue="celery",
    size=30_000,
    claims=("unacked", "unacked_index", "multi:leases", "multi:claims"),
)
CELERY = Contender(
    "celery",
    ("celery", "-A", "celery_app", "worker", "-c", "2", "-l", "WARNING"),
    queue="celery",
    size=3_000,
    claims=("unacked", "unacked_index"),
)
CONTENDERS = (
    MULTI,
    CELERY,
    Contender(
        "huey",
        ("huey_consumer", "huey_app.huey", "-w", "2", "-k", "process", "-n", "-q"),
        queue="huey.redis.bench",
        size=8_000,
        results="huey.results.bench",
    ),
    Contender(
        "taskiq",
        ("taskiq", "worker", "taskiq_app:broker", "--workers", "2", "--log-level", "WARNING"),
        queue="taskiq",
        size=8_000,
    ),
    Contender(
        "dramatiq",
        ("dramatiq", "dramatiq_app", "-p", "2", "-t", "8"),
        queue="dramatiq:default",
        size=8_000,
        claims=("dramatiq:default.msgs",),
        variables={"dramatiq_queue_prefetch": "500"},
    ),
)
