"""How a plan is carried out: on the model of a fleet, where steps can be made to fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest

from multi.deploy.base import Result
from multi.deploy.connections.simulation import Fault, Simulation
from multi.deploy.hosts.facts import HostFacts
from multi.deploy.hosts.inventory import Host
from multi.deploy.hosts.settings import Canary, Settings
from multi.deploy.rollout import runner
from multi.deploy.rollout.report import (
    DONE,
    END,
    FAILED,
    LEFT_OUT,
    REVERTED,
    STUCK,
    UNCHANGED,
    UNREACHABLE,
    Event,
    Report,
)
from multi.deploy.rollout.runner import Runner
from multi.deploy.steps import FINISH, ONCE, PREPARE, RESTART, RUN, SWITCH, Command, HostPlan, Plan, Step

SETTINGS = Settings(path="/srv/shop")


class Fleet:
    """Hosts h1, h2, … whose plan is: prepare, switch a link (`switch`), restart two nodes, clean up; and back."""

    def __init__(self, count: int, faults: Sequence[Fault] = (), once: bool = False) -> None:
        self.hosts = [Host(f"h{number}", f"h{number}", (), (), SETTINGS) for number in range(1, count + 1)]
        self.said: list[str] = []
        self.events: list[Event] = []
        self.backend = Simulation(
            self.hosts,
            {host.name: HostFacts(host.name, current="old") for host in self.hosts},
            lambda host, line: self.said.append(f"{host} {line}"),
            faults,
        )
        plans = {host.name: self._plan(host.name) for host in self.hosts}
        names = [host.name for host in self.hosts]
        steps = (self._step("h1", ONCE, "migrate"),) if once else ()
        self.plan = Plan("shop", "new", plans, [names[:1], names[1:]] if count > 1 else [names], steps)

    def _step(self, host: str, phase: str, word: str, kind: str = RUN, node: str | None = None) -> Step:
        return Step(host, kind, word, "", Command((word, *([node] if node else []))), phase, node)

    def _plan(self, host: str) -> HostPlan:
        steps = [self._step(host, PREPARE, "prepare"), self._step(host, SWITCH, "switch")]
        steps += [self._step(host, SWITCH, "restart", RESTART, node) for node in ("w1", "w2")]
        back = [self._step(host, SWITCH, "unswitch")]
        back += [self._step(host, SWITCH, "return", RESTART, node) for node in ("w1", "w2")]
        return HostPlan(host, "old", (*steps, self._step(host, FINISH, "clean")), tuple(back))

    def run(self, check: Callable[[], str] | None = None, **settings: object) -> Report:
        made = Runner(
            self.plan,
            self.hosts,
            self.backend,
            self.events.append,
            settings=runner.Settings(**settings),  # type: ignore[arg-type]
        )
        return made.run(check)

    def of(self, host: str) -> list[str]:
        return [line.removeprefix(f"{host} ") for line in self.said if line.startswith(f"{host} ")]


def states(report: Report) -> dict[str, str]:
    return {name: one.state for name, one in report.hosts.items()}


WAY = ["prepare", "switch", "restart w1", "restart w2", "clean"]


def test_hosts_are_prepared_together_and_switched_batch_by_batch() -> None:
    fleet = Fleet(3, once=True)
    report = fleet.run()
    assert report.ok
    assert states(report) == {"h1": DONE, "h2": DONE, "h3": DONE}
    assert fleet.of("h2") == WAY
    at = {line: number for number, line in enumerate(fleet.said)}
    assert max(at["h1 prepare"], at["h2 prepare"], at["h3 prepare"]) < at["h1 migrate"] < at["h1 switch"]
    assert at["h1 restart w2"] < min(at["h2 switch"], at["h3 switch"])
    assert max(at["h2 restart w2"], at["h3 restart w2"]) < at["h1 clean"]
    assert sum(event.kind == END for event in fleet.events) == 16


def test_what_fails_while_hosts_are_prepared_changes_none() -> None:
    fleet = Fleet(3, [Fault("prepare", "h2", Result(1, "", "no space left"))])
    report = fleet.run()
    assert not report.ok
    assert states(report) == {"h1": UNCHANGED, "h2": FAILED, "h3": UNCHANGED}
    assert not [line for line in fleet.said if "switch" in line]
    assert (report.hosts["h2"].step, report.hosts["h2"].output) == ("prepare", "no space left")


def test_what_speaks_against_a_release_ends_the_deploy_before_anything_is_switched() -> None:
    fleet = Fleet(2, once=True)
    report = fleet.run(lambda: "a task is gone")
    assert (report.ok, report.reason) == (False, "a task is gone")
    assert sorted(fleet.said) == ["h1 prepare", "h2 prepare"]
    assert states(report) == {"h1": UNCHANGED, "h2": UNCHANGED}


def test_a_failure_takes_all_hosts_back_and_only_the_nodes_that_were_touched() -> None:
    fleet = Fleet(3, [Fault("restart w1", "h2", Result(1, "", "it crashes"))])
    report = fleet.run()
    assert not report.ok
    assert states(report) == {"h1": REVERTED, "h2": REVERTED, "h3": REVERTED}
    assert fleet.of("h1")[-3:] == ["unswitch", "return w1", "return w2"]
    assert fleet.of("h2")[-2:] == ["unswitch", "return w1"]
    assert report.hosts["h2"].reason == "exit code 1"
    assert report.hosts["h1"].reason == ""


def test_a_tolerated_failure_takes_that_host_back_and_the_others_go_on() -> None:
    fleet = Fleet(3, [Fault("restart w1", "h1")])
    report = fleet.run(max_fail_percentage=34)
    assert states(report) == {"h1": REVERTED, "h2": DONE, "h3": DONE}
    assert not report.ok and not report.reason
    assert fleet.of("h3") == WAY


def test_without_going_back_hosts_stay_as_they_are() -> None:
    fleet = Fleet(2, [Fault("restart w2", "h2")])
    report = fleet.run(auto_revert=False)
    assert states(report) == {"h1": DONE, "h2": FAILED}
    assert not [line for line in fleet.said if "unswitch" in line]


def test_a_step_back_that_fails_is_told_and_the_others_are_done() -> None:
    fleet = Fleet(2, [Fault("restart w1", "h2"), Fault("unswitch", "h1", Result(1, "", "stuck"))])
    report = fleet.run()
    assert states(report) == {"h1": STUCK, "h2": REVERTED}
    assert fleet.of("h1")[-2:] == ["return w1", "return w2"]
    assert "unswitch" in report.hosts["h1"].warnings[0]


def test_a_host_that_is_cut_off_is_told_and_the_others_do_not_wait_for_it() -> None:
    fleet = Fleet(3, [Fault("restart w1", "h2", None), Fault("unswitch", "h2", None, None)])
    report = fleet.run()
    assert states(report) == {"h1": REVERTED, "h2": UNREACHABLE, "h3": REVERTED}
    assert report.hosts["h2"].current is None  # nobody knows
    assert "the next push" in report.hosts["h2"].warnings[0]
    back = [line for line in fleet.said if "unswitch" in line]
    assert {line[:2] for line in back[:2]} == {"h1", "h3"}


def test_a_host_without_a_plan_is_left_out_and_makes_the_deploy_not_ok() -> None:
    fleet = Fleet(2)
    fleet.plan.hosts["h2"] = HostPlan("h2", None, error="no route")
    report = fleet.run()
    assert states(report) == {"h1": DONE, "h2": LEFT_OUT}
    assert not report.ok and not fleet.of("h2")


def test_an_interrupted_deploy_begins_nothing_more_and_goes_back() -> None:
    fleet = Fleet(2)
    made = Runner(fleet.plan, fleet.hosts, fleet.backend, fleet.events.append)

    def tell(event: Event) -> None:
        if event.kind == END and event.text == "restart" and event.host == "h1":
            made.cancel.set()

    made._tell = tell
    report = made.run()
    assert report.reason == "the deploy was interrupted" or "h1" in report.reason
    assert states(report) == {"h1": REVERTED, "h2": UNCHANGED}
    assert fleet.of("h1") == ["prepare", "switch", "restart w1", "unswitch", "return w1"]


def test_what_fails_afterwards_is_a_warning() -> None:
    report = Fleet(1, [Fault("clean")])
    result = report.run()
    assert result.ok
    assert "clean" in result.hosts["h1"].warnings[0]


def test_no_more_hosts_than_are_allowed_are_worked_on_at_once() -> None:
    fleet = Fleet(8)
    now, most, lock = 0, 0, threading.Lock()
    real = fleet.backend.connect

    class Slow:
        def __init__(self, session: object) -> None:
            self.session = session

        def __getattr__(self, name: str) -> object:
            return getattr(self.session, name)

        def run(self, command: Command, say: object = None) -> Result:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            try:
                threading.Event().wait(0.01)
                return self.session.run(command)  # type: ignore[attr-defined,no-any-return]
            finally:
                with lock:
                    now -= 1

    fleet.backend.connect = lambda host: Slow(real(host))  # type: ignore[method-assign,assignment,return-value]
    assert fleet.run(max_parallel=3).ok
    assert most == 3


@pytest.mark.parametrize(("failed", "passes"), [(0, True), (60, False)])
def test_the_first_node_of_a_release_is_judged_by_its_tasks(failed: int, *, passes: bool) -> None:
    fleet = Fleet(3)
    looks = 0

    def look(host: str, new: tuple[str, ...]) -> tuple[dict[str, object], dict[str, object]]:
        nonlocal looks
        assert (host, new) == ("h1", ("w1",))
        looks += 1
        count = 0 if looks == 1 else 100
        mine = {"succeeded": count - min(failed, count), "failed": min(failed, count), "active": 1}
        return {"h1/w1": mine}, {"h1/w2": {"succeeded": count, "failed": 0, "active": 1}}

    canary = Canary(nodes=1, tasks=50, time=5)
    report = Runner(fleet.plan, fleet.hosts, fleet.backend, fleet.events.append, canary=canary, look=look).run()
    assert report.ok is passes
    if passes:
        assert fleet.of("h1") == WAY
    else:
        assert fleet.of("h1") == ["prepare", "switch", "restart w1", "unswitch", "return w1"]
        assert fleet.of("h2") == ["prepare"]
        assert "60 of 100 tasks have failed" in report.hosts["h1"].reason


@pytest.mark.parametrize("step", ["prepare", "restart w1"])
def test_the_report_says_in_which_step_a_host_was_cut_off(step: str) -> None:
    report = Fleet(2, [Fault(step, "h2", None, None), Fault("unswitch", "h2", None, None)]).run()
    found = report.hosts["h2"].json()
    assert (found["state"], found["step"]) == (UNREACHABLE, step.partition(" ")[0])
    assert found["reason"] == "the connection was cut"
