"""What has to be done so that the nodes match a description."""

from __future__ import annotations

from typing import Any

import pytest

from multi.errors import ConfigurationError
from multi.nodes.description import describe
from multi.nodes.description.needs import find_circle, in_waves
from multi.nodes.description.plan import FORGET, KEEP, RESTART, START, STOP, Known, changes, plan
from multi.nodes.names import NodeName
from multi.nodes.spec import NodeSpec

PATH = "/srv/shop/multi.toml"
TEXT = """
[defaults]
app = "proj"
env = { TZ = "UTC" }
[nodes.w]
count = 2
queues = ["a"]
[nodes.v]
depends_on = ["w"]
[nodes.u]
"""
WANTED = describe(TEXT, PATH, host="h").check()


def known(name: str, *, up: bool = True, state: str = "running", message: str = "", **changed: Any) -> Known:
    """A node as its description has it, but for what is changed."""
    spec = next((node.spec for node in describe(TEXT, PATH, host="h").nodes if node.name == name), None)
    if spec is None:
        spec = NodeSpec(NodeName(name, "h"), executable="/p", cwd="/", options={}, description=PATH, section="gone")
    env = tuple(spec.env)
    for field, value in changed.items():
        setattr(spec, field, value)
    return Known(name, spec, state, up, message, env)


def actions(
    have: list[Known], only: tuple[str, ...] = (), shell: dict[str, str] | None = None
) -> list[tuple[str, str]]:
    return [(step.action, step.name) for step in plan(WANTED, have, only, shell).steps]


ALL = [known("w1"), known("w2"), known("v"), known("u")]


def test_what_is_missing_is_started() -> None:
    assert actions([]) == [(START, "w1"), (START, "w2"), (START, "v"), (START, "u")]
    found = plan(WANTED, [known("w1", up=False, state="failed", message="it crashed 5 times"), *ALL[1:]])
    (step,) = found.of(START)
    assert (step.name, step.why) == ("w1", ("it is failed: it crashed 5 times",))


def test_what_runs_as_described_is_left_alone() -> None:
    found = plan(WANTED, ALL)
    assert found.is_empty
    assert {step.action for step in found.steps} == {KEEP}
    assert not any(step.claims for step in found.steps)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"options": {"app": "proj", "queues": "b"}}, ("queues: b -> a",)),
        ({"env": {"TZ": "CET"}}, ("environment: TZ",)),
        ({"env": {"TZ": "UTC", "NEW": "1"}}, ("environment: NEW",)),
        ({"umask": 0o077}, ("umask: 077 -> 022",)),
        ({"hooks": {"ready": [{"url": "https://example.com/secret"}]}}, ("hooks: ready",)),
        ({"policy": {"restart": "always"}}, ("restart: always -> (not given)",)),
        (
            {"options": {"app": "proj", "queues": "a", "broker": "redis://:pw@h"}},
            ("broker: redis://:**@h -> (not given)",),
        ),
    ],
)
def test_what_has_changed_is_restarted_and_the_reason_told_without_secrets(
    changed: dict[str, Any], why: tuple[str, ...]
) -> None:
    found = plan(WANTED, [known("w1", **changed), *ALL[1:]])
    (step,) = found.of(RESTART)
    assert (step.name, step.why) == ("w1", why)
    assert [one.action for one in found.steps] == [RESTART, KEEP, KEEP, KEEP]


def test_the_same_thing_said_differently_is_no_change() -> None:
    def spec(**options: Any) -> NodeSpec:
        return NodeSpec(NodeName("w1", "h"), executable="/p", cwd="/srv", options=options)

    assert not changes(spec(queues="a, b", workdir="/srv", umask="022"), spec(queues="a,b"))
    assert not changes(spec(logfile="log/%n.log"), spec(logfile="/srv/log/w1.log"))
    assert not changes(spec(task_events=False), spec())
    old = spec(**{"--mine": "1"})
    new = spec()
    new.rest = ["--mine=1"]
    assert not changes(old, new)
    assert changes(spec(logfile="a.log"), spec(logfile="b.log"))


