"""Real workers, started and ended by tests: `multi worker` in a project whose tasks tell what they do."""

from __future__ import annotations

import importlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from multi import App
from multi.brokers.base import DeadLetter
from multi.control import HELLO, address
from multi.stats import NodeStats, StatsPage
from support.project import Project
from support.wait import until

_numbers = itertools.count(1)

TASKS = """
    import asyncio
    import ctypes
    import os
    import struct
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


    @app.task
    def flood(count):
        for number in range(count):
            app.send_event("shop-flood", number=number, text="x" * 2000)
        return count


    @app.task
    def hold(name):
        note(f"begin {{name}}")
        while not (here / f"{{name}}.go").exists():
            time.sleep(0.03)
        note(f"end {{name}}")
        return name


    @app.task(acks_late=False)
    def sleep_once(seconds, name=""):
        return sleep.run(seconds, name)


    @app.task
    def spin(seconds, name=""):
        note(f"begin {{name}}")
        # foreign code that never gives the interpreter back: no signal handler and no other thread gets a turn
        mutex, end = ctypes.create_string_buffer(64), time.time() + seconds
        libc = ctypes.PyDLL(None)
        libc.pthread_mutex_lock(mutex)
        libc.pthread_mutex_timedlock(mutex, struct.pack("ll", int(end), int(end % 1 * 1e9)))
        note(f"end {{name}}")
        return name


    @app.task
    def die(name="", number=9):
        note(f"begin {{name}}")
        os.kill(os.getpid(), number)


    @app.task
    def leave(code, name=""):
        note(f"begin {{name}}")
        os._exit(code)


    @app.task
    def fill(mib):
        global filled
        filled = b"x" * (mib * 1024 * 1024)
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


    @app.task(time_limit=20)
    def roomy():
        return "done"


    @app.task
    def stamp(seconds):
        time.sleep(seconds)
        return time.time()


    @app.task
    def sleep_pid(seconds, name=""):
        sleep.run(seconds, name)
        return os.getpid()


    @app.task
    def tick(name):
        note(f"begin {{name}}")
        time.sleep(0.002)


    @app.task(bind=True)
    def redelivered(self):
        return bool(self.request.delivery_info["redelivered"])


    @app.task(bind=True)
    def linger(self, name, seconds=3):
        note(f"pid {{os.getpid()}} {{name}}")
        note(f"begin {{name}}")
        again = bool(self.request.delivery_info["redelivered"])
        if not again:
            time.sleep(seconds)
        return again


    @app.task
    def fail():
        raise ValueError("bad", 1)


    @app.task
    def bow_out():
        raise SystemExit("bye")


    @app.task
    async def nap(seconds, name=""):
        note(f"begin {{name}}")
        await asyncio.sleep(seconds)
        note(f"end {{name}}")
        return name


    @app.task(time_limit=0.3)
    async def nap_limited():
        await asyncio.sleep(20)


    @app.task(soft_time_limit=0.2, time_limit=20)
    async def nap_softly():
        try:
            await asyncio.sleep(20)
        except Exception as error:
            return type(error).__name__


    @app.task(acks_late=False, time_limit=0.3)
    def limited_once():
        time.sleep(20)


    @app.task(acks_late=False)
    def die_once(name=""):
        note(f"begin {{name}}")
        os.kill(os.getpid(), 9)


    @app.task(reject_on_worker_lost=False)
    def die_failing(name):
        note(f"begin {{name}}")
        os.kill(os.getpid(), 9)


    @app.task(time_limit=0.2, acks_on_timeout=False)
    def limited_again(name):
        note(f"begin {{name}}")
        time.sleep(20)


    @app.task(acks_on_failure=False)
    def fail_aside():
        raise ValueError("aside")


    @app.task(bind=True, rate_limit="20/s")
    def paced(self):
        return self.request.hostname, time.time()


    @app.task(bind=True, rate_limit="20/s", rate_limit_scope={scope!r})
    def paced_everywhere(self):
        return self.request.hostname, time.time()


    @app.task(bind=True)
    def steps(self, count, name):
        for step in self.track(range(count), message="steps"):
            (here / f"{{name}}-{{step}}").touch()
            while not (here / f"{{name}}-go-{{step}}").exists():
                time.sleep(0.005)
        return count
"""


