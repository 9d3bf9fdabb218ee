"""Fleets of Celery's workers and of multi's on one Redis, and clients of both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import celery

import multi
from support.project import OURS
from support.wait import until

FLEET = Path(__file__).parent / "fleet"

#: The two sides.
ENGINES = ("celery", "multi")


class Worker:
    """One worker of either engine, in a process group of its own."""

    def __init__(
        self,
        fleet: Fleet,
        engine: str,
        name: str,
        queues: str,
        *words: str,
        python: str = sys.executable,
        **settings: Any,
    ) -> None:
        self.log = fleet.folder / f"{name}.log"
        command = [python, "-m", engine, "-A", "fleet", "worker"] if engine == "celery" else [
            sys.executable, "-m", "multi", "worker", "-A", "fleet"]  # fmt: skip
        self.command = [*command, "-n", f"{name}@%h", "-Q", queues, "-l", "INFO", *words]
        if engine == "celery":
            # what it would say to its neighbours at the start takes a second
            self.command += ["--without-mingle", "--without-gossip"]
        self.env = fleet.environment(engine, settings)
        self.start()

    def start(self) -> None:
        """Start, also once more."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=FLEET,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.ready_lines = self.said().count(" ready.")

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_ready(self) -> Worker:
        before = self.ready_lines

        def ready() -> bool:
            assert self.process.poll() is None, self.said()
            return self.said().count(" ready.") > before

        until(ready, 30, what=f"{self.command} to be ready, see {self.log}")
        return self

    def stop(self, timeout: float = 40) -> int:
        """Ask it to end; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self) -> None:
        """End all its processes at once, as when the machine loses its power."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Fleet:
    """Workers and clients on one broker; `notes` reads what tasks have written."""

    def __init__(self, folder: Path, broker: str, backend: str | None = None, **settings: Any) -> None:
        self.folder = folder
        self.broker, self.backend = broker, backend or broker
        self.settings = settings
        self.workers: list[Worker] = []
        (folder / "notes").mkdir()
        self.clients: dict[str, Any] = {
            "celery": celery.Celery("client", broker=broker, backend=self.backend, set_as_current=False),
            "multi": multi.App("client", broker=broker, backend=self.backend),
        }
        for client in self.clients.values():
            client.conf.update(settings)

    def environment(self, engine: str, settings: Mapping[str, Any]) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(OURS) or name == "MULTI_TEST_MARK"
        }
        return {
            **kept,
            "HOME": str(self.folder),
            "MULTI_STATE_DIR": str(self.folder / "state"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "C_FORCE_ROOT": "1",  # Celery doesn't take pickles as root otherwise
            "FLEET_ENGINE": engine,
            "FLEET_BROKER": self.broker,
            "FLEET_BACKEND": self.backend,
            "FLEET_NOTES": str(self.folder / "notes"),
            "FLEET_SETTINGS": json.dumps({**self.settings, **settings}),
        }

    def worker(self, engine: str, name: str, queues: str, *words: str, **settings: Any) -> Worker:
        """Start a worker; it is ready only after `wait_ready`."""
        worker = Worker(self, engine, name, queues, *words, **settings)
        self.workers.append(worker)
        return worker

    def notes(self, name: str) -> list[dict[str, Any]]:
        """What tasks have noted under that name, in order."""
        try:
            text = (self.folder / "notes" / name).read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines()]

    def wait_notes(self, name: str, count: int = 1, timeout: float = 15) -> list[dict[str, Any]]:
        """At least `count` notes."""

        def there() -> list[dict[str, Any]]:
            found = self.notes(name)
            return found if len(found) >= count else []

        return until(there, timeout, what=f"{count} notes called {name}; there are {self.notes(name)}")

    def wait_line(self, *words: str, timeout: float = 15) -> str:
        """The first line in a log of the workers that has all these words."""

        def there() -> str:
            for worker in self.workers:
                for line in worker.said().splitlines():
                    if all(word in line for word in words):
                        return line
            return ""

        return until(there, timeout, what=f"a line with {words} in the logs in {self.folder}")

    def close(self) -> None:
        """End all workers and connections."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGTERM)
        for worker in self.workers:
            try:
                worker.process.wait(20)
            except subprocess.TimeoutExpired:
                worker.kill()
        # results that a failed test has kept must not look for a server that is gone
        self.clients["celery"].backend.remove_pending_result = lambda result: result
        for client in self.clients.values():
            client.close()


def ask(
    client: Any, name: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
) -> Any:
    """Send one of the fleet's tasks; the same words for both clients."""
    return client.send_task(f"fleet.{name}", list(args), dict(kwargs or {}), **options)


def sign(
    client: Any, name: str, /, *args: Any, immutable: bool = False, queue: str | None = None, **kwargs: Any
) -> Any:
    """A signature of one of the fleet's tasks."""
    signature = client.signature(f"fleet.{name}", args=args, kwargs=kwargs, immutable=immutable)
    return signature.set(queue=queue) if queue else signature
