"""What stands on the command line for workers' commands, and how their answers are shown."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from multi.app.control import Control, Inspect
from multi.cli.answers import lines, show
from multi.cli.asking import _destination
from multi.cli.celerys import stand_in
from multi.cli.graph import dot
from multi.cli.methods import CONTROL, INSPECT, METHODS, Method, arguments, find, free_arguments
from multi.cli.screen import Screen
from multi.errors import ConfigurationError
from multi.nodes.names import this_host


@pytest.mark.parametrize(
    ("name", "words", "found"),
    [
        ("ping", "", {}),
        ("conf", "", {}),
        ("conf", "yes", {"with_defaults": True}),
        ("conf", "with_defaults=off", {"with_defaults": False}),
        ("query_task", "a b", {"ids": ["a", "b"]}),
        ("registered", "", {}),
        ("registered", "rate_limit", {"taskinfoitems": ["rate_limit"]}),
        ("objgraph", "Request 5", {"type": "Request", "num": 5}),
        ("rate_limit", "t 10/m", {"task_name": "t", "rate_limit": "10/m"}),
        ("rate_limit", "rate_limit=0 t", {"task_name": "t", "rate_limit": "0"}),
        ("time_limit", "t 1.5", {"task_name": "t", "soft": 1.5}),
        ("time_limit", "t hard=3 soft=1", {"task_name": "t", "soft": 1.0, "hard": 3.0}),
        ("add_consumer", "q x topic k.#", {"queue": "q", "exchange": "x", "exchange_type": "topic", "routing_key": "k.#"}),
        ("autoscale", "5 2", {"max": 5, "min": 2}),
        ("pool_grow", "", {}),
        ("pool_shrink", "2", {"n": 2}),
        ("pool_restart", "m1 m2", {"modules": ["m1", "m2"]}),
        ("pool_restart", "modules=m1 reload=yes modules=m2 m3", {"modules": ["m1", "m2", "m3"], "reload": True}),
        ("pool_restart", "reload=no", {"reload": False}),
        ("registered", "taskinfoitems=rate_limit", {"taskinfoitems": ["rate_limit"]}),
        ("election", '1 task {"task":"t"}', {"id": "1", "topic": "task", "action": {"task": "t"}}),
        ("election", "1 task t", {"id": "1", "topic": "task", "action": "t"}),
        ("revoke", "a b", {"task_id": ["a", "b"]}),
        ("terminate", "task_id=a KILL b", {"signal": "KILL", "task_id": ["a", "b"]}),
        ("terminate", "KILL a b", {"signal": "KILL", "task_id": ["a", "b"]}),
        ("revoke_by_stamped_headers", "visit=1 headers=2", {"headers": ["visit=1", "headers=2"]}),
        ("shutdown", "", {}),
    ],
)  # fmt: skip
def test_words_stand_for_arguments_in_their_order_or_by_name(name: str, words: str, found: dict[str, Any]) -> None:
    assert arguments(METHODS[name], words.split()) == found


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        ("ping", "x", "'x' is too much; it takes no arguments"),
        ("pool_grow", "1 2", r"'2' is too much; it takes \[n=1\]"),
        ("pool_grow", "many", "n should be a whole number, not 'many'"),
        ("time_limit", "t soon", "soft should be a number, not 'soon'"),
        ("conf", "perhaps", "with_defaults should be yes or no, not 'perhaps'"),
        ("pool_restart", "module=m", r"'module=m' is none of its arguments; it takes \[module\]... \[reload=no\]"),
        ("pool_restart", "reload=soon", "reload should be yes or no, not 'soon'"),
        ("rate_limit", "t 5/d", "rate_limit should be a rate as 10/s, 100/m or 5/h, not '5/d'"),
        ("rate_limit", "t fast", "rate_limit should be a rate as"),
        ("rate_limit", "t", "rate_limit needs more: rate_limit <task> <rate"),
        ("query_task", "", "query_task needs more: query_task <id>"),
        ("terminate", "KILL", "terminate needs more: terminate <signal> <id>"),
    ],
)
def test_words_that_do_not_fit_are_named(name: str, words: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        arguments(METHODS[name], words.split())


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        (INSPECT, "pong", "did you mean ping"),
        (INSPECT, "revoke", "did you mean `multi control revoke`"),
        (CONTROL, "pign", "did you mean `multi inspect ping`"),
        (CONTROL, "stats", "did you mean `multi inspect stats`"),
        (CONTROL, "xyzzy", "`multi control --list` lists them"),
    ],
)
def test_another_command_is_proposed(kind: str, name: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        find(name, kind, METHODS)


def test_commands_have_their_former_names_and_dashes_too() -> None:
    assert find("dump_active", INSPECT, METHODS).name == "active"
    assert find("rate-limit", CONTROL, METHODS).name == "rate_limit"
    own = Method("level", CONTROL, "", args=(("level", None),))
    assert arguments(find("level", CONTROL, {"level": own}), ["x"]) == {"level": "x"}


def test_the_commands_are_those_that_the_client_has() -> None:
    for method in METHODS.values():
        assert hasattr(Inspect if method.kind == INSPECT else Control, method.name), method.name


def test_arguments_of_strange_commands_are_json_or_text() -> None:
    assert free_arguments(["n=3", "who=w1@h", "all=[1]", "x="]) == {"n": 3, "who": "w1@h", "all": [1], "x": ""}
    with pytest.raises(ConfigurationError, match="name=value"):
        free_arguments(["3"])


def test_bare_names_are_workers_of_this_host() -> None:
    assert _destination(()) is None
    assert _destination(("w1@h,w2", "w1@h")) == ["w1@h", f"w2@{this_host()}"]
    with pytest.raises(ConfigurationError, match="-d names no worker"):
        _destination((",",))


def shown(capsys: pytest.CaptureFixture[str], method: str, found: dict[str, Any]) -> Sequence[str]:
    show(Screen(color=False), method, found, {})
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_tables_have_a_line_for_each_task_queue_and_worker(capsys: pytest.CaptureFixture[str]) -> None:
    task = {
        "id": "8f",
        "name": "proj.add",
        "args": [1, 2],
        "kwargs": {},
        "worker_pid": 7,
        "delivery_info": {"routing_key": "q"},
    }
    running = {**task, "time_start": time.time() - 65}
    assert shown(capsys, "active", {"w2@h": [], "w1@h": [running]}) == [
        "WORKER TASK ID ARGUMENTS RUNS FOR PID",
        "w1@h proj.add 8f [1, 2] 1m05s 7",
        "none: w2@h",
    ]
    assert shown(capsys, "reserved", {"w1@h": [task]})[1] == "w1@h proj.add 8f [1, 2] q"
    assert shown(capsys, "scheduled", {"w1@h": [{"eta": "2030", "request": task}]})[1] == "w1@h 2030 proj.add 8f [1, 2]"
    queue = {"name": "q", "exchange": {"name": "x", "type": "topic"}, "routing_key": "k"}
    assert shown(capsys, "active_queues", {"w1@h": [queue]})[1] == "w1@h q x topic k"
    assert shown(capsys, "clock", {"w1@h": {"clock": 7}}) == ["WORKER REPLY", "w1@h 7"]
    assert shown(capsys, "heartbeat", {"w1@h": None}) == ["WORKER REPLY", "w1@h done"]
    assert shown(capsys, "rate_limit", {"w1@h": {"ok": "set"}, "w2@h": {"error": "unknown task"}}) == [
        "WORKER REPLY",
        "w1@h set",
        "w2@h: error: unknown task",
    ]


def test_other_answers_are_indented_texts(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"pool": {"processes": [1, 2], "strategy": None}, "total": {}, "list": [{"a": 1, "b": True}]}
    assert [*lines(value)] == [
        "pool:",
        "    processes:",
        "        - 1",
        "        - 2",
        "    strategy: -",
        "total: {}",
        "list:",
        "    - a: 1",
        "      b: yes",
    ]
    assert shown(capsys, "report", {"w1@h": {"ok": "one\ntwo"}}) == ["w1@h:", "one", "two"]


def test_a_drawing_holds_every_name_as_it_is() -> None:
    drawn = {
        "broker": "redis://h",
        "backend": None,
        "workers": [{"name": 'w"1\\@h', "queues": ["q"], "pool": "solo", "concurrency": 1, "processes": [1, 2, 3]}],
    }
    text = "\n".join(dot(drawn, 1))
    assert r'"queue q" -> "w\"1\\@h";' in text and "2 more" in text and "backend" not in text


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({"broker_url": "redis://:geheim@h:1/2"}, "redis://:geheim@h:1/2"),
        ({"broker_url": ["amqp://a//", "amqp://b//"]}, "amqp://a//;amqp://b//"),
        ({"broker_read_url": "redis://r/0", "broker_write_url": "redis://w/0"}, "redis://r/0"),
        ({}, "amqp://guest:guest@localhost:5672//"),
    ],
)
def test_an_app_of_celerys_tells_where_its_workers_listen(settings: dict[str, Any], url: str) -> None:
    celery = pytest.importorskip("celery")
    theirs = celery.Celery("theirs", set_as_current=False)
    theirs.conf.update(settings, control_exchange="steer", broker_transport_options={"global_keyprefix": "x:"})
    ours = stand_in(theirs)
    assert ours.worker_broker.url == url
    assert (ours.conf.control_exchange, ours.conf.broker_transport_options) == ("steer", {"global_keyprefix": "x:"})
