"""multi and its peers, measured in turn on a private Redis.

The peers come from PyPI, each in an environment of its own, made at the first run. multi is the one installed beside the
Python that runs this.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence

from benchmarks.bench import Bench
from benchmarks.contender import CONTENDERS
from benchmarks.parts import (
    beat,
    drain,
    enqueue,
    events,
    fairness,
    nodes,
    ping,
    roundtrip,
    schedules,
    sqlite,
    startup,
    watching,
)
from benchmarks.report import Report
from benchmarks.server import PrivateRedis

PARTS: dict[str, Callable[[Bench], None]] = {
    "drain": drain.run,
    "enqueue": enqueue.run,
    "roundtrip": roundtrip.run,
    "sqlite": sqlite.run,
    "startup": startup.run,
    "nodes": nodes.run,
    "fairness": fairness.run,
    "ping": ping.run,
    "events": events.run,
    "watching": watching.run,
    "schedules": schedules.run,
    "beat": beat.run,
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = tuple(contender.name for contender in CONTENDERS)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"any of {','.join(PARTS)} (default: all)")
    parser.add_argument("--only", default=",".join(names), help=f"any of {','.join(names)} (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each figure is taken (default: 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the numbers of tasks (default: 1)")
    parser.add_argument("--json", action="store_true", help="print JSON with the values of every round")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    options = parser.parse_args(argv)
    parts = _chosen(parser, "--parts", options.parts, tuple(PARTS))
    only = _chosen(parser, "--only", options.only, names)
    if options.rounds < 1 or options.scale <= 0:
        parser.error("--rounds must be at least 1, and --scale more than 0")
    report = Report()
    contenders = [contender for contender in CONTENDERS if contender.name in only]
    for contender in contenders:
        contender.command((contender.worker[0],))  # makes its environment, before anything is measured
        report.versions[contender.name] = contender.versions()
    with PrivateRedis() as server:
        report.versions["redis-server"] = {"redis-server": server.version()}
        bench = Bench(server, report, contenders, options.rounds, options.scale)
        for part in parts:
            PARTS[part](bench)
    if "multi" not in only:
        report.targets.clear()  # they are multi's
    report.machine["load_after"] = round(os.getloadavg()[0], 2)
    print(json.dumps(report.data(), indent=1) if options.json else report.text())
    return 1 if options.check and report.missed() else 0


def _chosen(parser: argparse.ArgumentParser, option: str, text: str, known: Sequence[str]) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if unknown := [word for word in words if word not in known]:
        parser.error(f"{option}: {', '.join(unknown)} is none of {', '.join(known)}")
    return words


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything started is ended
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
