"""Nodes under the controller, under `celery multi`, and under supervisord: start, restart, memory, stop; two hundred of ours."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

from benchmarks import environments
from benchmarks.bench import Bench
from benchmarks.contender import Contender
from benchmarks.fleet import Fleet
from benchmarks.node import Broken, Scene
from benchmarks.processes import memory
from benchmarks.report import Column, Table
from benchmarks.resp import Resp

NODES, RESTARTED, MANY = 10, 4, 200
BURN = "2"
IDLE = 30.0
LIFE = (
    Column("returned", "start returns, s", 2),
    Column("ready", "all consume, s: min / median / max", 2, spread=True),
    Column("restart", f"restart of {RESTARTED}, s: min / median / max", 2, spread=True),
    Column("stopwait", "stopwait, s: min / median / max", 2, spread=True),
    Column("gap", "returns after the last process, ms", 0, spread=True),
)
HEAVY = (Column("ready", "all consume, s: min / median / max", 2, spread=True),)
MEMORY = (
    Column("keeper", "keeper, MB (PSS)", 2),
    Column("node", "node: worker and children, MB (PSS)"),
    Column("greatest", "the greatest node, MB"),
    Column("all", f"all {NODES}, keepers too, MB"),
)
CROWD = (
    Column("start", "start, s", 1),
    Column("status", "status, s", 2, spread=True),
    Column("idle", "idle keepers, % of a core", 2),
    Column("rolling", "restart --rolling --batch 10%, s", 1),
    Column("stopwait", "stopwait, s", 1),
)
CASE = f"{NODES} nodes of -c 1"
ONE, ALL = "1 node", f"{NODES} nodes"


def run(bench: Bench) -> None:
    report = bench.report
    if any(contender.name == "celery" for contender in bench.contenders):
        environments.environment("supervisord")  # made before anything is measured
        report.versions["supervisord"] = environments.versions("supervisord")
    life = report.table(f"Start, restart and stop of {NODES} nodes of -c 1", LIFE, "ready")
    heavy = report.table(f"Start of nodes whose import takes {BURN} s of processor time", HEAVY)
    size = report.table(f"Memory of {NODES} idle nodes of -c 2", MEMORY, "all")
    crowd = report.table(f"{MANY} nodes of -P solo", CROWD)
    for manager, contender in turns(bench, bench.rounds):
        attempt(bench, life, CASE, manager, lambda: live(bench, contender, manager))  # noqa: B023
    ours = next((contender for contender in bench.contenders if contender.name == "multi"), None)
    if ours is not None:
        for turn in range(bench.rounds):
            for case, count in ((ONE, 1), (ALL, NODES))[:: 1 if turn % 2 else -1]:
                attempt(bench, heavy, case, "multi", lambda: burn(bench, ours, count))  # noqa: B023
    for manager, contender in turns(bench, 1):
        attempt(bench, size, "each", manager, lambda: weigh(bench, contender, manager))  # noqa: B023
    if ours is not None:
        attempt(bench, crowd, f"{MANY} nodes", "multi", lambda: throng(bench, ours))
    targets(bench, life, heavy, size, crowd)


def turns(bench: Bench, rounds: int) -> Iterator[tuple[str, Contender]]:
    """Every manager once a round; who begins changes from round to round. supervisord runs Celery's workers."""
    chosen = [(one.name, one) for one in bench.contenders if one.name in ("multi", "celery")]
    chosen += [("supervisord", one) for name, one in chosen if name == "celery"]
    for turn in range(rounds):
        start = turn % max(1, len(chosen))
        yield from chosen[start:] + chosen[:start]


def attempt(bench: Bench, table: Table, case: str, manager: str, measure: Callable[[], dict[str, float]]) -> None:
    """A measurement on an empty server; one that fails is told."""
    bench.progress(f"{table.title}, {case}: {manager}")
    control = Resp(bench.server.port)
    control.call("FLUSHALL")
    control.close()
    try:
        table.add(case, manager, **measure())
    except Broken as error:
        bench.fault(f"{table.title}, {case}, {manager}", error)


