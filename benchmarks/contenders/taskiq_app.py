"""taskiq's part: the list broker (its fastest), async tasks, one event loop for the producer."""

from __future__ import annotations

import asyncio
import time

import common
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

broker = ListQueueBroker(common.REDIS)
if common.RESULTS:
    broker = broker.with_result_backend(RedisAsyncResultBackend(common.REDIS))


@broker.task
async def noop(number: int) -> int:
    common.ran()
    return number


class Client(common.Client):
    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._runner.run(broker.startup())

    def loop(self, count: int) -> None:
        async def send() -> None:
            for number in range(count):
                await noop.kiq(number)

        self._runner.run(send())

    def round_trips(self, count: int) -> list[float]:
        async def trip() -> list[float]:
            took = []
            for number in range(count):
                began = time.perf_counter()
                # the default looks for the result every 200 ms
                await (await noop.kiq(number)).wait_result(check_interval=0, timeout=10)
                took.append(time.perf_counter() - began)
            return took

        return self._runner.run(trip())


if __name__ == "__main__":
    import taskiq_app

    taskiq_app.Client().serve()
