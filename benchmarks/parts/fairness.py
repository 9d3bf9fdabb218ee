"""Two children, one long task and 200 short ones in one queue: the short ones must not wait for the long one."""

from __future__ import annotations

import time

from benchmarks.bench import Bench
from benchmarks.contender import Contender
from benchmarks.node import Broken, Scene
from benchmarks.report import Column
from benchmarks.resp import Resp

LONG, SHORT, COUNT = 5.0, 0.005, 200
COLUMNS = (
    Column("short", "all short ones done, s after the long one began", 2),
    Column("early", "before the long one's end, %", 0),
)
CASES = {"long one first": 0, "long one in the middle": COUNT // 2}


def run(bench: Bench) -> None:
    table = bench.report.table(f"Fairness: one task of {LONG:.0f} s, {COUNT} of {SHORT * 1e3:.0f} ms", COLUMNS)
    for contender in bench.turns(only=("multi", "celery"), rounds=1):
        for case, ahead in CASES.items():
            bench.progress(f"fairness, {case}: {contender.name}")
            try:
                table.add(case, contender.name, **measure(bench, contender, ahead))
            except Broken as error:
                bench.fault(f"fairness {case}, {contender.name}", error)
    for case in CASES:
        text = f"fairness, {case}: short tasks done while it runs, %"
        bench.report.target(text, table.median(case, "multi", "early"), least=100, digits=0)


def measure(bench: Bench, contender: Contender, ahead: int) -> dict[str, float]:
    """`ahead` short tasks, the long one, the other short ones; all are sent before the node starts."""
    control = Resp(bench.server.port)
    control.call("FLUSHALL")
    control.close()
    with Scene(contender, bench.server.url()) as scene, scene.producer() as producer:
        started, ended = scene.directory / "long-began", scene.directory / "long-ended"
        producer.do("nap", seconds=SHORT, count=ahead)
        producer.do("hold", seconds=LONG, began=str(started), ended=str(ended))
        producer.do("nap", seconds=SHORT, count=COUNT - ahead)
        node = scene.node()
        deadline = time.monotonic() + 30
        while not started.exists() and time.monotonic() < deadline:
            node.check()
            time.sleep(0.005)
        began = time.monotonic()
        early = 0
        while not ended.exists() and time.monotonic() < deadline:
            node.check()
            early = scene.total()
            if early == COUNT:
                break
            time.sleep(0.005)
        done = node.wait_for(COUNT, 30)
    return {"short": done - began, "early": early / COUNT * 100}
