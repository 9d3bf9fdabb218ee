"""Real workers, started and ended by tests: `multi worker` in a project whose tasks tell what they do."""

from __future__ import annotations

import importlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.project import Project
from support.wait import until

from multi import App

_numbers = itertools.count(1)

TASKS = """
    import os
    import time
    from pathlib import Path

    from multi import App

    app = App("proj", broker={broker!r}, backend={backend!r}, set_as_current=False)
    app.conf.update({settings!r})
    here = Path(__file__).parent


    def note(text):
        fd = os.open(here / "notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(fd, (text + "\\n").encode())
        os.close(fd)


    @app.task
    def add(x, y):
        return x + y


    @app.task
    def pid():
        return os.getpid()


    @app.task
    def sleep(seconds, name=""):
        note(f"begin {{name}}")
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(left)
        note(f"end {{name}}")
        return name


    @app.task(acks_late=False)
    def sleep_once(seconds, name=""):
        return sleep.run(seconds, name)


    @app.task
    def spin(seconds, name=""):
        note(f"begin {{name}}")
        import hashlib

        hashlib.pbkdf2_hmac("sha256", b"x", b"y", int(seconds * 1_500_000))  # foreign code that keeps the interpreter
        return name


    @app.task
    def die(name="", number=9):
        note(f"begin {{name}}")
        os.kill(os.getpid(), number)


    @app.task
    def leave(code):
        os._exit(code)


    @app.task
    def fill(mib):
        global filled
        filled = bytes(mib * 1024 * 1024)
        return os.getpid()


    @app.task(time_limit=0.3)
    def limited():
        while True:
            time.sleep(0.01)


    @app.task(soft_time_limit=0.2, time_limit=20)
    def softly():
        try:
            time.sleep(20)
        except Exception as error:
            return type(error).__name__


    @app.task
    def fail():
        raise ValueError("bad", 1)


    @app.task
    async def nap(seconds, name=""):
        import asyncio

        note(f"begin {{name}}")
        await asyncio.sleep(seconds)
        note(f"end {{name}}")
        return name


    @app.task(time_limit=0.3)
    async def nap_limited():
        import asyncio

        await asyncio.sleep(20)
"""


class Bench:
    """A project with the tasks above, its app as a client sees it, and the workers started for it."""

    def __init__(self, project: Project, broker: str, backend: str, **settings: Any) -> None:
        self.project = project
        self.broker = broker
        self.module = f"bench_{os.getpid()}_{next(_numbers)}"
        project.write(f"{self.module}.py", TASKS.format(broker=broker, backend=backend, settings=settings))
        sys.path.insert(0, str(project.path))
        try:
            self.tasks = importlib.import_module(self.module)
        finally:
            sys.path.remove(str(project.path))
        self.app: App = self.tasks.app
        self.workers: list[Worker] = []

    def start(self, *options: str, name: str = "w1", wait: bool = True) -> Worker:
        """A worker that is ready (unless `wait` is false)."""
        worker = Worker(self, name, options)
        self.workers.append(worker)
        if wait:
            worker.wait_ready()
        return worker

    def notes(self) -> list[str]:
        """What the tasks have written down so far."""
        file = self.project.path / "notes"
        return file.read_text().splitlines() if file.exists() else []

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        self.app.broker.close()
        if self.app.backend is not None:
            self.app.backend.close()
        sys.modules.pop(self.module, None)


class Worker:
    """One `multi worker` process."""

    def __init__(self, bench: Bench, name: str, options: tuple[str, ...]) -> None:
        self.name = name
        self.log: Path = bench.project.path / f"{name}-{next(_numbers)}.log"
        with self.log.open("w") as file:
            self.process = bench.project.popen(
                *("worker", "-A", bench.module, "-n", f"{name}@test", "-c", "2", "-l", "INFO", *options),
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_ready(self) -> None:
        until(lambda: " ready." in self.said() or self.process.poll() is not None, 20, what="a worker that is ready")
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        return self.log.read_text()

    def children(self) -> list[int]:
        """The pids of its children."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 20) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.send(number)
        return self.process.wait(timeout)

    def kill(self) -> None:
        """End it by force, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@contextmanager
def bench(project: Project, broker: str, backend: str, **settings: Any) -> Iterator[Bench]:
    """A bench whose workers are gone afterwards."""
    made = Bench(project, broker, backend, **settings)
    try:
        yield made
    finally:
        made.close()
