"""The embedded broker: two nodes on one SQLite file, a backlog of no-op tasks.

Both nodes are up and warm, and held (SIGSTOP) while the backlog is sent; then they are let go together.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time

from benchmarks.bench import Bench
from benchmarks.contender import MULTI
from benchmarks.node import Broken, Node, Scene
from benchmarks.report import Column

SIZE, WARM = 20_000, 200
COLUMNS = (
    Column("rate", "tasks/s: min / median / max", 0, spread=True),
    Column("share", "share of the node that ran less, %: min / median / max", 0, spread=True),
    Column("node", "both nodes, µs per task"),
)


def run(bench: Bench) -> None:
    if MULTI not in bench.contenders:
        return
    table = bench.report.table("SQLite, 2 nodes of one child on one file", COLUMNS)
    for _ in bench.turns(only=("multi",)):
        for results in (False, True):
            case = "with results" if results else "no results"
            bench.progress(f"SQLite {case}")
            try:
                table.add(case, "multi", **measure(bench, results))
            except Broken as error:
                bench.fault(f"SQLite {case}", error)
    bench.report.target(
        "SQLite, tasks/s of two nodes", table.median("no results", "multi", "rate"), least=10_000, digits=0
    )
    shares = table.rows.get(("no results", "multi"), {}).get("share")
    text = "SQLite, smaller share of the two nodes in any round, %"
    bench.report.target(text, min(shares) if shares else None, least=100 / 3)


def measure(bench: Bench, results: bool, *words: str) -> dict[str, float]:
    """One drain, by two nodes with further options."""
    size = bench.size(SIZE)
    # a real directory, not shared memory: the file system's part belongs to the figure
    with tempfile.TemporaryDirectory(prefix="multi-bench-") as directory:
        url = f"sqlite:///{directory}/bench.db"
        with Scene(MULTI, "", results=results, BENCH_BROKER=url) as scene, scene.producer() as producer:
            nodes = [scene.node("-c", "1", "-n", f"{name}@%h", *words, name=name) for name in ("w1", "w2")]
            for count in range(1, 200):  # both are up when both have run something
                producer.fill(WARM)
                nodes[0].wait_for(count * WARM)
                nodes[1].check()
                if all(node.members() & set(scene.ran()) for node in nodes):
                    break
            else:
                raise Broken("one of the two nodes never got a task")
            time.sleep(0.3)  # the last of the warm-up is settled, nobody is within a transaction
            warm = scene.ran()
            start = sum(warm.values())
            before = [node.usage() for node in nodes]
            _signal(nodes, signal.SIGSTOP)
            try:
                producer.fill(size)
            finally:
                _signal(nodes, signal.SIGCONT)
            began = nodes[0].wait_for(start + 1)
            ended = nodes[0].wait_for(start + size)
            time.sleep(0.1)  # acknowledgements
            after = [node.usage() for node in nodes]
            ran = scene.ran()
            if sum(ran.values()) != start + size:
                raise Broken(f"{sum(ran.values()) - start} tasks were run, not {size}")
            parts = [sum(ran.get(pid, 0) - warm.get(pid, 0) for pid in node.members()) for node in nodes]
    used = sum(usage.main + usage.children for usage in after) - sum(usage.main + usage.children for usage in before)
    return {"rate": size / (ended - began), "share": min(parts) / size * 100, "node": used / size * 1e6}


def _signal(nodes: list[Node], number: signal.Signals) -> None:
    for node in nodes:
        for pid in node.members():
            os.kill(pid, number)