class Bench:
    """A project with the tasks above, its app as a client sees it, and the workers started for it."""

    def __init__(self, project: Project, broker: str, backend: str, **settings: Any) -> None:
        self.project = project
        self.broker = broker
        self.module = f"bench_{os.getpid()}_{next(_numbers)}"
        # RabbitMQ has nothing to count the turns of a rate limit in
        scope = "worker" if broker.startswith("amqp") and not backend.startswith("redis") else "global"
        project.write(f"{self.module}.py", TASKS.format(broker=broker, backend=backend, settings=settings, scope=scope))
        sys.path.insert(0, str(project.path))
        try:
            self.tasks = importlib.import_module(self.module)
        finally:
            sys.path.remove(str(project.path))
        self.app: App = self.tasks.app
        self.workers: list[Worker] = []

    def start(
        self,
        *options: str,
        name: str = "w1",
        wait: bool = True,
        quiet: bool = False,
        run_dir: bool = False,
        variables: dict[str, str] | None = None,
    ) -> Worker:
        """A worker that is ready (unless `wait` is false), with a runtime directory (stats page, socket for orders) if
        `run_dir` says so.

        A quiet one writes no lines about its tasks, and none that it is ready: it has children then.
        """
        if quiet:
            worker = Worker(self, name, (*options, "-l", "WARNING"), run_dir, variables)
            self.workers.append(worker)
            until(lambda: worker.process.poll() is not None or worker.children(), 20, what="a worker with children")
            assert worker.process.poll() is None, worker.said()
            return worker
        worker = Worker(self, name, options, run_dir, variables)
        self.workers.append(worker)
        if wait:
            worker.wait_ready()
        return worker

    def dead(self) -> list[DeadLetter]:
        """The dead letters of the default queue."""
        return self.app.broker.dead("celery")

    def depth(self) -> int:
        """How many messages wait in the default queue."""
        return self.app.broker.depth("celery")

    def begun(self, name: str) -> int:
        """How many runs of the task called so have begun."""
        return self.notes().count(f"begin {name}")

    def wait_begun(self, name: str, times: int = 1, timeout: float = 15) -> None:
        """Wait until so many runs of the task called so have begun."""
        until(lambda: self.begun(name) >= times, timeout, what=f"{times} runs of {name!r}; {self.notes()}")

    def let_go(self, name: str) -> None:
        """Let the task `hold` called so end."""
        (self.project.path / f"{name}.go").touch()

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

    def __init__(
        self,
        bench: Bench,
        name: str,
        options: tuple[str, ...],
        run_dir: bool = False,
        variables: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log: Path = bench.project.path / f"{name}-{next(_numbers)}.log"
        self.run_dir: Path | None = None
        self.since = time.monotonic()
        environment = {**bench.project.env, **(variables or {})}
        if run_dir:
            self.run_dir = self.log.with_suffix(".run")
            self.run_dir.mkdir()
            environment = {**environment, "MULTI_RUN_DIR": str(self.run_dir)}
        with self.log.open("w") as file:
            self.process = bench.project.popen(
                *("worker", "-A", bench.module, "-n", f"{name}@test", "-c", "2", "-l", "INFO", *options),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_ready(self) -> None:
        until(lambda: " ready." in self.said() or self.process.poll() is not None, 30, what="a worker that is ready")
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        return self.log.read_text()

    def stats(self) -> NodeStats:
        """Its stats page; for a worker started with `run_dir=True`."""
        assert self.run_dir is not None
        page = StatsPage.read(str(self.run_dir / "stats.1"))
        assert page is not None, self.said()
        return page

    def order(self, request: str, queues: str = "*", hello: str = HELLO) -> None:
        """Give it an order as its keeper does; for a worker started with `run_dir=True`."""
        assert self.run_dir is not None
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as keeper:
            where = address(str(self.run_dir / "control.1"))
            keeper.sendto(
                f"{hello}\nrequest={request}\nqueues={queues}".encode(),
                "\0" + where[1:] if where.startswith("@") else where,
            )

    def wait_consuming(self, *queues: str) -> None:
        """Wait until its page says that it takes tasks from just these queues."""
        until(lambda: self.stats().queues == list(queues), what=f"tasks from {queues}; {self.said()}")

    def processor_time(self) -> float:
        """Seconds that it and its children have used so far."""
        ticks = 0
        for pid in (self.pid, *self.children()):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def freeze(self) -> None:
        """Stop all of its processes where they are."""
        for pid in (self.pid, *self.children()):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        for pid in (*self.children(), self.pid):
            os.kill(pid, signal.SIGCONT)

    def kill_node(self) -> None:
        """The power cut: worker and children at once."""
        self.freeze()  # nobody reacts to the death of another
        for pid in (*self.children(), self.pid):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

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
