"""Sending: a plain loop of single calls, and the call for many where there is one. Nobody consumes meanwhile."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.node import Broken, Scene
from benchmarks.report import Column
from benchmarks.resp import Resp

LOOP, BULK = 3_000, 10_000
COLUMNS = (
    Column("loop", "loop, messages/s: min / median / max", 0, spread=True),
    Column("loop_cpu", "producer, µs each"),
    Column("bulk", "bulk, messages/s: min / median / max", 0, spread=True),
    Column("bulk_cpu", "producer, µs each"),
)


def run(bench: Bench) -> None:
    table = bench.report.table("Enqueue", COLUMNS, "loop")
    for contender in bench.turns():
        for results in (False, True):
            case = "with a backend" if results else "no backend"
            bench.progress(f"enqueue {case}: {contender.name}")
            control = Resp(bench.server.port)
            control.call("FLUSHALL")
            control.close()
            count = bench.size(LOOP)
            many = bench.size(BULK)
            try:
                with Scene(contender, bench.server.url(), results=results) as scene, scene.producer() as producer:
                    producer.do("loop", count=200)
                    loop = producer.do("loop", count=count)
                    table.add(case, contender.name, loop=count / loop.seconds, loop_cpu=loop.cpu / count * 1e6)
                    if producer.do("bulk", count=200).answer is not False:
                        bulk = producer.do("bulk", count=many)
                        table.add(case, contender.name, bulk=many / bulk.seconds, bulk_cpu=bulk.cpu / many * 1e6)
            except Broken as error:
                bench.fault(f"enqueue {case}, {contender.name}", error)
    for case in ("no backend", "with a backend"):
        cost = table.median(case, "multi", "loop_cpu")
        bench.report.target(f"plain loop of delay, {case}, producer's processor time each, µs", cost, most=60)
        cost = table.median(case, "multi", "bulk_cpu")
        bench.report.target(f"bulk call, {case}, producer's processor time each, µs", cost, most=12)
