"""huey's part: blocking pops, and blocking waits for results where somebody waits."""

from __future__ import annotations

from typing import Any

import common
from huey import RedisHuey

huey = RedisHuey(
    "bench", url=common.REDIS or None, results=common.RESULTS, notify_result=common.RESULTS and common.WAITING
)


@huey.task()
def noop(number: int) -> int:
    common.ran()
    return number


class Client(common.Client):
    def send(self, number: int) -> Any:
        return noop(number)

    def wait(self, handle: Any) -> None:
        handle.get(blocking=True, timeout=10)


if __name__ == "__main__":
    import huey_app

    huey_app.Client().serve()
