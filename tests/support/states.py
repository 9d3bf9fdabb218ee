"""Events made up at random, and what a state of Celery's or of multi's knows from events."""

from __future__ import annotations

import random
import time
from typing import Any
from uuid import UUID

Events = list[dict[str, Any]]
HOSTS = [f"w{number}@host" for number in range(4)]


class Story:
    """Events of some workers and tasks, made up at random."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.events: Events = []
        self.clock, self.now = 1, time.time() - 60

    def tell(self, kind: str, hostname: str, **fields: Any) -> None:
        self.clock += self.random.choice((0, 1, 1, 2))
        self.now += self.random.random() / 100
        told = {"hostname": hostname, "utcoffset": 0, "pid": len(hostname), "clock": self.clock, "timestamp": self.now}
        self.events.append({**fields, **told, "type": kind, "local_received": self.now})

    def beat(self, kind: str, hostname: str) -> None:
        load = [self.random.random() for _ in range(3)]
        self.tell(
            f"worker-{kind}", hostname, freq=2.0, active=1, processed=self.clock, loadavg=load, sw_ident="py-celery"
        )

    def tasks(self, count: int) -> Story:
        ids: list[str] = []
        for hostname in HOSTS:
            self.beat("online", hostname)
        for _ in range(count):
            ids.append(str(UUID(int=self.random.getrandbits(128))))
            self.task(ids[-1], self.random.choice(ids) if self.random.random() < 0.3 else None)
            if self.random.random() < 0.2:
                self.beat("heartbeat", self.random.choice(HOSTS))
        return self

    def task(self, id: str, parent: str | None) -> None:
        chance, hostname = self.random.random(), self.random.choice(HOSTS)
        call: dict[str, Any] = {
            "uuid": id,
            "name": f"proj.task{self.random.randrange(5)}",
            "args": "(1,)",
            "kwargs": "{}",
        }
        call |= {"root_id": parent or id, "parent_id": parent, "retries": 0, "eta": None, "expires": None}
        if self.random.random() < 0.6:
            self.tell("task-sent", "gen1@client", queue="celery", exchange="", routing_key="celery", **call)
        self.tell("task-received", hostname, **call)
        if chance < 0.1:
            return self.tell("task-revoked", hostname, uuid=id, terminated=False, signum=None, expired=False)
        if chance < 0.15:
            return self.tell("task-rejected", hostname, uuid=id, requeue=False)
        self.tell("task-started", hostname, uuid=id)
        if chance < 0.3:
            self.tell("task-retried", hostname, uuid=id, exception="OSError()", traceback="Traceback")
            self.tell("task-received", hostname, **{**call, "retries": 1})
            self.tell("task-started", hostname, uuid=id)
        if chance < 0.4:
            self.tell("task-progress", hostname, uuid=id, done=5)
        if chance < 0.8:
            return self.tell("task-succeeded", hostname, uuid=id, result="3", runtime=0.5)
        return self.tell("task-failed", hostname, uuid=id, exception="ValueError()", traceback="Traceback")


def known(state: Any) -> dict[str, Any]:
    """All that a state knows, of either kind."""
    tasks: dict[str, Any] = {}
    for uuid, task in state.tasks.items():
        told = task.as_dict()
        told |= {"worker": task.worker and task.worker.hostname, "children": sorted(told["children"])}
        others = (task.origin, task.ready, task.info(), task.info(["state"], ["name"]), task.parent and task.parent.id)
        tasks[uuid] = (told, others, getattr(task, "done", None))
    return {
        "tasks": tasks,
        "workers": {
            hostname: {name: getattr(worker, name) for name in worker._fields}
            | {"alive": worker.alive, "id": worker.id}
            for hostname, worker in state.workers.items()
        },
        "by time": [uuid for uuid, _ in state.tasks_by_time()],
        "first": [uuid for uuid, _ in state.tasks_by_time(reverse=False)],
        "by type": [uuid for uuid, _ in state.tasks_by_type("proj.task1")],
        "types": state.task_types(),
        "counts": (state.event_count, state.task_count),
        "alive": sorted(worker.hostname for worker in state.alive_workers()),
        "all": [uuid for uuid, _ in state.itertasks()],
    }


def feed(events: Events, *states: Any) -> None:
    for event in events:
        for state in states:
            state.event(dict(event))
