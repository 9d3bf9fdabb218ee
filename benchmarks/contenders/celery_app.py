"""Celery's part: its defaults, prefork."""

from __future__ import annotations

import time
from typing import Any

import common
from celery import Celery

app = Celery("bench", broker=common.REDIS, backend=common.REDIS if common.RESULTS else None)
app.conf.broker_connection_retry_on_startup = True


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

    def hold(self, seconds: float, began: str, ended: str) -> None:
        hold.delay(seconds, began, ended)

    def nap(self, seconds: float, count: int) -> None:
        for _ in range(count):
            nap.delay(seconds)


if __name__ == "__main__":
    import celery_app

    celery_app.Client().serve()
