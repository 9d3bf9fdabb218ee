"""multi's own part: prefork, its defaults."""

from __future__ import annotations

import os
import time
from typing import Any

import common

from multi import App

BROKER = os.environ.get("BENCH_BROKER") or common.REDIS
app = App("bench", broker=BROKER or None, backend=BROKER if common.RESULTS else None)


@app.task(ignore_result=not common.RESULTS)
def noop(number: int) -> int:
    common.ran()
    return number


@app.task(ignore_result=True)
def hold(seconds: float, began: str, ended: str) -> None:
    open(began, "w").close()
    time.sleep(seconds)
    open(ended, "w").close()


@app.task(ignore_result=True)
def nap(seconds: float) -> None:
    time.sleep(seconds)
    common.ran()


class Client(common.Client):
    def send(self, number: int) -> Any:
        return noop.delay(number)

    def wait(self, handle: Any) -> None:
        handle.get(timeout=10)

    def bulk(self, count: int) -> bool:
        app.send_many([(noop, (number,), {}) for number in range(count)])
        return True

    def hold(self, seconds: float, began: str, ended: str) -> None:
        hold.delay(seconds, began, ended)

    def nap(self, seconds: float, count: int) -> None:
        for _ in range(count):
            nap.delay(seconds)


if __name__ == "__main__":
    import multi_app

    multi_app.Client().serve()
