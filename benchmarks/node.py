"""A contender at work: its node, its producer, and the counters of its tasks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from benchmarks.contender import Contender
from benchmarks.environments import PROGRAMS
from benchmarks.processes import Group, processor_time


class Broken(Exception):
    """A contender did not do what it was asked; the message tells what, with the end of its log."""


class Answer(msgspec.Struct):
    """What a producer answers: how long the call took, its processor time, and what it returned."""

    seconds: float
    cpu: float
    answer: Any = None


class Usage(msgspec.Struct):
    """Seconds of processor time of a node so far."""

    main: float
    children: float


class Scene:
    """What the programs of one measurement share: variables, counters, a directory, one group of processes."""

    def __init__(self, contender: Contender, redis: str, *, results: bool = False, **more: str) -> None:
        self.contender = contender
        self.group = Group()
        shared = "/dev/shm" if os.path.isdir("/dev/shm") else None  # counters must not become disk writes
        self.directory = Path(tempfile.mkdtemp(prefix="multi-bench-", dir=shared))
        self.counts = self.directory / "counts"
        self.counts.mkdir()
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("CELERY_", "MULTI_", "BENCH_"))}
        self.variables = {
            **clean,
            **contender.variables,
            "BENCH_REDIS": redis,
            "BENCH_RESULTS": "1" if results else "0",
            "BENCH_COUNTS": str(self.counts),
            "MULTI_STATE_DIR": str(self.directory / "state"),
            "PYTHONDONTWRITEBYTECODE": "",
            **more,
            **self.group.environ(),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.group.end()
        shutil.rmtree(self.directory, ignore_errors=True)

    def ran(self) -> dict[int, int]:
        """Process → tasks it has run."""
        found: dict[int, int] = {}
        for entry in os.scandir(self.counts):
            pid = int(entry.name.partition("-")[0])
            with open(entry.path, "rb") as file:
                found[pid] = found.get(pid, 0) + int.from_bytes(file.read(8), "little")
        return found

    def total(self) -> int:
        return sum(self.ran().values())

    def node(self, *more: str, name: str = "w1") -> Node:
        return Node(self, more, name)

    def producer(self) -> Producer:
        return Producer(self)


class Node:
    """A worker of the contender, in the foreground."""

    def __init__(self, scene: Scene, more: tuple[str, ...], name: str) -> None:
        self._scene = scene
        self.log = scene.directory / f"{name}.log"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*scene.contender.command(scene.contender.worker), *more],
                cwd=PROGRAMS,
                env=scene.variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def members(self) -> set[int]:
        """Its processes, the first one included."""
        parents = self._scene.group.parents()
        found = {self.pid}
        while more := {pid for pid, parent in parents.items() if parent in found and pid not in found}:
            found |= more
        return found

    def usage(self) -> Usage:
        return Usage(processor_time([self.pid]), processor_time(self.members() - {self.pid}))

    def check(self) -> None:
        """Raises `Broken` when the node has ended."""
        if (code := self._process.poll()) is not None:
            raise Broken(f"the node of {self._scene.contender.name} ended with {code}:\n{self.tail()}")

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def wait_for(self, count: int, timeout: float = 60) -> float:
        """Wait until the scene has counted `count` tasks; returns the time of that (monotonic)."""
        deadline = time.monotonic() + timeout
        while (total := self._scene.total()) < count:
            if (now := time.monotonic()) > deadline:
                name = self._scene.contender.name
                raise Broken(f"the node of {name} ran {total} of {count} tasks in {timeout:.0f} s:\n{self.tail()}")
            self.check()
            time.sleep(0.002 if now > deadline - timeout + 0.1 else 0.0005)
        return time.monotonic()


class Producer:
    """The contender's client program, obeying line by line."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._log = scene.directory / "producer.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                scene.contender.program,
                cwd=PROGRAMS,
                env=scene.variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def do(self, order: str, **arguments: Any) -> Answer:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": order, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
            raise Broken(f"the producer of {self._scene.contender.name} failed at {order}:\n{tail}")
        return msgspec.json.decode(line, type=Answer)

    def fill(self, count: int) -> None:
        """Send `count` no-op tasks, the fastest way."""
        if self.do("bulk", count=count).answer is False:
            self.do("loop", count=count)

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._process.kill()
        try:
            self.close()
        except BrokenPipeError:
            self._process.wait()
