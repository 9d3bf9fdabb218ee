"""What is seen of nodes while their manager stops and starts them: on the model of a fleet."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import ClassVar

import pytest
from support.deploys import TOML, Fleet, fresh, release

from multi.deploy.base import Result
from multi.deploy.connections.simulation import Fault, SimulatedSession, Simulation
from multi.deploy.hosts.facts import RUNNING, STARTING, STOPPED
from multi.deploy.hosts.inventory import Host
from multi.deploy.rollout import watching
from multi.deploy.rollout.report import DONE, REVERTED
from multi.deploy.steps import Command

ONE = TOML.replace('"app[1:4]"', "app1").replace("count = 2", 'longest_task = "8s"')
DEADLINE = "[deploy]\nhealthy_deadline = '0.1s'"
UNIT = "multi-shop@w.service"
TIMED_OUT = (
    f"Stopping {UNIT}...\n{UNIT}: State 'stop-sigterm' timed out. Killing.\n{UNIT}: Failed with result 'timeout'."
)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_QUIET", "_EVERY"):
        monkeypatch.setattr(watching, name, 0.01)
    monkeypatch.setattr(watching, "_LONG", 0.0)


class SlowSession(SimulatedSession):
    """A session whose first command with `text` in it goes on until `over`, with `then` before it."""

    text: ClassVar[str] = ""
    then: ClassVar[Callable[[], None]] = lambda: None
    over: ClassVar[threading.Event] = threading.Event()

    def run(self, command: Command, say: Callable[[str], None] | None = None) -> Result:
        cls = type(self)
        if cls.text and cls.text in str(command):
            cls.text = ""
            cls.then()
            cls.over.wait(10)
        return super().run(command, say)


def slowly(text: str, state: str, over: threading.Event | None = None) -> Callable[[Simulation], None]:
    """Have this command take its time, in which the node is in this state."""

    def meddle(simulation: Simulation) -> None:
        model = simulation.hosts["app1"]
        SlowSession.text, SlowSession.over = text, over or threading.Event()
        SlowSession.then = lambda: model.turn("systemd", UNIT, state)

        def connect(host: Host) -> SimulatedSession:
            return SlowSession(simulation, model)

        simulation.connect = connect  # type: ignore[method-assign]

    return meddle


def test_a_node_that_does_not_come_up_in_its_time_fails_though_its_manager_still_waits() -> None:
    fleet = Fleet(ONE.replace("[deploy]", DEADLINE))
    assert fleet.push(release())
    begun = time.monotonic()
    over = threading.Event()
    report = fleet.report(release("2"), meddle=slowly("systemctl restart", STARTING, over))
    over.set()
    assert time.monotonic() - begun < 5
    assert report.hosts["app1"].state == REVERTED
    assert report.hosts["app1"].step == "restart w"
    assert report.hosts["app1"].reason == "not healthy after 0.1 s: w activating (dead)"
    assert "app1 waiting: w activating (dead)" in fleet.said
    assert [line for line in fleet.of("app1") if "journalctl" in line and "-n 20" in line], "the end of its log"


def test_a_drain_is_told_of_and_not_bounded_by_the_deadline_of_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(ONE.replace("[deploy]", DEADLINE))
    assert fleet.push(release())
    over = threading.Event()
    timer = threading.Timer(0.5, over.set)
    timer.start()
    monkeypatch.setattr("multi.deploy.connections.simulation._SHOWN", {STOPPED: "deactivating", RUNNING: "active"})
    report = fleet.report(release("2"), meddle=slowly("systemctl restart", STOPPED, over))
    assert report.ok
    (line,) = (line for line in fleet.said if "finishing what runs" in line)
    assert line.startswith("app1 waiting: w finishing what runs, ") and line.endswith("s of at most 38 s")


def test_a_node_that_was_ended_by_force_is_told_of() -> None:
    fleet = Fleet(ONE.replace('longest_task = "8s"', 'stop = { kill_after = "0s" }'))
    assert fleet.push(release())
    report = fleet.report(release("2"), [Fault("journalctl -q", "", Result(0, TIMED_OUT))])
    host = report.hosts["app1"]
    assert report.ok and host.state == DONE
    assert host.json()["killed"] == ["w"]
    assert "w did not end what it was running within 0 s, and was killed" in host.json()["warnings"][0]
    calm = fleet.report(release("3"), [Fault("journalctl -q", "", Result(0, "Stopping\nStopped"))])
    assert calm.hosts["app1"].json()["killed"] == calm.hosts["app1"].json()["warnings"] == []


def test_supervisord_too_is_asked_whether_it_killed() -> None:
    facts = fresh("app1", systemd=None, supervisord="4.2.5", supervisor_dir="/etc/supervisor/conf.d")
    fleet = Fleet(ONE.replace('longest_task = "8s"', 'stop = { kill_after = "0s" }'), facts)
    assert fleet.push(release())
    ends = "stopped: shop-w (exit status 0)\nkilling 'shop-w' (7) with SIGKILL\nstopped: shop-w (terminated by SIGKILL)"
    report = fleet.report(release("2"), [Fault("maintail", "", Result(0, ends))])
    assert report.hosts["app1"].killed == ["w"]
    report = fleet.report(release("3"), [Fault("maintail", "", Result(0, f"{ends}\nstopped: shop-w (exit status 0)"))])
    assert report.hosts["app1"].killed == []
    said = "w@h: TERM, stopping\nw@h: still running, sending KILL\n"
    report = fleet.report(release("4"), [Fault("supervisorctl tail", "", Result(0, said))])
    assert report.hosts["app1"].killed == ["w"]


def test_a_worker_that_outlives_its_killed_keeper_is_ended_and_the_node_started_anew() -> None:
    facts = fresh("app1", systemd=None, supervisord="4.2.5", supervisor_dir="/etc/supervisor/conf.d")
    fleet = Fleet(ONE.replace('longest_task = "8s"', 'stop = { kill_after = "0s" }'), facts)
    assert fleet.push(release())
    ends = Fault("maintail", "", Result(0, "stopped: shop-w (terminated by SIGKILL)"))
    told = [{"node": "w@h", "state": "running", "workers": [{"pid": 7, "adopted": True}]}]
    report = fleet.report(release("2"), [ends, Fault("multi status w", "", Result(0, json.dumps(told)))])
    assert report.ok and report.hosts["app1"].killed == ["w"]
    lines = fleet.of("app1")
    multi = "cd /srv/shop/current && sudo -n /srv/shop/current/.venv/bin/multi kill w"
    assert lines.index(multi) < lines.index("sudo -n supervisorctl start shop-w")
    # one whose new keeper has a new worker is left alone
    told[0]["workers"] = [{"pid": 8, "adopted": False}]
    fleet.report(release("3"), [ends, Fault("multi status w", "", Result(0, json.dumps(told)))])
    assert multi not in fleet.of("app1")
