"""Round trips one after the other: send one task, wait for its result."""

from __future__ import annotations

import statistics

from benchmarks.bench import Bench
from benchmarks.node import Broken, Scene
from benchmarks.report import Column
from benchmarks.resp import Resp

TRIPS = 400
COLUMNS = (Column("p50", "p50, ms: min / median / max", 2, spread=True), Column("p99", "p99, ms", 2))


def run(bench: Bench) -> None:
    table = bench.report.table("Round trip", COLUMNS, "p50")
    for contender in bench.turns():
        bench.progress(f"round trip: {contender.name}")
        control = Resp(bench.server.port)
        control.call("FLUSHALL")
        control.close()
        count = bench.size(TRIPS)
        try:
            with (
                Scene(contender, bench.server.url(), results=True, BENCH_WAITING="1") as scene,
                scene.producer() as producer,
            ):
                node = scene.node()
                producer.do("round_trips", count=50)
                node.check()
                trips = sorted(producer.do("round_trips", count=count).answer)
        except Broken as error:
            bench.fault(f"round trip, {contender.name}", error)
            continue
        p99 = trips[min(len(trips) - 1, round(len(trips) * 0.99))]
        table.add("send, wait", contender.name, p50=statistics.median(trips) * 1e3, p99=p99 * 1e3)
    bench.report.target(
        "round trip, p50 in units of Celery's", table.compare("send, wait", "multi", "p50"), most=0.25, digits=2
    )