def test_variables_of_the_shell_are_kept_with_a_node_but_are_no_change() -> None:
    shell = {"PYTHONPATH": "/x", "TZ": "CET"}
    step = plan(WANTED, [], shell=shell).steps[0]
    assert step.spec is not None
    assert step.spec.env == {"PYTHONPATH": "/x", "TZ": "UTC"}
    assert step.env == ("TZ",)
    before = known("w1", env={"PYTHONPATH": "/old", "TZ": "UTC"})
    assert plan(WANTED, [before, *ALL[1:]], shell=shell).is_empty
    again = plan(WANTED, [before._replace(is_up=False), *ALL[1:]], shell=shell).steps[0]
    assert again.spec is not None
    assert again.spec.env == {"PYTHONPATH": "/old", "TZ": "UTC"}


def test_a_variable_that_is_taken_out_of_the_description_is_a_change() -> None:
    before = known("w1", env={"DJANGO_SETTINGS_MODULE": "x", "TZ": "UTC"})._replace(
        env=("DJANGO_SETTINGS_MODULE", "TZ")
    )
    (step,) = plan(WANTED, [before, *ALL[1:]]).of(RESTART)
    assert step.why == ("environment: DJANGO_SETTINGS_MODULE",)


def test_what_is_gone_from_the_description_is_stopped_and_what_was_never_in_it_is_not() -> None:
    gone, by_hand, elsewhere = known("x"), known("y", description=None), known("z", description="/other/multi.toml")
    down = known("xx", up=False)
    found = plan(WANTED, [*ALL, gone, by_hand, elsewhere, down])
    (step,) = found.of(STOP)
    assert (step.name, step.why) == ("x", ("/srv/shop/multi.toml describes no x any more",))
    assert [step.name for step in found.of(FORGET)] == ["xx"]
    assert not plan(WANTED, [*ALL, down]).is_empty


def test_what_has_changed_under_a_node_that_runs_is_a_reason_to_restart_it() -> None:
    stale = known("w1")._replace(stale=("/srv/shop/shop.env has changed",))
    (step,) = plan(WANTED, [stale, *ALL[1:]]).of(RESTART)
    assert (step.name, step.why) == ("w1", ("/srv/shop/shop.env has changed",))
    (step,) = plan(WANTED, [stale._replace(is_up=False, state="stopped"), *ALL[1:]]).of(START)
    assert step.why == ("it is stopped",)  # it reads the file anyway


def test_a_node_that_was_started_by_hand_as_described_is_claimed() -> None:
    found = plan(WANTED, [known("w1", description=None, section=None), *ALL[1:]])
    assert found.is_empty
    assert [step.name for step in found.steps if step.claims] == ["w1"]


def test_only_takes_a_table_or_a_node_and_what_it_needs_and_lacks() -> None:
    assert actions([], ("w",)) == [(START, "w1"), (START, "w2")]
    assert actions([], ("w2",)) == [(START, "w2")]
    assert actions([], ("v",)) == [(START, "w1"), (START, "w2"), (START, "v")]
    assert plan(WANTED, [], ("v",)).steps[0].why == ("it is new", "v depends on it")
    changed = known("w1", env={"TZ": "CET"})
    assert actions([changed, known("w2", up=False)], ("v",)) == [(START, "w2"), (START, "v")]
    assert actions([*ALL, known("x"), known("y", section="other")], ("gone",)) == [(STOP, "x")]
    with pytest.raises(ConfigurationError, match='no node and no table of nodes "vv"; did you mean v'):
        plan(WANTED, [], ("vv",))


def test_orders() -> None:
    assert in_waves({"a": ["b", "c"], "b": ["c"], "c": [], "d": ["elsewhere"]}) == [["c", "d"], ["b"], ["a"]]
    assert find_circle({"a": ["b"], "b": ["c"], "c": ["b"], "d": []}) == ["b", "c", "b"]
    assert find_circle({"a": ["b", "c"], "b": ["c"], "c": []}) == []
    with pytest.raises(ValueError):
        in_waves({"a": ["a"]})
