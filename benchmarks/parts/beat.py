"""The scheduler: what 10,000 entries cost while nothing is due, how late a due run is sent, and how long it takes another
scheduler to go on when the one that sends is killed.

Each is a process of its own (`multi beat`), on Redis and on a file of SQLite. When a run comes is when a client that waits for
it on Redis has it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks.bench import Bench
from benchmarks.contender import MULTI
from benchmarks.node import Broken
from benchmarks.report import Column

ENTRIES, SECONDS, DATABASE = 10_000, 10.0, 3
#: Entries that are due every second, beside the many, each at a moment of its own.
BUSY = 20
PROJECT = """
import json, os
from multi import App, crontab
app = App("bench", broker=os.environ["BENCH_BROKER"])

@app.task
def tick(*args): pass

count, busy = json.loads(os.environ["BENCH_ENTRIES"])
app.conf.beat_schedule = {
    **{f"e{n}": {"task": "schedule_of_bench.tick", "schedule": crontab(minute=n % 60, hour=n % 24, day_of_month="31",
       month_of_year=1), "args": (n, "some argument")} for n in range(count)},
    **{f"busy{n}": {"task": "schedule_of_bench.tick", "schedule": 1.0 + n / 1000} for n in range(busy)},
}
"""


def run(bench: Bench) -> None:
    if "multi" not in {contender.name for contender in bench.contenders}:
        return
    table = bench.report.table(
        "Scheduler",
        (
            Column("cpu", "of a core while nothing is due, %", 2, spread=True),
            Column("memory", "MB", 0),
            Column("start", "start, s", 1),
            Column("late", "late by, ms: median", 1),
            Column("worst", "late by, ms: 99 %", 1),
            Column("over", "takeover after a kill, s", 2, spread=True),
        ),
    )
    count = bench.size(ENTRIES)
    with tempfile.TemporaryDirectory(prefix="multi-bench-") as directory:
        Path(directory, "schedule_of_bench.py").write_text(PROJECT)
        places = {"Redis": bench.server.url(DATABASE), "SQLite": f"sqlite:///{directory}/bench.db?create=all"}
        for _ in range(bench.rounds):
            for name, url in places.items():
                case = f"{count} entries, {name}"
                bench.progress(case)
                try:
                    table.add(case, "multi", **idle(directory, url, count))
                    if name == "Redis":
                        table.add(case, "multi", **lateness(directory, url, count))
                        table.add(case, "multi", **takeover(directory, url))
                except Broken as error:
                    bench.fault(case, error)
    for name in places:
        bench.report.target(
            f"{name}, idle, % of a core", table.median(f"{count} entries, {name}", "multi", "cpu"), most=1, digits=2
        )
    bench.report.target("late by, ms: 99 %", table.median(f"{count} entries, Redis", "multi", "worst"), most=50)
    bench.report.target("takeover, s", table.median(f"{count} entries, Redis", "multi", "over"), most=10)


class Scheduler:
    """A running `multi beat`."""

    def __init__(self, directory: str, url: str, entries: tuple[int, int]) -> None:
        self.log = Path(directory, f"beat-{time.monotonic_ns()}.log")
        began = time.monotonic()
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                [str(MULTI.bin / "python"), "-m", "multi", "beat", "-A", "schedule_of_bench", "-l", "INFO"],
                cwd=directory,
                env={**os.environ, "BENCH_BROKER": url, "BENCH_ENTRIES": json.dumps(entries)},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        while "beat: Ready" not in self.log.read_text():
            if self.process.poll() is not None or time.monotonic() - began > 120:
                raise Broken(f"the scheduler isn't ready: {self.log.read_text()[-500:]}")
            time.sleep(0.02)
        self.start = time.monotonic() - began

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[0]) / 1e9

    def memory(self) -> float:
        """MB in memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def sent(self) -> int:
        """How many runs it has sent."""
        return self.log.read_text().count("Sending due task")

    def end(self, number: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(20)


@contextmanager
def scheduler(directory: str, url: str, *entries: int) -> Iterator[Scheduler]:
    found = Scheduler(directory, url, (entries[0], entries[1]))
    try:
        yield found
    finally:
        found.end()


def idle(directory: str, url: str, count: int) -> dict[str, float]:
    """A scheduler with that many entries of which none is due."""
    with scheduler(directory, url, count, 0) as one:
        time.sleep(1.0)
        before, began = one.cpu(), time.monotonic()
        time.sleep(SECONDS)
        spent = (one.cpu() - before) / (time.monotonic() - began)
        return {"cpu": spent * 100, "memory": one.memory(), "start": one.start}


def lateness(directory: str, url: str, count: int) -> dict[str, float]:
    """How late runs come of entries that are due all the time, beside the many."""
    late: list[float] = []
    with scheduler(directory, url, count, BUSY):
        for came, due in arrivals(url, SECONDS):
            late.append((came - due) * 1e3)
    late.sort()
    if len(late) < BUSY:
        raise Broken(f"{len(late)} runs came, not {BUSY} a second")
    return {"late": late[len(late) // 2], "worst": late[len(late) * 99 // 100]}


def takeover(directory: str, url: str) -> dict[str, float]:
    """Two schedulers of one entry that is due all the time: how long nothing comes when the one that sends it is killed."""
    with scheduler(directory, url, 0, 1) as one, scheduler(directory, url, 0, 1) as other:
        before = one.sent()
        for _ in arrivals(url, 4.0):
            pass
        sender = one if one.sent() > before + 1 else other
        killed = time.time()
        sender.end(signal.SIGKILL)
        for came, due in arrivals(url, 15.0):
            if due > killed:
                return {"over": came - due}
    raise Broken("nobody has taken over")


def arrivals(url: str, seconds: float) -> Iterator[tuple[float, float]]:
    """When each run comes, and when it was due, for so long; what waits already is thrown away."""
    from datetime import datetime

    from multi.connections.redis import Address, Redis

    redis = Redis(Address.from_url(url, {}))
    redis.call("DEL", "celery")
    end = time.monotonic() + seconds
    try:
        while (left := end - time.monotonic()) > 0:
            found = redis.call("BRPOP", "celery", f"{max(left, 0.01):.2f}")
            came = time.time()
            if found is not None:
                headers = msgspec.json.decode(found[1])["headers"]
                yield came, datetime.fromisoformat(headers["scheduled_for"]).timestamp()
    finally:
        redis.close()
