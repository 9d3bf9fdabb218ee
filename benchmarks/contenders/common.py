"""What the contenders' programs share. Runs in each contender's own environment: the standard library only."""

from __future__ import annotations

import json
import mmap
import os
import resource
import sys
import threading
import time
from typing import Any

REDIS = os.environ.get("BENCH_REDIS", "")
RESULTS = os.environ.get("BENCH_RESULTS") == "1"
WAITING = os.environ.get("BENCH_WAITING") == "1"  # somebody waits for each result
COUNTS = os.environ.get("BENCH_COUNTS", "")
BURN = float(os.environ.get("BENCH_BURN") or 0)  # seconds of processor time that an import of the app takes

_begun = time.process_time()
while time.process_time() - _begun < BURN:
    pass

_here = threading.local()


def _open_slot() -> memoryview:
    path = os.path.join(COUNTS, f"{os.getpid()}-{threading.get_native_id()}")
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.ftruncate(fd, 8)
        return memoryview(mmap.mmap(fd, 8)).cast("Q")
    finally:
        os.close(fd)


def _forget_slot() -> None:
    _here.__dict__.clear()  # a child must not count on its parent's page


os.register_at_fork(after_in_child=_forget_slot)


def ran() -> None:
    """Count one run. Each thread has a counter of its own in a shared page, so nothing is lost and nothing waits."""
    try:
        slot = _here.slot
    except AttributeError:
        slot = _here.slot = _open_slot()
    slot[0] += 1


class Client:
    """A producer that obeys the benchmark: one JSON object per line in, one out. A contender fills in the calls."""

    def send(self, number: int) -> Any:
        """Send one no-op task; returns what its result is asked of."""
        raise NotImplementedError

    def wait(self, handle: Any) -> None:
        """Wait for the result of one task."""
        raise NotImplementedError

    def bulk(self, count: int) -> bool:
        """Send `count` tasks by the contender's way for many; False when it has none."""
        return False

    def hold(self, seconds: float, began: str, ended: str) -> None:
        """Send a task that creates the file `began`, sleeps, and creates the file `ended`."""
        raise NotImplementedError

    def nap(self, seconds: float, count: int) -> None:
        """Send `count` tasks that sleep `seconds` and count themselves."""
        raise NotImplementedError

    def loop(self, count: int) -> None:
        for number in range(count):
            self.send(number)

    def round_trips(self, count: int) -> list[float]:
        took = []
        for number in range(count):
            began = time.perf_counter()
            self.wait(self.send(number))
            took.append(time.perf_counter() - began)
        return took

    def serve(self) -> None:
        for line in sys.stdin:
            order = json.loads(line)
            call = getattr(self, order.pop("do"))
            usage, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            answer = call(**order)
            seconds = time.perf_counter() - began
            after = resource.getrusage(resource.RUSAGE_SELF)
            cpu = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
            print(json.dumps({"seconds": seconds, "cpu": cpu, "answer": answer}), flush=True)
