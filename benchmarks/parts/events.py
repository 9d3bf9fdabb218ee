"""What events of tasks cost: a drain without them and one with `-E`, by turns. Nobody listens; the broker gets them all."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.contender import MULTI
from benchmarks.node import Broken
from benchmarks.parts import drain, sqlite
from benchmarks.report import Column

COLUMNS = (
    Column("off", "without events, µs per task", spread=True),
    Column("on", "with events", spread=True),
    Column("cost", "three events", spread=True),
)
MOST = 10


def run(bench: Bench) -> None:
    if MULTI not in bench.contenders:
        return
    table = bench.report.table("Events of tasks, node's processor time per task", COLUMNS)
    measures: dict[str, Callable[..., dict[str, float]]] = {
        "Redis": lambda *words: drain.measure(bench, MULTI, True, *words),
        "SQLite": lambda *words: sqlite.measure(bench, True, *words),
    }
    for turn in range(bench.rounds):
        for broker, measure in measures.items():
            found = {}
            for words in [("-E",), ()] if turn % 2 else [(), ("-E",)]:
                bench.progress(f"events {'on' if words else 'off'}, {broker}")
                try:
                    found[bool(words)] = measure(*words)["node"]
                except Broken as error:
                    bench.fault(f"events, {broker}", error)
            if len(found) == 2:
                table.add(broker, "multi", off=found[False], on=found[True], cost=found[True] - found[False])
    for broker in measures:
        costs = table.rows.get((broker, "multi"), {}).get("cost")
        value = statistics.median(costs) if costs else None
        bench.report.target(f"events of one task, {broker}, node's processor time, µs", value, most=MOST)