def live(bench: Bench, contender: Contender, manager: str) -> dict[str, float]:
    """Start, restart some, stop."""
    with Scene(contender, bench.server.url()) as scene:
        fleet = Fleet(scene, contender, manager, NODES, "-c", "1")
        returned, ready = fleet.start()
        time.sleep(1)  # idle
        restart = fleet.restart(RESTARTED)
        time.sleep(1)
        stopwait, gap = fleet.stopwait()
        return {"returned": returned, "ready": ready, "restart": restart, "stopwait": stopwait, "gap": gap * 1000}


def burn(bench: Bench, contender: Contender, count: int) -> dict[str, float]:
    """Start nodes whose import takes long."""
    with Scene(contender, bench.server.url(), BENCH_BURN=BURN) as scene:
        return {"ready": Fleet(scene, contender, "multi", count, "-c", "1").start()[1]}


def weigh(bench: Bench, contender: Contender, manager: str) -> dict[str, float]:
    """The memory of idle nodes; each is a tree whose root is the keeper, where there is one."""
    with Scene(contender, bench.server.url()) as scene:
        fleet = Fleet(scene, contender, manager, NODES, "-c", "2")
        fleet.start()
        time.sleep(1)
        roots = fleet.roots()
        if len(roots) != NODES:
            raise Broken(f"{len(roots)} trees of processes were found for {NODES} nodes")
        if manager == "multi":
            keepers = [memory([root]) for root in roots]
            nodes = [memory(below) for below in roots.values()]
        else:
            keepers = [0.0]
            nodes = [memory({root, *below}) for root, below in roots.items()]
        everything = memory(scene.group.parents())
        return {
            "keeper": statistics.mean(keepers),
            "node": statistics.mean(nodes),
            "greatest": max(nodes),
            "all": everything,
        }


def throng(bench: Bench, contender: Contender) -> dict[str, float]:
    """Many nodes, once through all that is done with them."""
    with Scene(contender, bench.server.url()) as scene:
        fleet = Fleet(scene, contender, "multi", MANY, "-P", "solo")
        start = fleet.start(240)[1]
        time.sleep(1)
        status = statistics.median(fleet.run("status") for _ in range(5))
        time.sleep(IDLE)  # a new node is looked at more often, until it counts as healthy
        idle = fleet.idle(IDLE)
        rolling = fleet.run("restart", "--all", "--rolling", "--batch", "10%")
        return {
            "start": start,
            "status": status,
            "idle": idle,
            "rolling": rolling,
            "stopwait": fleet.stopwait()[0],
        }


def targets(bench: Bench, life: Table, heavy: Table, size: Table, crowd: Table) -> None:
    """What the controller is to reach."""
    target = bench.report.target
    case = f"{MANY} nodes"
    for what, measure, peer, most in (
        (f"{CASE} all consume, in units of celery multi's time", "ready", "celery", 1 / 4),
        (f"{CASE} all consume, in units of supervisord's time", "ready", "supervisord", 1 / 3),
        (f"restart of {RESTARTED} idle nodes, in units of celery multi's time", "restart", "celery", 1 / 5),
    ):
        target(what, ratio(life.median(CASE, "multi", measure), life.median(CASE, peer, measure)), most=most, digits=2)
    import_once = ratio(heavy.median(ALL, "multi", "ready"), heavy.median(ONE, "multi", "ready"))
    target(f"an import of {BURN} s: {NODES} nodes, in units of one node's time", import_once, most=2, digits=2)
    target(f"stopwait of {NODES} idle nodes, s", life.median(CASE, "multi", "stopwait"), most=0.4, digits=2)
    target("stopwait returns after the last process's end, ms", life.median(CASE, "multi", "gap"), most=50)
    target("keeper, MB (PSS)", size.median("each", "multi", "keeper"), most=8)
    target("node of 2 children, MB (PSS)", size.median("each", "multi", "node"), most=45)
    target(
        f"memory of {NODES} nodes of -c 2, in units of celery multi's",
        ratio(size.median("each", "multi", "all"), size.median("each", "celery", "all")),
        most=1 / 3,
        digits=2,
    )
    target(f"status of {MANY} nodes, s", crowd.median(case, "multi", "status"), most=0.5, digits=2)
    target(f"{MANY} idle keepers together, % of a core", crowd.median(case, "multi", "idle"), most=1, digits=2)


def ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours is not None and theirs else None
