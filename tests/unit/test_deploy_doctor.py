"""What the doctor finds: nothing about what is well, and each fault with its remedy."""

from __future__ import annotations

from typing import Any

import pytest

from multi.deploy.doctor import CHECKS, Patient, examine
from multi.deploy.hosts.facts import FAILED, RUNNING, HostFacts, NodeFact, ReleaseFact, unreachable
from multi.deploy.hosts.settings import Settings
from multi.deploy.releases.compatibility import App
from multi.deploy.steps import START, WRITE, Command, HostPlan, Plan, Step
from multi.nodes.description import describe
from multi.nodes.spec import NodeSpec

HEALTHY_REDIS = {"maxmemory": "1000000", "maxmemory_policy": "noeviction", "aof_enabled": "1", "save": ""}


def nodes(text: str = "", engine: str = "celery") -> list[NodeSpec]:
    given = f"[defaults]\napp = 'shop'\nengine = '{engine}'\n[nodes.w]\n{text}"
    return [node.spec for node in describe(given, "/srv/shop/multi.toml").check().nodes]


def app(**more: Any) -> App:
    given: dict[str, Any] = {
        "library": "celery 5.4",
        "tasks": {},
        "settings": {"task_time_limit": 60, "task_acks_late": True},
        "broker": {"url": "redis://h/0", "visibility_timeout": None},
        "redis": HEALTHY_REDIS,
        "waiting": {"tasks": {}, "error": None},
    }
    return App(**{**given, **more})


def host(name: str, **more: Any) -> HostFacts:
    given: dict[str, Any] = {
        "hostname": name,
        "current": "r1",
        "multi": "0.1.0",
        "python": "3.12.1",
        "disk_free": 10 << 30,
        "inodes_free": 1_000_000,
        "nofile": 65536,
    }
    return HostFacts(name, **{**given, **more})


def patient(**more: Any) -> Patient:
    hosts = {"app1": host("app1"), "app2": host("app2")}
    given: dict[str, Any] = {
        "nodes": nodes(),
        "stop_times": {"w": 90.0},
        "facts": hosts,
        "settings": {name: Settings("/srv/shop") for name in hosts},
        "skews": {"app1": 0.0, "app2": 1.0},
        "apps": {"app1": app()},
        "plan": Plan("shop", None, {name: HostPlan(name, "r1") for name in hosts}, []),
    }
    return Patient(**{**given, **more})


def told(**more: Any) -> list[str]:
    return [f"{one.level} {one.check} {one.about}: {one.text}" for one in examine(patient(**more))]


def test_nothing_is_found_where_all_is_well() -> None:
    assert told() == []


@pytest.mark.parametrize(
    ("redis", "expected"),
    [
        (
            {"maxmemory_policy": "allkeys-lru", "evicted_keys": "3"},
            "error redis-eviction app1: Redis drops keys when its memory is full (allkeys-lru), and has dropped 3 since it started",  # noqa: E501
        ),
        (
            {"maxmemory_policy": "volatile-ttl", "maxmemory": "0"},
            "warning redis-eviction app1: Redis drops keys when its memory is full (volatile-ttl); it has no limit yet (maxmemory 0)",  # noqa: E501
        ),
        (
            {"aof_enabled": "0"},
            "warning redis-persistence app1: Redis keeps nothing on disk: its restart loses all tasks",
        ),
        ({"rdb_last_bgsave_status": "err"}, "error redis-persistence app1: Redis could not write its last snapshot"),
    ],
)
def test_what_redis_does_with_tasks(redis: dict[str, str], expected: str) -> None:
    assert told(apps={"app1": app(redis={**HEALTHY_REDIS, **redis})}) == [expected]
    assert told(apps={"app1": app(redis={**HEALTHY_REDIS, "aof_enabled": "0", "save": "3600 1"})}) == []


@pytest.mark.parametrize(
    ("text", "more", "expected"),
    [
        (
            "time_limit = '2h'",
            {},
            "error redelivery app1: a task may take 2 h (time_limit of w), and after 1 h (visibility_timeout) it is given to another worker too",  # noqa: E501
        ),
        (
            "longest_task = '2h'",
            {"settings": {"task_acks_late": False}},
            "warning redelivery app1: a task may take 2 h (longest_task of w), and after 1 h (visibility_timeout) what a worker has fetched behind it is given to another worker too",  # noqa: E501
        ),
        ("time_limit = '2h'", {"broker": {"url": "redis://h", "visibility_timeout": 10000}}, ""),
        (
            "",
            {"settings": {"task_acks_late": True}},
            "warning redelivery app1: nothing says how long tasks may take; after 1 h (visibility_timeout) one is given to another worker too",  # noqa: E501
        ),
        ("", {"settings": {"task_acks_late": False}}, ""),
        (
            "longest_task = '45m'",
            {"broker": {"url": "amqp://h"}, "redis": {}},
            "error redelivery app1: a task may take 45 min (longest_task of w), and after 30 min (consumer_timeout) it is given to another worker too",  # noqa: E501
        ),
        ("longest_task = '29m'", {"broker": {"url": "amqp://h"}, "redis": {}}, ""),
    ],
)
def test_tasks_that_take_longer_than_the_broker_waits(text: str, more: dict[str, Any], expected: str) -> None:
    found = told(nodes=nodes(text), apps={"app1": app(**more)}, stop_times={})
    assert found == ([expected] if expected else [])
    assert told(nodes=nodes(text, "multi"), apps={"app1": app(**more)}, stop_times={}) == [], (
        "multi's own worker renews"
    )


