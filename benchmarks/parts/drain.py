"""Drain of a backlog of no-op tasks by one node of two processes, without and with results.

The backlog is sent, put aside under another name, and put back when the node is up and warm: so neither start-up nor the
producer is measured. The clock runs from the first task run to the last one (whose result is stored), processor time from
before the backlog is put back until nothing is claimed any more.
"""

from __future__ import annotations

import time

from benchmarks.bench import Bench
from benchmarks.contender import Contender
from benchmarks.node import Broken, Scene
from benchmarks.report import Column
from benchmarks.resp import Resp

ASIDE = "multi-bench:aside"
WARM = 200
COLUMNS = (
    Column("rate", "tasks/s: min / median / max", 0, spread=True),
    Column("main", "main, µs per task"),
    Column("children", "children"),
    Column("node", "node"),
    Column("redis", "Redis"),
)


def run(bench: Bench) -> None:
    table = bench.report.table("Drain, 2 processes", COLUMNS, "rate")
    for contender in bench.turns():
        for results in (False, True):
            case = _case(results)
            bench.progress(f"drain {case}: {contender.name}")
            try:
                figures = measure(bench, contender, results)
            except Broken as error:
                bench.fault(f"drain {case}, {contender.name}", error)
                continue
            table.add(case, contender.name, **figures)
    for results, limit in ((False, 40), (True, 55)):
        text = f"drain {_case(results)}, node's processor time per task, µs"
        bench.report.target(text, table.median(_case(results), "multi", "node"), most=limit)
    for results in (False, True):
        text = f"drain {_case(results)}, tasks/s in units of Celery's"
        bench.report.target(text, table.compare(_case(results), "multi", "rate"), least=12)


def _case(results: bool) -> str:
    return "with results" if results else "no results"


def measure(bench: Bench, contender: Contender, results: bool, *words: str) -> dict[str, float]:
    """One drain, by a node with further options."""
    size = bench.size(contender.size)
    control = Resp(bench.server.port)
    control.call("FLUSHALL")
    try:
        with Scene(contender, bench.server.url(), results=results) as scene, scene.producer() as producer:
            producer.fill(size)
            control.call("RENAME", contender.queue, ASIDE)
            node = scene.node(*words)
            producer.fill(WARM)
            node.wait_for(WARM)
            time.sleep(0.3)  # acknowledgements and the like of the warm-up
            before, server_before = node.usage(), control.processor_time()
            control.call("RENAME", ASIDE, contender.queue)
            began = node.wait_for(WARM + 1)
            ended = node.wait_for(WARM + size)
            if results:
                ended = _stored(control, contender, WARM + size)
            _settled(control, contender)
            after, server_after = node.usage(), control.processor_time()
            if (ran := scene.total()) != WARM + size:
                raise Broken(f"{ran - WARM} tasks were run, not {size}")
    finally:
        control.close()
    micro = 1e6 / size
    main, children = (after.main - before.main) * micro, (after.children - before.children) * micro
    return {
        "rate": size / (ended - began),
        "main": main,
        "children": children,
        "node": main + children,
        "redis": (server_after - server_before) * micro,
    }


def _stored(control: Resp, contender: Contender, count: int, timeout: float = 30) -> float:
    """Wait until `count` results are there; returns the time of that."""
    deadline = time.monotonic() + timeout
    while True:
        found = control.call("HLEN", contender.results) if contender.results else control.call("DBSIZE")
        if found >= count:
            return time.monotonic()
        if time.monotonic() > deadline:
            raise Broken(f"{found} of {count} results were stored")
        time.sleep(0.001)


def _settled(control: Resp, contender: Contender, timeout: float = 15) -> None:
    """Wait until nothing waits or is claimed."""
    deadline = time.monotonic() + timeout
    sizes = {b"list": "LLEN", b"hash": "HLEN", b"zset": "ZCARD"}
    while True:
        left = {}
        for key in (contender.queue, *contender.claims):
            kind = control.call("TYPE", key)
            if kind in (b"none", "none"):
                continue
            kind = kind.encode() if isinstance(kind, str) else kind
            count = control.call("ZCOUNT", key, "-inf", "(+inf") if kind == b"zset" else control.call(sizes[kind], key)
            if count:
                left[key] = count
        if not left:
            return
        if time.monotonic() > deadline:
            raise Broken(f"not acknowledged {timeout:.0f} s after the last task: {left}")
        time.sleep(0.01)
