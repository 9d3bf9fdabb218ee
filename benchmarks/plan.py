"""A deploy's plan for a thousand hosts with ten nodes each: how long it takes, and how much memory.

    python -m benchmarks.plan [--hosts 1000] [--nodes 10] [--rounds 5] [--json] [--check]

No host is there: the facts are those of a fleet in memory. Three plans are measured, each in a process of its own: that of a
first deploy, that of a change of code, and that of a fleet which is as it should be. The clock runs from the description's text
to the plan with its batches: reading multi.toml, the inventory, rendering units, and comparing. Processor time is that of the
process for this; memory is the most that it had resident at any time, Python and all imports included.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

WHAT = ("first", "code", "unchanged")
SECONDS, MEGABYTES = 2.0, 200.0


def description(hosts: int, nodes: int) -> str:
    """Hosts of two roles, and nodes of different kinds: two thirds are alike, the others differ."""
    alike = max(1, nodes * 2 // 3)
    own = "".join(
        f'[nodes.q{number}]\nqueues = ["q{number}"]\nconcurrency = {number + 1}\n' for number in range(nodes - alike)
    )
    return (
        'name = "shop"\n[defaults]\napp = "shop.tasks"\nenv = { TZ = "UTC" }\n'
        '[deploy]\nowner = "shop"\nserial = [1, 5, "20%"]\nhooks = { migrate = "python manage.py migrate" }\n'
        f'[hosts."app[1:{hosts}]"]\naddress = "%h.example.com"\nroles = ["web"]\n'
        f"[nodes.w]\ncount = {alike}\n{own}"
    )


def measured(what: str, hosts: int, nodes: int) -> dict[str, float]:
    """One plan, in this process."""
    from multi.deploy.hosts.facts import RUNNING, HostFacts, NodeFact, ReleaseFact
    from multi.deploy.hosts.inventory import Inventory
    from multi.deploy.planning.plan import make_plan
    from multi.deploy.planning.rendering import Renderer
    from multi.deploy.releases.wanted import Release
    from multi.nodes.description import describe

    text = description(hosts, nodes)
    path = "/home/me/shop/multi.toml"

    def release(version: str) -> Release:
        return Release(f"r{version}", version, f"digest-{version}", "requirements.lock", "r", has_multi=True)

    inventory = Inventory(describe(text, path, host="here").check(), text)
    facts = {
        name: HostFacts(
            name,
            hostname=name,
            user="deploy",
            uid=1000,
            home="/home/deploy",
            sudo="free",
            python="3.12.1",
            systemd=252,
            disk_free=10 << 30,
            clock=1000.0,
        )
        for name in inventory.hosts
    }
    if what != "first":
        # what a first deploy leaves, on each host a copy of its own as hosts would tell it
        host = next(iter(inventory.hosts.values()))
        plan = make_plan(inventory, [host], facts, release("1"))
        environment = next(step.do.path for step in plan.steps() if step.kind == "build").rpartition("/")[2]  # type: ignore[union-attr]
        from multi.deploy.planning.managers import Systemd

        rendered = Renderer(inventory).of(host, facts[host.name], Systemd(), agent=True)
        for name, one in facts.items():
            running = {
                unit: NodeFact(unit, "systemd", RUNNING, number, "r1", 60.0)
                for number, unit in enumerate(rendered.units.values(), 100)
            }
            folders = ("", "/releases", "/environments", "/shared", "/.multi", "/.multi/kept")
            facts[name] = one._replace(
                current="r1",
                current_age=100.0,
                releases=(ReleaseFact("r1", "digest-1", environment, True),),
                environments=frozenset({environment}),
                folders=frozenset(f"/srv/shop{folder}" for folder in folders),
                files=dict(rendered.digests),
                recorded_files=dict(rendered.digests),
                recorded_units=dict(rendered.effects),
                wanted=frozenset({"multi-shop.target"}),
                active=frozenset({"multi-shop.target"}),
                nodes=running,
            )
    wanted = release("2" if what == "code" else "1")
    del inventory
    began, used = time.perf_counter(), time.process_time()
    inventory = Inventory(describe(text, path, host="here").check(), text)
    plan = make_plan(inventory, list(inventory.hosts.values()), facts, wanted)
    seconds, processor = time.perf_counter() - began, time.process_time() - used
    steps = sum(1 for _ in plan.steps())
    if plan.errors or (steps == 0) != (what == "unchanged"):
        raise SystemExit(f"the plan is not the one that was to be measured: {steps} steps, {len(plan.errors)} errors")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "processor": processor, "megabytes": memory, "steps": steps}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan", description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=10, help="on each host (default: 10)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help=f"exit 1 above {SECONDS:g} s or {MEGABYTES:g} MB")
    parser.add_argument("--one", choices=WHAT, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.one:
        print(json.dumps(measured(options.one, options.hosts, options.nodes)))
        return 0
    given = ["--hosts", str(options.hosts), "--nodes", str(options.nodes)]
    found: dict[str, list[dict[str, float]]] = {what: [] for what in WHAT}
    for _ in range(options.rounds):
        for what in WHAT:
            words = [sys.executable, "-m", "benchmarks.plan", "--one", what, *given]
            found[what].append(json.loads(subprocess.run(words, check=True, capture_output=True).stdout))
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        print(
            f"{options.hosts} hosts, {options.nodes} nodes on each, {options.rounds} rounds: median (least to greatest)\n"
        )
        print("| plan | steps | seconds | processor s | most memory, MB |\n|---|---:|---:|---:|---:|")
        for what, rounds in found.items():
            cells = [_spread([one[key] for one in rounds]) for key in ("seconds", "processor", "megabytes")]
            print(f"| {what} | {rounds[0]['steps']:.0f} | {' | '.join(cells)} |")
    medians = [statistics.median(one[key] for one in rounds) for rounds in found.values() for key in ("seconds",)]
    most = max(one["megabytes"] for rounds in found.values() for one in rounds)
    return 1 if options.check and (max(medians) > SECONDS or most > MEGABYTES) else 0


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    sys.exit(main())
