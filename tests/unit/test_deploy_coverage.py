"""Queues keep a consumer while hosts are rolled: how batches are made, and what is refused."""

from __future__ import annotations

import pytest

from multi.deploy.connections.simulation import Simulation
from multi.deploy.hosts.facts import FAILED, RUNNING, HostFacts
from multi.deploy.hosts.inventory import Inventory
from multi.deploy.planning.coverage import covered
from multi.deploy.planning.plan import make_plan
from multi.deploy.releases.wanted import Release
from multi.deploy.rollout.operation import Operation
from multi.deploy.rollout.report import DONE
from multi.deploy.rollout.runner import Runner
from multi.deploy.steps import Plan
from multi.errors import DeployError
from multi.nodes.description import describe

TOML = """
name = "shop"
[defaults]
app = "shop.tasks"
[deploy]
serial = {serial}
min_healthy_time = 0
[hosts."app[1:{hosts}]"]
{nodes}
"""
WEB = "[nodes.w]\nqueues = ['web']\n"


class Shop:
    """A description's hosts in memory, with a release that runs."""

    def __init__(self, nodes: str, *, hosts: int = 4, serial: str = '["100%"]') -> None:
        text = TOML.format(serial=serial, hosts=hosts, nodes=nodes)
        self.inventory = Inventory(describe(text, "/home/me/shop/multi.toml", host="here").check(), text)
        self.hosts = list(self.inventory.hosts.values())
        self.facts = {
            host.name: HostFacts(
                host.name, user="root", sudo="root", python="3.12.1", systemd=252, disk_free=10 << 30, clock=1000.0
            )
            for host in self.hosts
        }
        self.push("1")

    def plan(self, version: str, **more: object) -> Plan:
        release = Release(f"r{version}", version, f"d{version}", "r.lock", "r", has_multi=True)
        return make_plan(self.inventory, self.hosts, self.facts, release, **more)  # type: ignore[arg-type]

    def push(self, version: str) -> None:
        simulation = Simulation(self.hosts, self.facts)
        report = Runner(self.plan(version), self.hosts, simulation, lambda _: None).run()
        assert not report.reason
        self.facts = simulation.facts

    def fails(self, host: str, node: str) -> None:
        """A node has failed since."""
        self._change(host, node, FAILED)

    def _change(self, host: str, node: str, state: str) -> None:
        unit = f"multi-shop@{node}.service"
        nodes = dict(self.facts[host].nodes)
        nodes[unit] = nodes[unit]._replace(state=state)
        self.facts[host] = self.facts[host]._replace(nodes=nodes)


def test_hosts_that_are_the_last_consumers_of_a_queue_go_in_batches_of_their_own() -> None:
    shop = Shop("[nodes.w]\nqueues = ['web']\n[nodes.img]\nqueues = ['img']\nhosts = ['app2', 'app3']\n")
    plan = shop.plan("2")
    assert plan.batches == [["app1", "app2", "app4"], ["app3"]]
    assert plan.refusal == ""
    assert plan.notes == ("app3 goes after app2: together they would leave the queue 'img' without a consumer",)


def test_a_batch_of_all_hosts_leaves_one_behind() -> None:
    plan = Shop(WEB).plan("2")
    assert plan.batches == [["app1", "app2", "app3"], ["app4"]]


def test_hosts_with_several_nodes_have_one_down_at_a_time_and_go_together() -> None:
    plan = Shop("[nodes.w]\ncount = 2\nqueues = ['web']\n").plan("2")
    assert (plan.batches, plan.notes) == ([["app1", "app2", "app3", "app4"]], ())


def test_what_only_one_node_is_to_consume_has_its_gap() -> None:
    plan = Shop("[nodes.w]\ncount = 2\n[nodes.one]\nqueues = ['one']\nhosts = ['app2']\n").plan("2")
    assert (len(plan.batches), plan.refusal) == (1, "")


def test_a_first_push_has_nothing_to_leave() -> None:
    shop = Shop(WEB)
    shop.facts = {name: facts._replace(nodes={}, current=None) for name, facts in shop.facts.items()}
    assert len(shop.plan("2").batches) == 1


def test_a_node_that_has_failed_is_started_before_the_last_one_goes() -> None:
    shop = Shop(WEB, hosts=2, serial="1")
    shop.fails("app2", "w")
    plan = shop.plan("2")
    assert plan.batches == [["app2"], ["app1"]]
    assert plan.refusal == ""
    shop.push("2")
    assert {node.state for facts in shop.facts.values() for node in facts.nodes.values()} == {RUNNING}


def test_on_one_host_what_is_down_is_started_first() -> None:
    shop = Shop("[nodes.w]\ncount = 2\nqueues = ['web']\n", hosts=1)
    shop.fails("app1", "w2")
    plan = shop.plan("2")
    turns = [step.title for step in plan.hosts["app1"].steps if step.kind in ("start", "restart")]
    assert (turns, plan.refusal) == (["restart w2", "restart w1"], "")


def test_the_last_one_that_is_up_is_refused() -> None:
    shop = Shop(WEB, hosts=2, serial="1")
    shop.facts["app2"] = HostFacts("app2", error="it doesn't answer")
    plan = shop.plan("2")
    assert plan.refusal == (
        "refused: app1 would leave the queue 'web' without a consumer, as no other node that consumes it is up. Start another "
        "one first, or do it all the same with --force"
    )
    assert plan.json()["refused"] == plan.refusal


def test_of_hosts_that_nothing_is_done_on_the_nodes_count_when_they_are_known() -> None:
    shop = Shop(WEB, hosts=3, serial="1")
    facts = dict(shop.facts)
    shop.hosts = shop.hosts[:1]
    shop.facts = {"app1": facts["app1"]}
    plan = shop.plan("2")
    assert "'web'" in plan.refusal
    assert covered(plan, shop.inventory, facts).refusal == ""
    assert shop.plan("2", assume=True).refusal == ""


@pytest.mark.parametrize("forced", [False, True])
def test_an_operation_ends_with_what_its_plan_refuses_unless_somebody_insists(forced: bool) -> None:
    shop = Shop(WEB, hosts=2, serial="1")
    shop.facts["app2"] = HostFacts("app2", error="it doesn't answer")
    simulation = Simulation(shop.hosts, shop.facts)
    operation = Operation(
        shop.inventory,
        shop.hosts,
        simulation,
        lambda _: None,
        what="push",
        version="2",
        forced=forced,
        with_check=False,
    )
    if forced:
        assert operation.run(lambda _: shop.plan("2")).hosts["app1"].state == DONE
    else:
        with pytest.raises(DeployError, match="'web' without a consumer"):
            operation.run(lambda _: shop.plan("2"))
    assert any("restart" in line for _, line in simulation.done) == forced
    assert "multi-lock" in simulation.done[-1][1]  # it is taken away


def test_programs_that_change_only_together_count_together() -> None:
    text = "[nodes.w]\ncount = 2\nqueues = ['web']\n"
    shop = Shop(text, hosts=2)
    plan = shop.plan("2")
    steps = tuple(
        step._replace(also=("w2",)) if step.kind == "restart" and step.node == "w1" else step
        for step in plan.hosts["app2"].steps
    )
    plans = {**plan.hosts, "app2": plan.hosts["app2"]._replace(steps=steps)}
    assert covered(plan._replace(hosts=plans), shop.inventory, shop.facts).batches == [["app1", "app2"]]
    for node in ("w1", "w2"):
        shop.fails("app1", node)
    assert covered(plan._replace(hosts=plans), shop.inventory, shop.facts).batches == [["app1"], ["app2"]]
