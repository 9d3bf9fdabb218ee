"""dramatiq's part: 2 processes of 8 threads; the benchmark sets dramatiq_queue_prefetch=500."""

from __future__ import annotations

from typing import Any

import common
import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

broker = RedisBroker(url=common.REDIS)
if common.RESULTS:
    broker.add_middleware(Results(backend=RedisBackend(url=common.REDIS)))
dramatiq.set_broker(broker)


@dramatiq.actor(**({"store_results": True} if common.RESULTS else {}))
def noop(number: int) -> int | None:
    common.ran()
    return number if common.RESULTS else None


class Client(common.Client):
    def send(self, number: int) -> Any:
        return noop.send(number)

    def wait(self, handle: Any) -> None:
        handle.get_result(block=True)

    def bulk(self, count: int) -> bool:
        dramatiq.group([noop.message(number) for number in range(count)]).run()
        return True


if __name__ == "__main__":
    import dramatiq_app

    dramatiq_app.Client().serve()