@pytest.mark.parametrize(
    ("text", "more", "expected"),
    [
        ("", {"settings": {"task_time_limit": 600}}, "task_time_limit"),
        ("time_limit = 60", {"settings": {"task_time_limit": 600}}, ""),
        ("time_limit = 60", {"tasks": {"shop.long": {"time_limit": 600}}}, "the time_limit of shop.long"),
        ("", {"tasks": {"shop.long": {"time_limit": 80}}}, ""),
    ],
)
def test_stop_times_against_the_limits_that_tasks_have(text: str, more: dict[str, Any], expected: str) -> None:
    found = told(nodes=nodes(text), apps={"app1": app(**more)})
    line = f"error stop-time w: is killed 90 s after it was told to stop, while a task may take 10 min ({expected})"
    assert found == ([line] if expected else [])


def test_hosts() -> None:
    facts = {
        "app1": host("app1", disk_free=1 << 20, inodes_free=12, nofile=100, lock="me since yesterday"),
        "app2": host("app2", current="r0", python="3.11.2", multi="0.0.9"),
        "app3": unreachable("app3", "no route to host"),
    }
    assert told(facts=facts, plan=None, skews={"app1": -7.0, "app2": 3700.0, "app4": 0.0}) == [
        "error hosts app3: no route to host",
        "error clock app2: its clock is 61.7 min ahead",
        "error disk app1: 1 MB are free where /srv/shop is, less than 500 MB",
        "error disk app1: only 12 inodes are free",
        "error versions : hosts differ in release: r1 on app1; r0 on app2",
        "warning clock app1: its clock is 7 s behind",
        "warning limits app1: a login may have 100 files open, and the largest node wants about 256",
        "warning versions : hosts differ in multi: 0.1.0 on app1; 0.0.9 on app2",
        "warning versions : hosts differ in Python: 3.12 on app1; 3.11 on app2",
        "warning lock app1: a deploy has locked it: me since yesterday",
    ]


def test_releases_of_the_same_content_are_the_same() -> None:
    facts = {
        "app1": host("app1", releases=(ReleaseFact("r1", "d"),)),
        "app2": host("app2", current="r2", releases=(ReleaseFact("r2", "d"),)),
    }
    assert told(facts=facts) == []


def test_when_all_clocks_differ_from_this_machines_it_is_this_one() -> None:
    assert told(skews={"a": 100.0, "b": 101.0, "c": 99.0}) == [
        "warning clock : this machine's clock is 100 s off those of the hosts"
    ]


def test_a_lock_tells_whose_it_is() -> None:
    lock = '1a2b 1700007200 {"who": "eve", "from": "laptop", "since": 1700000000.0, "why": "push 7", "process": {}}'
    (line,) = told(facts={"app1": host("app1", lock=lock)}, plan=None)
    assert line.startswith("warning lock app1: a deploy has locked it: eve on laptop since 2023-11-1")
    assert line.endswith(", push 7")


def test_units_and_nodes() -> None:
    facts = {
        "app1": host("app1", nodes={"u": NodeFact("multi-shop@w.service", "systemd", FAILED)}),
        "app2": host("app2", nodes={"u": NodeFact("multi-shop@w.service", "systemd", RUNNING)}),
        "app3": host("app3", current=None),
        "app4": host("app4"),
    }
    command = Command(("true",))
    plan = Plan(
        "shop",
        None,
        {
            "app1": HostPlan("app1", "r1", (Step("app1", WRITE, "write /etc/x", "", command),)),
            "app2": HostPlan("app2", "r1", (Step("app2", START, "start w2", "", command, node="w2"),)),
            "app3": HostPlan("app3", None),
            "app4": HostPlan("app4", "r1", error="sudo asks for a password"),
        },
        [],
    )
    found = told(facts=facts, plan=plan)
    assert [line for line in found if "versions" not in line] == [
        "error units app4: sudo asks for a password",
        "error nodes app1: failed: multi-shop@w.service",
        "warning units app1: differ from the description: /etc/x",
        "warning units app3: nothing has been deployed there yet, and there is no multi either",
        "warning nodes app2: not running: w2",
    ]


def test_an_app_that_can_not_be_imported_or_asked() -> None:
    blind = app(redis={}, waiting={"error": "redis://h: Connection refused"})
    assert told(apps={"app1": App(error="Traceback\nImportError: x"), "app2": blind}) == [
        "error app app1: the app can't be imported: ImportError: x",
        "error app app2: the broker can't be asked: redis://h: Connection refused",
    ]


def test_every_finding_belongs_to_a_check_that_is_named() -> None:
    facts = {"app1": unreachable("app1", "x"), "app2": host("app2", disk_free=1)}
    assert {one.check for one in examine(patient(facts=facts))} <= set(CHECKS)
