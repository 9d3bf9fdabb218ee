"""What is said of nodes that a manager can't do all for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from multi.nodes.names import NodeName
from multi.nodes.spec import NodeSpec
from multi.units import find
from multi.units.base import Target

TARGET = Target("shop", "host", manager_version=252, multi="/usr/bin/multi", launcher="/l/celery_node.py", owner="shop")
AGENTLESS = replace(TARGET, multi=None, launcher=None)
POLICY = {"watchdog": 30.0, "max_memory": 1 << 30, "max_age": 3600.0, "quit_after": 60.0}


def node(**more: Any) -> NodeSpec:
    values = {"engine": "celery", "hooks": {"crashed": [{"argv": ["echo", "x"]}]}, "policy": POLICY, "nice": 5, **more}
    return NodeSpec(NodeName("c", "host"), executable="/srv/bin/python", cwd="/srv", options={"app": "shop"}, **values)


def notes(form: str, target: Target, spec: NodeSpec | None = None) -> str:
    return "\n".join(find(form).notes([spec or node()], target))


@pytest.mark.parametrize("form", ["systemd", "supervisord", "openrc", "runit", "launchd", "compose", "kubernetes"])
def test_without_a_keeper_whatever_is_left_out_is_said(form: str) -> None:
    text = "\n".join(file.text for file in find(form).render([node()], AGENTLESS))
    said = notes(form, AGENTLESS)
    written = {"watchdog": "WatchdogSec=", "max_memory": "emory", "max_age": "RuntimeMaxSec=", "hooks": "echo x"}
    for key, directive in written.items():
        assert key in said or directive in text + said, f"no word of {key}"
    assert "quit_after" in said
    if form not in ("systemd", "compose", "kubernetes"):
        assert "watchdog" not in notes(form, TARGET), "its keeper does that"


def test_a_container_without_a_keeper_is_killed_at_its_limit() -> None:
    for form in ("compose", "kubernetes"):
        said = notes(form, AGENTLESS)
        assert "c: a container has nothing for watchdog, max_age, hooks, stop.quit_after" in said
        assert "c: max_memory is the limit of the container alone" in said
        assert "c: nice: left out" in notes(form, TARGET)
        assert "max_memory" not in notes(form, TARGET)
        for target, has_keeper in ((AGENTLESS, False), (TARGET, True)):
            files = find(form).render([node()], target)
            assert any("The keeper replaces the node" in file.text for file in files) is has_keeper
            assert any(str(int(1.25 * (1 << 30))) in file.text for file in files)


def test_systemd_says_where_it_can_have_no_watchdog() -> None:
    assert "c: no WatchdogSec=" in notes("systemd", AGENTLESS)
    assert "WatchdogSec" not in notes("systemd", TARGET)
    assert "WatchdogSec" not in notes("systemd", AGENTLESS, node(policy={}))
